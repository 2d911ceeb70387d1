"""What the unit tests put in the place of the supplier, its key, its gate and the cloud.

Every secret of the tests holds ``MARK`` at both ends, so that one search finds any of them, whole or in part, in
whatever was written down.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.session import Session
from pydantic import SecretStr
from samtranslator.yaml_helper import yaml_parse

from giftcards.adapters import aws
from giftcards.adapters.api_key import ApiKey, ApiKeySource
from giftcards.adapters.card_cipher import CardCipher
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.oneclickdz.supplier import Supplier, new_client
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.supplier import Card, OrderProgress
from giftcards.contracts.workflow import StepRequest
from giftcards.metrics import Metric
from giftcards.rules.gate import Block
from giftcards.rules.next_step import PollPolicy
from giftcards.rules.schedule import PollSchedule
from giftcards.use_cases.gated_supplier import GatedSupplier

ROOT = Path(__file__).parents[2]
REGION = "eu-west-1"
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
ORDER_ID = "6901616fe9e88196b4eb64b3"
USER_ID = "user-4711"
ATTEMPT = "attempt-1"
EXECUTION = "arn:aws:states:eu-west-1:123456789012:execution:fulfil-order:1"
BASE_URL = "https://supplier.test"
PATIENCE = PollPolicy(PollSchedule.parse("120:5,300:15,3600:60"), delayed_after_seconds=600)

# ------------------------------------------------------------------ secrets

MARK = "Zq7Canary9x"
API_KEY = f"{MARK}-key-{MARK}"


def card_data(count: int) -> list[dict[str, str]]:
    """Make cards as the supplier sends them, with what has to be escaped somewhere."""
    return [
        {"value": f'{MARK}-value-{index}-"é\\\n-{MARK}', "serial": f"{MARK}-serial-{index}-{MARK}"}
        for index in range(1, count + 1)
    ]


def cards(count: int) -> list[Card]:
    """Make cards as the core holds them."""
    return [Card.model_validate(card) for card in card_data(count)]


def opened(card: Card) -> dict[str, str | None]:
    """Give a card as the supplier sent it."""
    serial = None if card.serial is None else card.serial.get_secret_value()
    return {"value": card.value.get_secret_value(), "serial": serial}


def _traces() -> Iterable[str]:
    mark = MARK.encode()
    yield MARK
    yield mark.hex()
    for shift in range(3):  # base64 of the mark, wherever it begins in what was encoded
        encoded = base64.b64encode(bytes(shift) + mark).decode()
        yield encoded[-(-shift * 8 // 6) : (shift + len(mark)) * 8 // 6]


TRACES = tuple(_traces())


def leaks(*texts: object) -> list[str]:
    """Find the texts that hold any part of a card or of the key, raw, in hex or in base64."""
    return [text for text in map(str, texts) if any(trace in text for trace in TRACES)]


# ----------------------------------------------------------------- supplier


def order_data(status: str = "FULFILLED", quantity: int = 2, **changes: Any) -> dict[str, Any]:
    """Make an order as the supplier answers it. A change to None leaves the field out."""
    data: dict[str, Any] = {
        "_id": ORDER_ID,
        "status": status,
        "quantity": quantity,
        "product": "507f1f77bcf86cd799439011",
        "type": "type_001",
        "time": "2026-03-14T09:26:00.000Z",
    }
    delivered = {"FULFILLED": quantity, "PARTIALLY_FILLED": quantity // 2, "REFUNDED": 0}.get(status)
    if delivered is not None:
        data |= {"fulfilled_quantity": delivered, "fulfilled_amount": delivered * 490.5, "price_per_card": 490.5}
        data |= {"cards": card_data(delivered)}
    return {name: value for name, value in (data | changes).items() if value is not None}


def page_data(
    *items: Any, page: int = 1, page_size: int = 100, pages: int = 1, results: int | None = None
) -> dict[str, Any]:
    """Make a page of orders as the supplier lists them; the only one unless its numbers say otherwise."""
    numbers = {"page": page, "pageSize": page_size, "totalPages": pages}
    return {"items": list(items), "pagination": {**numbers, "totalResults": len(items) if results is None else results}}


def answered(data: Any = None, **envelope: Any) -> httpx.Response:
    """Make a successful answer."""
    body = {"success": True, "data": order_data() if data is None else data} | envelope
    return httpx.Response(200, content=json.dumps(body))


def refused(status: int, code: str, **headers: str) -> httpx.Response:
    """Make an answer in the error envelope; its texts and details try to smuggle the key and a card out."""
    error = {"code": code, "message": f"{API_KEY} {card_data(1)}", "details": {"attemptsLeft": 4, "key": API_KEY}}
    body = {"success": False, "error": error, "requestId": "req_1"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=named)


@cache
def _client() -> httpx.AsyncClient:
    return new_client()  # 40 ms, for the certificates


class SupplierDouble:
    """Answers with what it was told to, each answer once, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: list[httpx.Response | Exception] = []

    def will(self, *answers: httpx.Response | Exception) -> None:
        """Answer with these, one after the other."""
        self._answers.extend(answers)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        assert self._answers, "the supplier was asked more often than the test allows"
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self) -> httpx.AsyncClient:
        """Build the client that the functions use, on this double instead of a network."""
        real = _client()
        return httpx.AsyncClient(
            transport=httpx.MockTransport(self._handle),
            timeout=real.timeout,
            headers=real.headers,
            follow_redirects=real.follow_redirects,
        )


