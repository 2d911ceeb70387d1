"""boto3 clients: one of each per container, with timeouts that fit into a function's."""

from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NotConnectedError

from giftcards.adapters.event_bus import EventNotPublishedError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_stepfunctions import SFNClient

CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
# DescribeExecution allows 10 calls a second, 15 in the largest regions
# (https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html). Adaptive retries slow a long sweep down to
# this rate instead of failing it.
_PACED = CONFIG.merge(Config(retries={"mode": "adaptive", "total_max_attempts": 8}))


_LIMITS = {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "TransactionInProgressException"}
# DynamoDB cancels a transaction that it throttles with status 400; only the reasons show why
# (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html).
# A conflict is another request for one of the items, at the same moment.
_CANCELLED_FOR_NOW = {"ProvisionedThroughputExceeded", "ThrottlingError", "TransactionConflict"}


class AwsUnavailableError(Exception):
    """AWS throttles, fails or cannot be reached. The workflow matches this name: it waits and never holds the order."""


def outage_of(error: BaseException | None) -> AwsUnavailableError | None:
    """Return the outage of AWS that caused an error, or None if a retry would not help.

    The encryption SDK wraps KMS's errors, so the causes are searched too. The message has only an operation and an
    error code.
    """
    while error is not None:
        if isinstance(error, ClientError):
            code = error.response.get("Error", {}).get("Code", "")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            reasons: Any = error.response.get("CancellationReasons", [])
            is_cancelled = any(reason.get("Code") in _CANCELLED_FOR_NOW for reason in reasons)
            if status >= 500 or code in _LIMITS or "Throttl" in code or is_cancelled:
                return AwsUnavailableError(f"{error.operation_name}: {code}")
        if isinstance(error, EventNotPublishedError) and error.is_transient:
            return AwsUnavailableError(str(error))
        if isinstance(error, NotConnectedError | HTTPClientError):
            return AwsUnavailableError(type(error).__name__)
        error = error.__cause__ or error.__context__
    return None


@cache
def dynamodb() -> "DynamoDBClient":
    """Return a DynamoDB client that takes and returns Python types, as the client of the resource does."""
    return boto3.resource("dynamodb", config=CONFIG).meta.client


@cache
def secrets_manager() -> "SecretsManagerClient":
    return boto3.client("secretsmanager", config=CONFIG)


@cache
def event_bridge() -> "EventBridgeClient":
    return boto3.client("events", config=CONFIG)


@cache
def step_functions() -> "SFNClient":
    return boto3.client("stepfunctions", config=_PACED)


@cache
def kms() -> "KMSClient":
    """Return KMS."""
    return boto3.client("kms", config=CONFIG)


@cache
def ses() -> "SESV2Client":
    """Return SES. It never retries: a repeated SendEmail sends twice, and mails have a retry schedule."""
    return boto3.client("sesv2", config=CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 1})))


@cache
def lambda_() -> "LambdaClient":
    """Return Lambda, for one call that answers within a function's own time."""
    return boto3.client("lambda", config=Config(connect_timeout=2, read_timeout=25, retries={"total_max_attempts": 1}))
