"""A deployed stack, found by name with the standard AWS environment variables."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from giftcards.adapters.api_key import ApiKeySource
from giftcards.adapters.audit_table import AuditTable
from giftcards.adapters.event_bus import EventBus, EventNotPublishedError
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.link_table import LinkTable
from giftcards.adapters.mail_table import MailTable
from giftcards.adapters.order_table import OrdersNotReadError, OrderTable, UnreadableOrder, UnreadableOrderError
from giftcards.rules.gate import Block
from giftcards.rules.orders import Order
from giftcards_cli.connection import CONNECT_TIMEOUT_SECONDS, HOW_TO_CREATE, explain, region
from giftcards_cli.dead_letters import DeadLetterQueue

_CONFIG = Config(
    connect_timeout=CONNECT_TIMEOUT_SECONDS, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 2}
)
EVENT_SOURCE = "giftcards.cli"
"""Source of the events that people publish."""
MAX_UNREADABLE_NAMED = 5
IDENTIFYING_OUTPUT = "CardTableName"
"""Only a stack of this service has this output."""
_STACK_NAME = re.compile(r"[A-Za-z][-A-Za-z0-9]{0,127}|arn:\S+")


class CommandError(Exception):
    """The command cannot do what was asked. The text is one line for the user; ``exit_code`` is 2 for wrong usage."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def unreadable_orders(rows: Sequence[UnreadableOrder]) -> CommandError:
    """Return the error that names orders with an invalid row, and the invalid fields."""
    named = [f"{row.order_id}: {', '.join(row.fields)}" for row in rows[:MAX_UNREADABLE_NAMED]]
    more = [f"{len(rows) - MAX_UNREADABLE_NAMED} more"] if len(rows) > MAX_UNREADABLE_NAMED else []
    return CommandError(f"orders with an invalid row, not included: {len(rows)} ({'; '.join([*named, *more])})")


def existing_order(orders: OrderTable, order_id: str) -> Order:
    """Return an order.

    Raises
    ------
    CommandError
        If there is no such order.
    """
    order = orders.get(order_id)
    if order is None:
        raise CommandError(f"no order {order_id!r}; if it was placed just now, try again in a few seconds")
    return order


@contextmanager
def aws_errors(stack_name: str) -> Iterator[None]:
    """Translate errors of AWS calls into a CommandError."""
    try:
        yield
    except (EventNotPublishedError, OrdersNotReadError, UnreadableOrderError) as error:
        raise CommandError(str(error)) from None
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raise CommandError(explain(error, stack_name, os.environ)) from None


@contextmanager
def _setting_up(stack_name: str) -> Iterator[None]:
    """Translate errors that boto3 lets through while it reads variables, files and credentials."""
    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError):
        raise
    except (ValueError, RuntimeError, OSError, EOFError, KeyError) as error:
        raise CommandError(explain(error, stack_name, os.environ)) from None


class SecretVersions:
    """The versions of one secret. Stages: https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html."""

    def __init__(self, arn: str, client: Any) -> None:
        self.arn = arn
        self._client = client

    def put_current(self, value: str) -> None:
        """Store a value; the current one becomes the previous one."""
        self._client.put_secret_value(SecretId=self.arn, SecretString=value)

    def put_pending(self, value: str) -> None:
        """Store a value that is not in use yet."""
        self._client.put_secret_value(SecretId=self.arn, SecretString=value, VersionStages=["AWSPENDING"])

    def pending(self) -> str | None:
        """Return the value that is not in use yet; None if there is none."""
        if self._version("AWSPENDING") in {None, self._version("AWSCURRENT")}:
            return None
        return str(self._client.get_secret_value(SecretId=self.arn, VersionStage="AWSPENDING")["SecretString"])

    def promote_pending(self) -> None:
        """Make the pending value the current one."""
        current, pending = self._version("AWSCURRENT"), self._version("AWSPENDING")
        moved = {"SecretId": self.arn, "MoveToVersionId": pending, "RemoveFromVersionId": current}
        self._client.update_secret_version_stage(**moved, VersionStage="AWSCURRENT")
        self._client.update_secret_version_stage(
            SecretId=self.arn, RemoveFromVersionId=pending, VersionStage="AWSPENDING"
        )

    def _version(self, stage: str) -> str | None:
        versions = self._client.describe_secret(SecretId=self.arn).get("VersionIdsToStages", {})
        return next((version for version, stages in versions.items() if stage in stages), None)