@dataclass
class KeyRing:
    """The secret with the supplier's key."""

    value: str | None = API_KEY
    version: str | None = "version-1"

    def read(self, **_: object) -> ApiKey:
        return ApiKey(None if self.value is None else SecretStr(self.value), self.version)

    def rotate(self, version: str, value: str = API_KEY) -> None:
        """Put another key into the secret."""
        self.value, self.version = value, version


class Journaled:
    """Notes the name and the first argument of each method of something that is called, and calls it."""

    def __init__(self, wrapped: object, journal: list[tuple[str, Any]]) -> None:
        self._wrapped, self._journal = wrapped, journal

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._wrapped, name)

        def noted(*args: Any, **options: Any) -> Any:
            self._journal.append((name, args[0] if args else None))
            return method(*args, **options)

        return noted


@dataclass
class Clock:
    """A clock that only moves when it is told to."""

    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Measures:
    """Notes what is measured."""

    def __init__(self) -> None:
        self.taken: list[tuple[Metric, float]] = []

    def __call__(self, metric: Metric, value: float) -> None:
        self.taken.append((metric, value))


class GatedDouble:
    """The supplier behind the gate of the cloud, with supplier, key and clock in the test's hands."""

    def __init__(self, cloud: "Cloud") -> None:
        self.supplier = SupplierDouble()
        self.keys = KeyRing()
        self.clock = Clock()
        self.record = GateTable(cloud.gate_table, aws.dynamodb())
        self.journal: list[tuple[str, Any]] = []
        self.measures = Measures()
        self.gated = self.container(Supplier(BASE_URL, self.supplier.client()))

    def container(self, supplier: Any) -> GatedSupplier:
        """Put a supplier behind the same gate, as one more container does."""
        return GatedSupplier(
            Journaled(supplier, self.journal),
            self.keys,
            Journaled(self.record, self.journal),
            self.clock,
            self.measures,
        )

    def ask(self, order_id: str = ORDER_ID) -> Any:
        """Ask for the progress of an order."""
        return self.gated.ask(order_id, OrderProgress)

    @property
    def steps(self) -> list[str]:
        """What was done, in its order."""
        return [name for name, _ in self.journal]

    @property
    def closings(self) -> list[Block]:
        """Every closing of the gate."""
        return [closing for name, closing in self.journal if name == "close"]


class Meanwhile:
    """A supplier during whose calls other things happen; each of them gives the answer."""

    def __init__(self, *calls: Callable[[], Any]) -> None:
        self.presented: list[str] = []
        self._calls = iter(calls)

    def check_order(self, _order_id: str, api_key: SecretStr, _view: type[Any]) -> Any:
        self.presented.append(api_key.get_secret_value())
        return next(self._calls)()


def supplier_on(
    cloud: "Cloud", supplier: SupplierDouble, clock: Clock, measures: Measures | None = None
) -> GatedSupplier:
    """Put a supplier behind the cloud's gate, with the key in the cloud's secret."""
    return GatedSupplier(
        supplier=Supplier(BASE_URL, supplier.client()),
        api_key=ApiKeySource(cloud.secret_arn, aws.secrets_manager()),
        gate=GateTable(cloud.gate_table, aws.dynamodb()),
        clock=clock,
        measure=measures or Measures(),
    )


