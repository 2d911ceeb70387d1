"""What counts as an outage of AWS: only an outage makes an order wait without limit."""

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from giftcards import composition_root
from giftcards.adapters.aws import AwsUnavailableError
from giftcards.adapters.event_bus import EventNotPublishedError

URL = {"endpoint_url": "https://dynamodb.eu-west-1.amazonaws.com"}


def cancelled(*codes: str) -> ClientError:
    reasons = [{"Code": code} for code in codes]
    error = client_error("TransactionCanceledException")
    error.response["CancellationReasons"] = reasons  # type: ignore[typeddict-unknown-key]
    return error


def client_error(code: str, status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "CARD-1"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetItem")  # type: ignore[arg-type]


OUTAGES = [
    client_error("ThrottlingException"),
    client_error("ProvisionedThroughputExceededException"),
    client_error("RequestLimitExceeded"),
    client_error("TransactionInProgressException"),
    client_error("InternalServerError", 500),
    client_error("ServiceUnavailable", 503),
    cancelled("None", "ThrottlingError"),
    cancelled("ProvisionedThroughputExceeded", "None"),
    cancelled("TransactionConflict", "None"),
    EventNotPublishedError("CardsDelivered", ["ThrottlingException"]),
    EventNotPublishedError("CardsDelivered", ["InternalFailure"]),
    EndpointConnectionError(**URL),
    ConnectTimeoutError(**URL),
    ReadTimeoutError(**URL),
]
OTHERS = [
    client_error("AccessDeniedException"),
    client_error("ResourceNotFoundException"),
    client_error("ValidationException"),
    client_error("ConditionalCheckFailedException"),
    cancelled("None", "ConditionalCheckFailed"),
    EventNotPublishedError("CardsDelivered", ["NotAuthorizedForDetailTypeException"]),
    KeyError("orderId"),
    ValueError("CARD-1"),
]


def name(error: Exception) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__


@pytest.mark.parametrize("error", OUTAGES, ids=name)
def test_outage_has_the_error_name_that_the_workflow_retries(error: Exception):
    with pytest.raises(AwsUnavailableError) as raised, composition_root.naming_outages():
        raise error

    assert "CARD-1" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("error", OTHERS, ids=name)
def test_error_that_asking_again_does_not_end_passes(error: Exception):
    with pytest.raises(type(error)) as raised, composition_root.naming_outages():
        raise error

    assert raised.value is error


def test_outage_wrapped_by_a_library_is_recognised():
    wrapped = RuntimeError("Master Key unable to generate data key")
    wrapped.__cause__ = client_error("KMSInternalException", 500)

    with pytest.raises(AwsUnavailableError), composition_root.naming_outages():
        raise wrapped