class Stack:
    """The parts of a deployed stack that the commands use.

    Parameters
    ----------
    endpoint_url
        None: from the standard AWS variables.
    """

    def __init__(self, name: str, session: boto3.Session, endpoint_url: str | None = None) -> None:
        self.name = name
        self._session = session
        self._endpoint_url = endpoint_url
        with _setting_up(name):  # the first call fetches the credentials
            self.outputs = self._outputs()

    @classmethod
    def connect(cls, name: str) -> "Stack":
        """Find a stack with the standard AWS environment variables."""
        if not _STACK_NAME.fullmatch(name):
            raise CommandError("--stack must be a stack name: a letter, then letters, digits or hyphens", exit_code=2)
        with _setting_up(name):
            session = boto3.Session(region_name=region(os.environ))
        return cls(name, session)

    @cached_property
    def orders(self) -> OrderTable:
        return OrderTable(self.outputs["CardTableName"], self.dynamodb)

    @cached_property
    def audit(self) -> AuditTable:
        return AuditTable(self._physical_id("AuditTable"), self.dynamodb)

    @cached_property
    def link_table_name(self) -> str:
        return self._physical_id("LinkTable")

    @cached_property
    def links(self) -> LinkTable:
        return LinkTable(self.link_table_name, self.dynamodb)

    @cached_property
    def mails(self) -> MailTable:
        return MailTable(self.link_table_name, self.dynamodb)

    @cached_property
    def bus(self) -> EventBus:
        return EventBus(self.outputs["OrderBusName"], self._client("events"))

    @cached_property
    def dead_letters(self) -> DeadLetterQueue:
        return DeadLetterQueue(self._physical_id("OrderPlacedDeadLetterQueue"), self._client("sqs"))

    @cached_property
    def webhook_dead_letters(self) -> DeadLetterQueue | None:
        """None without a webhook."""
        if "WebhookKeySecretArn" not in self.outputs:
            return None
        return DeadLetterQueue(self._physical_id("WebhookDeadLetterQueue"), self._client("sqs"))

    def secret_versions(self, output: str) -> SecretVersions:
        """Return the secret behind an output.

        Raises
        ------
        CommandError
            If the stack has no such output.
        """
        if output not in self.outputs:
            raise CommandError(
                f"the stack {self.name!r} has no {output}: deploy it with ShopApi=true, or with a WebhookUrl"
            )
        return SecretVersions(self.outputs[output], self._client("secretsmanager"))

    def set_webhook_key(self, key: str) -> None:
        """Send this key with the webhook from now on."""
        self._client("events").update_connection(
            Name=f"{self.name}-webhook",
            AuthorizationType="API_KEY",
            AuthParameters={"ApiKeyAuthParameters": {"ApiKeyName": "X-Giftcards-Key", "ApiKeyValue": key}},
        )

    @cached_property
    def gate(self) -> GateTable:
        return GateTable(self._physical_id("GateTable"), self.dynamodb)

    def block(self, now: datetime) -> Block | None:
        """Return why calls to the supplier are blocked; None if they are not."""
        gate = self.gate.read()
        return gate.block(now, None if gate.refusal is None else self.api_key_version())

    def api_key_version(self) -> str | None:
        """Return the version id of the supplier's API key; None if it was never set."""
        return ApiKeySource(self.outputs["SupplierApiKeySecretArn"], self._client("secretsmanager")).current_version()

    def caller(self) -> str:
        """Return the user's AWS identity, for the audit record."""
        return str(self._client("sts").get_caller_identity()["Arn"])

    def invoke(self, function: str, payload: dict[str, Any], *, within_seconds: int | None = None) -> dict[str, Any]:
        """Call a function of the stack and return its response.

        Parameters
        ----------
        function
            Logical id without the suffix ``Function``.
        within_seconds
            Read timeout of a long-running function; it is not retried. None: 60 s, one retry.

        Raises
        ------
        CommandError
            If the function fails. The error itself stays in the function's log: it could quote a card.
        """
        name = self._physical_id(f"{function}Function")
        config = _CONFIG
        if within_seconds is not None:
            config = _CONFIG.merge(Config(read_timeout=within_seconds, retries={"total_max_attempts": 1}))
        response = self._client("lambda", config).invoke(
            FunctionName=name, Qualifier="live", Payload=json.dumps(payload)
        )
        if "FunctionError" in response:
            raise CommandError(f"the function {function} failed; see its log in CloudWatch")
        payload_out: dict[str, Any] = json.load(response["Payload"])
        return payload_out

    @cached_property
    def dynamodb(self) -> Any:
        """A DynamoDB client that converts to and from Python types."""
        with _setting_up(self.name):
            resource = self._session.resource("dynamodb", config=_CONFIG, endpoint_url=self._endpoint_url)
        return resource.meta.client

    def _client(self, service: str, config: Config = _CONFIG) -> Any:
        with _setting_up(self.name):
            return self._session.client(service, config=config, endpoint_url=self._endpoint_url)  # type: ignore[call-overload]

    def _physical_id(self, logical_id: str) -> str:
        try:
            resource = self._client("cloudformation").describe_stack_resource(
                StackName=self.name, LogicalResourceId=logical_id
            )
        except ClientError as error:
            if not _is_absent(error):
                raise
            raise CommandError(
                f"the stack {self.name!r} has no {logical_id}: it was deployed from another release; "
                "use the command line of that release"
            ) from None
        return str(resource["StackResourceDetail"]["PhysicalResourceId"])

    def _outputs(self) -> dict[str, str]:
        try:
            stack = self._client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
        except ClientError as error:
            if not _is_absent(error):
                raise
            raise CommandError(self._not_found()) from None
        outputs = _outputs_of(stack)
        if IDENTIFYING_OUTPUT not in outputs:
            raise CommandError(_unusable(self.name, stack["StackStatus"]))
        return outputs

    def _not_found(self) -> str:
        missing = f"there is no stack {self.name!r} in {self._session.region_name}"
        others = self._others()
        if others:
            options = " or ".join(f"`--stack {name}`" for name in others)
            return f"{missing}, but another stage is deployed there: add {options}"
        return f"{missing} (wrong region? `export AWS_REGION=…`): {HOW_TO_CREATE}"

    def _others(self) -> list[str]:
        """Return the names of this service's stacks in the region; none without permission to list stacks."""
        pages = self._client("cloudformation").get_paginator("describe_stacks").paginate()
        try:
            return sorted(
                str(stack["StackName"])
                for page in pages
                for stack in page["Stacks"]
                if IDENTIFYING_OUTPUT in _outputs_of(stack)
            )
        except ClientError:
            return []


def _outputs_of(stack: Mapping[str, Any]) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _is_absent(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") == "ValidationError"


def _unusable(name: str, status: str) -> str:
    """Return why a stack without the outputs of this service cannot be used."""
    state = f"the stack {name!r} is {status}"
    if status == "REVIEW_IN_PROGRESS":
        return f"{state}: its first change set was never executed; deploy it"
    if status.startswith("DELETE"):
        return f"{state}: wait until it is deleted, then deploy again"
    if status.endswith("_IN_PROGRESS") and "ROLLBACK" not in status:
        return f"{state}: try again when it is complete"
    if "ROLLBACK" in status or status.endswith("FAILED"):
        events = f"`aws cloudformation describe-stack-events --stack-name {name}`"
        return f"{state}: it could not be created; {events} shows why. Delete the stack and deploy again"
    return f"{state}, but it is not a gift-card service: name another stack with --stack"
