"""A deployed stack, found by name with the usual AWS variables."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as NoConnection,
)

from giftcards.adapters.api_key import ApiKeySource
from giftcards.adapters.event_bus import EventBus, EventNotPublishedError
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.order_table import OrdersNotReadError, OrderTable, UnreadableOrder, UnreadableOrderError
from giftcards.rules.gate import Closing
from giftcards_cli.dead_letters import DeadLetterQueue

_CONFIG = Config(connect_timeout=3, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 2})
MOST_NAMED = 5
_HOW_TO_CREATE = (
    "`giftcards local up` creates one on this machine (then `source .giftcards/env`); "
    "`make deploy STAGE=dev` creates one on AWS"
)


class CommandError(Exception):
    """What a person asked for cannot be done. The text is one clear line; ``exit_code`` is 1, or 2 for bad usage."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def not_read(rows: Sequence[UnreadableOrder]) -> CommandError:
    """Make the error that names orders whose rows cannot be read, with their fields."""
    named = [f"{row.order_id}: {', '.join(row.fields)}" for row in rows[:MOST_NAMED]]
    more = [f"{len(rows) - MOST_NAMED} more"] if len(rows) > MOST_NAMED else []
    return CommandError(f"orders whose rows cannot be read: {len(rows)} ({'; '.join([*named, *more])})")


@contextmanager
def aws_errors(stack_name: str) -> Iterator[None]:
    """Turn what AWS, or its absence, can raise into one clear line."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, NoRegionError) as error:
        what = "region" if isinstance(error, NoRegionError) else "credentials"
        raise CommandError(f"no AWS {what} set, so no stack {stack_name!r} can be reached: {_HOW_TO_CREATE}") from None
    except (EndpointConnectionError, NoConnection) as error:
        where = error.kwargs.get("endpoint_url", "AWS")
        raise CommandError(
            f"nothing answers at {where}, so there is no stack {stack_name!r}: {_HOW_TO_CREATE}"
        ) from None
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "?")
        raise CommandError(f"AWS refused {error.operation_name}: {code}") from None
    except (EventNotPublishedError, OrdersNotReadError, UnreadableOrderError) as error:
        raise CommandError(str(error)) from None
    except BotoCoreError as error:
        raise CommandError(f"AWS cannot be reached ({type(error).__name__})") from None


class Stack:
    """The parts of a deployed stack that a person works with.

    Parameters
    ----------
    name
        The CloudFormation stack.
    session
        Credentials and region.
    endpoint_url
        Where AWS is; as the usual AWS variables say where None.
    """

    def __init__(self, name: str, session: boto3.Session, endpoint_url: str | None = None) -> None:
        self.name = name
        self._session = session
        self._endpoint_url = endpoint_url
        self.outputs = self._outputs()

    @classmethod
    def connect(cls, name: str) -> "Stack":
        """Find a stack with the usual AWS variables."""
        return cls(name, boto3.Session())

    @cached_property
    def orders(self) -> OrderTable:
        """Orders and their cards, encrypted."""
        return OrderTable(self.outputs["CardTableName"], self.dynamodb)

    @cached_property
    def bus(self) -> EventBus:
        """The order bus."""
        return EventBus(self.outputs["OrderBusName"], self._client("events"))

    @cached_property
    def dead_letters(self) -> DeadLetterQueue:
        """Announcements that could not start the workflow."""
        return DeadLetterQueue(self._physical_id("OrderPlacedDeadLetterQueue"), self._client("sqs"))

    @cached_property
    def gate(self) -> GateTable:
        """The supplier gate."""
        return GateTable(self._physical_id("GateTable"), self.dynamodb)

    def closing(self, now: datetime) -> Closing | None:
        """Say why nobody may call the supplier now, or None where one may."""
        gate = self.gate.read()
        return gate.closing(now, None if gate.refusal is None else self.api_key_version())

    def api_key_version(self) -> str | None:
        """Return the version id of the supplier's API key; None where it was never set."""
        return ApiKeySource(self.outputs["SupplierApiKeySecretArn"], self._client("secretsmanager")).current_version()

    def caller(self) -> str:
        """Return who is asking, for the audit record."""
        return str(self._client("sts").get_caller_identity()["Arn"])

    def invoke(self, function: str, payload: dict[str, Any], *, within_seconds: int | None = None) -> dict[str, Any]:
        """Call a function of the stack and return its answer.

        Parameters
        ----------
        function
            Its name, without Function.
        payload
            What it is called with.
        within_seconds
            How long it may run, where that is long: it is then not called a second time when no answer comes.

        Raises
        ------
        CommandError
            If the function fails. Its error text stays in its log.
        """
        name = self._physical_id(f"{function}Function")
        config = _CONFIG
        if within_seconds is not None:
            config = _CONFIG.merge(Config(read_timeout=within_seconds, retries={"total_max_attempts": 1}))
        response = self._client("lambda", config).invoke(
            FunctionName=name, Qualifier="live", Payload=json.dumps(payload)
        )
        if "FunctionError" in response:
            raise CommandError(f"{function} failed; its log says why")
        answer: dict[str, Any] = json.load(response["Payload"])
        return answer

    @cached_property
    def dynamodb(self) -> Any:
        """A client that speaks Python types."""
        resource = self._session.resource("dynamodb", config=_CONFIG, endpoint_url=self._endpoint_url)
        return resource.meta.client

    def _client(self, service: str, config: Config = _CONFIG) -> Any:
        return self._session.client(service, config=config, endpoint_url=self._endpoint_url)  # type: ignore[call-overload]

    def _physical_id(self, logical_id: str) -> str:
        found = self._client("cloudformation").describe_stack_resource(
            StackName=self.name, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def _outputs(self) -> dict[str, str]:
        try:
            stacks = self._client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ValidationError":
                raise
            raise CommandError(f"there is no stack {self.name!r}: {_HOW_TO_CREATE}") from None
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}
        if "CardTableName" not in outputs:
            status = stacks[0]["StackStatus"]
            raise CommandError(f"the stack {self.name!r} is {status} and not a gift-card service: {_HOW_TO_CREATE}")
        return outputs
