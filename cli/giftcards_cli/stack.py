"""A deployed stack, found by name with the usual AWS variables."""

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
from giftcards.adapters.order_table import OrdersNotReadError, OrderTable, UnreadableOrder, UnreadableOrderError
from giftcards.rules.gate import Block
from giftcards_cli.connection import CONNECT_TIMEOUT_SECONDS, HOW_TO_CREATE, explain, region
from giftcards_cli.dead_letters import DeadLetterQueue

_CONFIG = Config(
    connect_timeout=CONNECT_TIMEOUT_SECONDS, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 2}
)
MAX_NAMED = 5
MARK = "CardTableName"
"""The output that tells a gift-card service from another stack."""
_STACK_NAME = re.compile(r"[A-Za-z][-A-Za-z0-9]{0,127}|arn:\S+")


class CommandError(Exception):
    """What a person asked for cannot be done. The text is one clear line; ``exit_code`` is 1, or 2 for bad usage."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def not_read(rows: Sequence[UnreadableOrder]) -> CommandError:
    """Make the error that names orders whose rows cannot be read, with their fields."""
    named = [f"{row.order_id}: {', '.join(row.fields)}" for row in rows[:MAX_NAMED]]
    more = [f"{len(rows) - MAX_NAMED} more"] if len(rows) > MAX_NAMED else []
    return CommandError(f"orders whose rows cannot be read: {len(rows)} ({'; '.join([*named, *more])})")


@contextmanager
def aws_errors(stack_name: str) -> Iterator[None]:
    """Turn what AWS, or its absence, can raise into one clear line."""
    try:
        yield
    except (EventNotPublishedError, OrdersNotReadError, UnreadableOrderError) as error:
        raise CommandError(str(error)) from None
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raise CommandError(explain(error, stack_name, os.environ)) from None


@contextmanager
def _setting_up(stack_name: str) -> Iterator[None]:
    """Turn the errors that Python itself raises while boto3 reads variables and files into one clear line."""
    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError):
        raise
    except (ValueError, RuntimeError, OSError, EOFError, KeyError) as error:
        raise CommandError(explain(error, stack_name, os.environ)) from None


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
        with _setting_up(name):  # the first call is the one that fetches credentials
            self.outputs = self._outputs()

    @classmethod
    def connect(cls, name: str) -> "Stack":
        """Find a stack with the usual AWS variables."""
        if not _STACK_NAME.fullmatch(name):
            raise CommandError("--stack must be a stack name: a letter, then letters, digits or hyphens", exit_code=2)
        with _setting_up(name):
            session = boto3.Session(region_name=region(os.environ))
        return cls(name, session)

    @cached_property
    def orders(self) -> OrderTable:
        """Orders and their cards, encrypted."""
        return OrderTable(self.outputs["CardTableName"], self.dynamodb)

    @cached_property
    def audit(self) -> AuditTable:
        """Who accepted which cards."""
        return AuditTable(self._physical_id("AuditTable"), self.dynamodb)

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

    def block(self, now: datetime) -> Block | None:
        """Say why nobody may call the supplier now, or None where one may."""
        gate = self.gate.read()
        return gate.block(now, None if gate.refusal is None else self.api_key_version())

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
        with _setting_up(self.name):
            resource = self._session.resource("dynamodb", config=_CONFIG, endpoint_url=self._endpoint_url)
        return resource.meta.client

    def _client(self, service: str, config: Config = _CONFIG) -> Any:
        with _setting_up(self.name):
            return self._session.client(service, config=config, endpoint_url=self._endpoint_url)  # type: ignore[call-overload]

    def _physical_id(self, logical_id: str) -> str:
        try:
            found = self._client("cloudformation").describe_stack_resource(
                StackName=self.name, LogicalResourceId=logical_id
            )
        except ClientError as error:
            if not _is_absent(error):
                raise
            raise CommandError(
                f"the stack {self.name!r} has no {logical_id}: it was deployed from another release; "
                "use the command of that release"
            ) from None
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def _outputs(self) -> dict[str, str]:
        try:
            found = self._client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
        except ClientError as error:
            if not _is_absent(error):
                raise
            raise CommandError(self._absence()) from None
        outputs = _outputs_of(found)
        if MARK not in outputs:
            raise CommandError(_unusable(self.name, found["StackStatus"]))
        return outputs

    def _absence(self) -> str:
        where = f"no stack {self.name!r} in {self._session.region_name}"
        others = self._others()
        if others:
            options = " or ".join(f"`--stack {name}`" for name in others)
            return f"there is {where}, but another stage is deployed there: add {options}"
        return f"there is {where} (another region? `export AWS_REGION=…`): {HOW_TO_CREATE}"

    def _others(self) -> list[str]:
        """Name the gift-card services of this account and region, if the caller may list them."""
        pages = self._client("cloudformation").get_paginator("describe_stacks").paginate()
        try:
            return sorted(
                str(stack["StackName"]) for page in pages for stack in page["Stacks"] if MARK in _outputs_of(stack)
            )
        except ClientError:
            return []


def _outputs_of(stack: Mapping[str, Any]) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _is_absent(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") == "ValidationError"


def _unusable(name: str, status: str) -> str:
    """Say why a stack without outputs cannot be used."""
    found = f"the stack {name!r} is {status}"
    if status == "REVIEW_IN_PROGRESS":
        return f"{found}: its first change set was never executed; deploy it"
    if status.startswith("DELETE"):
        return f"{found}: wait until it is deleted, then deploy again"
    if status.endswith("_IN_PROGRESS") and "ROLLBACK" not in status:
        return f"{found}: try again when it is complete"
    if "ROLLBACK" in status or status.endswith("FAILED"):
        events = f"`aws cloudformation describe-stack-events --stack-name {name}`"
        return f"{found}: it could not be created; {events} shows why. Delete it and deploy again"
    return f"{found}, but it is not a gift-card service: pass another name with --stack"
