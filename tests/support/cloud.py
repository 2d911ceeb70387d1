"""moto's cloud with the resources of the template."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from threading import RLock
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.session import Session
from samtranslator.yaml_helper import yaml_parse

import rows
from giftcards.adapters import aws
from giftcards.adapters.card_cipher import CardCipher
from support import quick_moto
from support.examples import ORDER_ID, REGION, ROOT, USER_ID
from support.secrets import API_KEY


@cache
def template() -> dict[str, Any]:
    """Read template.yaml."""
    parsed: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return parsed


def client_error(operation: str, code: str = "InternalServerError") -> ClientError:
    """Make the error that boto3 raises."""
    return ClientError({"Error": {"Code": code, "Message": "made by the test"}}, operation)


@dataclass
class InjectedFault:
    """What the next calls of an operation result in, instead of the call or after it took effect."""

    outcome: Exception | dict[str, Any] | Callable[[], None]
    times: int
    carried_out: bool
    table: str | None


class Cloud:
    """moto's cloud with the tables of the template, a bus, a key and the secret. It records every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._faults: dict[str, InjectedFault] = {}
        self._unnoted = False
        self._one_at_a_time = RLock()
        self._dynamodb: Any = aws.dynamodb()
        self.card_table = self.create_table("CardTable")
        self.audit_table = self.create_table("AuditTable")
        self.gate_table = self.create_table("GateTable")
        self.discrepancy_table = self.create_table("DifferenceTable")
        self.link_table = self.create_table("LinkTable")
        self.bus = "orders"
        aws.event_bridge().create_event_bus(Name=self.bus)
        self.secret_arn: str = aws.secrets_manager().create_secret(Name="supplier-api-key")["ARN"]

    @cached_property
    def key_arn(self) -> str:
        return self.create_key()

    def create_key(self) -> str:
        with self._aside():
            arn: str = kms_client().create_key()["KeyMetadata"]["Arn"]
        return arn

    def create_table(self, resource: str) -> str:
        """Create a table of the template."""
        quick_moto.create_table(resource, template()["Resources"][resource]["Properties"], REGION)
        return resource

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Do not record the calls that the test makes itself."""
        before, self._unnoted = self._unnoted, True
        yield
        self._unnoted = before

    # what the tests look at

    def note(self, real: Callable[..., Any], client: BaseClient, operation: str, params: dict[str, Any]) -> Any:
        """Stand in for ``BaseClient._make_api_call``."""
        with self._one_at_a_time:  # moto's tables are not safe between threads
            return self._note(real, client, operation, params)

    def _note(self, real: Callable[..., Any], client: BaseClient, operation: str, params: dict[str, Any]) -> Any:
        if self._unnoted:
            return real(client, operation, params)
        self.calls.append((operation, params))
        fault = self._faults.get(operation)
        if fault is None or fault.times == 0 or fault.table not in {None, params.get("TableName")}:
            return real(client, operation, params)
        fault.times -= 1
        answer = real(client, operation, params) if fault.carried_out else None
        if isinstance(fault.outcome, Exception):
            if operation == "Decrypt" and isinstance(fault.outcome, ClientError):
                # botocore emits an event before it raises an error
                event = {
                    "parsed": fault.outcome.response,
                    "context": {},
                    "http_response": AWSResponse("", 400, {}, None),
                }
                client.meta.events.emit("after-call.kms.Decrypt", **event)
            raise fault.outcome
        if callable(fault.outcome):
            fault.outcome()
            return real(client, operation, params) if answer is None else answer
        return fault.outcome

    def at_next(
        self,
        operation: str,
        outcome: Exception | dict[str, Any] | Callable[[], None],
        *,
        times: int = 1,
        carried_out: bool = False,
        table: str | None = None,
    ) -> None:
        """Let the next calls of an operation (on a table) fail, return this response, or do this first."""
        self._faults[operation] = InjectedFault(outcome, times, carried_out, table)

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """Return the parameters of each call of an operation."""
        return [params for name, params in self.calls if name == operation]

    def forget(self) -> None:
        self.calls.clear()

    def writes(self) -> list[str]:
        """Return the operations that changed a table or published events, without those on the gate."""
        changing = {"PutItem", "UpdateItem", "TransactWriteItems", "DeleteItem", "BatchWriteItem", "PutEvents"}
        return [
            operation
            for operation, params in self.calls
            if operation in changing and params.get("TableName") != self.gate_table
        ]

    def announced(self) -> list[tuple[str, dict[str, Any]]]:
        """Return detail-type and detail of every published event."""
        entries = [entry for params in self.sent("PutEvents") for entry in params["Entries"]]
        assert all((entry["EventBusName"], entry["Source"]) == (self.bus, "giftcards") for entry in entries)
        return [(entry["DetailType"], json.loads(entry["Detail"])) for entry in entries]

    def events_to_resume(self, source: str) -> list[dict[str, Any]]:
        """Return the detail of every OrderPlaced event, all of which have this source."""
        entries = [entry for params in self.sent("PutEvents") for entry in params["Entries"]]
        sent = {(entry["EventBusName"], entry["Source"], entry["DetailType"]) for entry in entries}
        assert sent <= {(self.bus, source, "OrderPlaced")}
        return [json.loads(entry["Detail"]) for entry in entries]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table, in order of their keys."""
        with self._aside():
            pages = list(self._dynamodb.get_paginator("scan").paginate(TableName=table))
        return sorted((row for page in pages for row in page["Items"]), key=lambda row: (row["pk"], row["sk"]))

    def order_row(self, order_id: str = ORDER_ID) -> dict[str, Any]:
        (row,) = (row for row in self.rows(self.card_table) if (row["pk"], row["sk"]) == (f"ORDER#{order_id}", "ORDER"))
        return row

    def card_rows(self, order_id: str = ORDER_ID) -> list[dict[str, Any]]:
        return [
            row
            for row in self.rows(self.card_table)
            if row["pk"] == f"ORDER#{order_id}" and row["sk"].startswith("CARD")
        ]

    def open_orders(self) -> list[str]:
        """Return the order ids in the index of open and held orders."""
        with self._aside():
            items = self._dynamodb.scan(TableName=self.card_table, IndexName="open-orders")["Items"]
        return sorted(item["orderId"] for item in items)

    # what the workflow, an operator or an intruder does

    def claim(
        self, order_id: str = ORDER_ID, user_id: str = USER_ID, claimed_at: datetime | None = None, **attributes: Any
    ) -> None:
        """Write the row that ClaimOrder writes."""
        self.put(self.card_table, rows.claimed(order_id, user_id, claimed_at, **attributes))

    @cached_property
    def _machine(self) -> str:
        wait = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}}
        answer = aws.step_functions().create_state_machine(
            name="fulfil-order", definition=json.dumps(wait), roleArn="arn:aws:iam::123456789012:role/fulfil-order"
        )
        return answer["stateMachineArn"]

    def execute(self) -> str:
        """Start an execution that keeps running."""
        with self._aside():
            return aws.step_functions().start_execution(stateMachineArn=self._machine)["executionArn"]

    def abort(self, execution: str) -> None:
        with self._aside():
            aws.step_functions().stop_execution(executionArn=execution)

    def hold(self, order_id: str = ORDER_ID, reason: str = "DEADLINE_PASSED") -> None:
        """Change the row as HoldOrder changes it."""
        self.put(self.card_table, rows.held(self.order_row(order_id), reason))

    def put(self, table: str, row: dict[str, Any]) -> None:
        with self._aside():
            self._dynamodb.put_item(TableName=table, Item=row)

    def delete(self, table: str, row: dict[str, Any]) -> None:
        with self._aside():
            self._dynamodb.delete_item(TableName=table, Key={"pk": row["pk"], "sk": row["sk"]})

    def set_api_key(self, value: str | bytes = API_KEY) -> str:
        """Put the supplier's key into the secret, as text or binary; returns its version id."""
        held = {"SecretString" if isinstance(value, str) else "SecretBinary": value}
        with self._aside():
            answer = aws.secrets_manager().put_secret_value(SecretId=self.secret_arn, **held)
        return answer["VersionId"]


def card_cipher(key_arn: str) -> CardCipher:
    return CardCipher(key_arn, botocore_session())


@cache
def kms_client() -> Any:
    return boto3.client("kms")


@cache
def botocore_session() -> Session:
    return Session()  # shared: each session reads the service models again