# ----------------------------------------------------------------- workflow


def step_request(**changes: Any) -> StepRequest:
    """Make what the workflow calls CheckStatus and DeliverCards with: claimed 60 s ago, nothing out of the ordinary."""
    known: dict[str, Any] = {
        "order_id": ORDER_ID,
        "user_id": USER_ID,
        "execution": "event-1",
        "claimed_at": NOW - timedelta(seconds=60),
        "checks": 12,
        "failures": 0,
        "unanswered_since": NOW - timedelta(seconds=60),
        "unanswered_seconds": 0,
        "delay_announced": False,
    }
    return StepRequest(**known | changes)


# ------------------------------------------------------------- command line


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


Giftcards = Callable[..., Said]
"""Runs the command line, as a person does in a pipe."""


# -------------------------------------------------------------------- cloud


@cache
def template() -> dict[str, Any]:
    """Read template.yaml."""
    parsed: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return parsed


def client_error(operation: str, code: str = "InternalServerError") -> ClientError:
    """Make the error that boto3 raises."""
    return ClientError({"Error": {"Code": code, "Message": "made by the test"}}, operation)


@dataclass
class Fault:
    """What happens at the next calls of an operation, instead of them or after they have been carried out."""

    outcome: Exception | dict[str, Any] | Callable[[], None]
    times: int
    carried_out: bool
    table: str | None


class Cloud:
    """moto's cloud with the tables of the template, a bus, a key and the secret. It notes every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._faults: dict[str, Fault] = {}
        self._unnoted = False
        self._dynamodb: Any = aws.dynamodb()
        self.card_table = self._create_table("CardTable")
        self.audit_table = self._create_table("AuditTable")
        self.gate_table = self._create_table("GateTable")
        self.difference_table = self._create_table("DifferenceTable")
        self.bus = "orders"
        aws.event_bridge().create_event_bus(Name=self.bus)
        self.secret_arn: str = aws.secrets_manager().create_secret(Name="supplier-api-key")["ARN"]

    @cached_property
    def key_arn(self) -> str:
        """Create the key of the cards."""
        return self.create_key()

    def create_key(self) -> str:
        """Create a KMS key."""
        with self._aside():
            arn: str = _kms().create_key()["KeyMetadata"]["Arn"]
        return arn

    def _create_table(self, resource: str) -> str:
        properties = template()["Resources"][resource]["Properties"]
        known = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
        schema = {name: properties[name] for name in known if name in properties}
        self._dynamodb.create_table(TableName=resource, **schema)
        return resource

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Leave out of the notes what the test does itself."""
        before, self._unnoted = self._unnoted, True
        yield
        self._unnoted = before

    # what the tests look at

    def note(self, real: Callable[..., Any], client: BaseClient, operation: str, params: dict[str, Any]) -> Any:
        """Stand in for ``BaseClient._make_api_call``."""
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
                # botocore tells those who registered of an error before it raises it
                told = {
                    "parsed": fault.outcome.response,
                    "context": {},
                    "http_response": AWSResponse("", 400, {}, None),
                }
                client.meta.events.emit("after-call.kms.Decrypt", **told)
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
        """Fail the next calls of an operation (on a table), answer them with this, or do something just before them."""
        self._faults[operation] = Fault(outcome, times, carried_out, table)

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """Give the parameters of the calls of one operation."""
        return [params for name, params in self.calls if name == operation]

    def forget(self) -> None:
        """Forget the calls so far."""
        self.calls.clear()

    def writes(self) -> list[str]:
        """Name the calls that change a table or announce something; places at the gate are taken all the time."""
        changing = {"PutItem", "UpdateItem", "TransactWriteItems", "DeleteItem", "BatchWriteItem", "PutEvents"}
        return [
            operation
            for operation, params in self.calls
            if operation in changing and params.get("TableName") != self.gate_table
        ]

    def announced(self) -> list[tuple[str, dict[str, Any]]]:
        """Give detail-type and detail of every event that was sent to the bus."""
        entries = [entry for params in self.sent("PutEvents") for entry in params["Entries"]]
        assert all((entry["EventBusName"], entry["Source"]) == (self.bus, "giftcards") for entry in entries)
        return [(entry["DetailType"], json.loads(entry["Detail"])) for entry in entries]

    def events_to_resume(self, source: str) -> list[dict[str, Any]]:
        """Give the detail of every OrderPlaced event that was sent to the bus, all of them from this source."""
        entries = [entry for params in self.sent("PutEvents") for entry in params["Entries"]]
        told = {(entry["EventBusName"], entry["Source"], entry["DetailType"]) for entry in entries}
        assert told <= {(self.bus, source, "OrderPlaced")}
        return [json.loads(entry["Detail"]) for entry in entries]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Give all rows of a table as they are stored."""
        rows: list[dict[str, Any]] = []
        with self._aside():
            for page in self._dynamodb.get_paginator("scan").paginate(TableName=table):
                rows += page["Items"]
        return sorted(rows, key=lambda row: (row["pk"], row["sk"]))

    def order_row(self, order_id: str = ORDER_ID) -> dict[str, Any]:
        """Give the stored row of an order."""
        (row,) = (row for row in self.rows(self.card_table) if (row["pk"], row["sk"]) == (f"ORDER#{order_id}", "ORDER"))
        return row

    def card_rows(self, order_id: str = ORDER_ID) -> list[dict[str, Any]]:
        """Give the stored rows of an order's cards."""
        rows = self.rows(self.card_table)
        return [row for row in rows if row["pk"] == f"ORDER#{order_id}" and row["sk"].startswith("CARD#")]

    def open_orders(self) -> list[str]:
        """Give the order ids in the index of open and held orders."""
        with self._aside():
            rows = self._dynamodb.scan(TableName=self.card_table, IndexName="open-orders")["Items"]
        return sorted(row["orderId"] for row in rows)

    # what the workflow, an operator or an intruder does

    def claim(
        self, order_id: str = ORDER_ID, user_id: str = USER_ID, claimed_at: datetime | None = None, **attributes: Any
    ) -> None:
        """Write the row that ClaimOrder writes."""
        row = {
            "pk": f"ORDER#{order_id}",
            "sk": "ORDER",
            "orderId": order_id,
            "userId": user_id,
            "status": "HANDLING",
            "openStatus": "HANDLING",
            "claimedAt": timestamp(claimed_at or NOW - timedelta(seconds=60)),
            "executionArn": EXECUTION,
        }
        self.put(self.card_table, row | attributes)

    @cached_property
    def _machine(self) -> str:
        wait = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}}
        answer = aws.step_functions().create_state_machine(
            name="fulfil-order", definition=json.dumps(wait), roleArn="arn:aws:iam::123456789012:role/fulfil-order"
        )
        return answer["stateMachineArn"]

    def execute(self) -> str:
        """Start an execution, which stays under way."""
        with self._aside():
            return aws.step_functions().start_execution(stateMachineArn=self._machine)["executionArn"]

    def abort(self, execution: str) -> None:
        """Stop an execution."""
        with self._aside():
            aws.step_functions().stop_execution(executionArn=execution)

    def hold(self, order_id: str = ORDER_ID, reason: str = "DEADLINE_PASSED") -> None:
        """Change the row as HoldOrder changes it."""
        held = {
            "status": "HELD",
            "openStatus": "HELD",
            "heldReason": reason,
            "heldMessage": "m",
            "heldAt": timestamp(NOW),
        }
        self.put(self.card_table, self.order_row(order_id) | held)

    def put(self, table: str, row: dict[str, Any]) -> None:
        """Write a row."""
        with self._aside():
            self._dynamodb.put_item(TableName=table, Item=row)

    def delete(self, table: str, row: dict[str, Any]) -> None:
        """Delete a row."""
        with self._aside():
            self._dynamodb.delete_item(TableName=table, Key={"pk": row["pk"], "sk": row["sk"]})

    def set_api_key(self, value: str | bytes = API_KEY) -> str:
        """Put the supplier's key into the secret, as text or binary; returns its version id."""
        held = {"SecretString" if isinstance(value, str) else "SecretBinary": value}
        with self._aside():
            answer = aws.secrets_manager().put_secret_value(SecretId=self.secret_arn, **held)
        return answer["VersionId"]


def cipher(key_arn: str) -> CardCipher:
    """Build a vault on a key."""
    return CardCipher(key_arn, _session())


@cache
def _kms() -> Any:
    return boto3.client("kms")


@cache
def _session() -> Session:
    return Session()  # a session of its own for every vault would read the services' descriptions again
