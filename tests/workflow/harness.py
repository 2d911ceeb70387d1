"""The real workflow in one process: the definition in statemachine/, moto's engine, table and bus, scripted functions.

``Workflow.run`` runs it for one OrderPlaced event and returns what it did. After each run it checks what holds on every
path.
"""

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch
from uuid import uuid4

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.stepfunctions.parser.models import stepfunctions_parser_backends
from pydantic import BaseModel, create_model
from samtranslator.yaml_helper import yaml_parse

from giftcards.contracts.base import Contract
from giftcards.contracts.events import OUTGOING_EVENTS, SOURCE, HeldReason, OrderPlaced
from giftcards.contracts.workflow import COUNTS_OF_PREVIOUS_RELEASE, StepRequest, StepResult
from giftcards.rules.orders import Order
from support import quick_moto
from workflow.answers import Answer, Answering, Closed, Malformed, Raised
from workflow.deliveries import close_order
from workflow.engine import REGION, Engine, Fault, client

ROOT = Path(__file__).parents[2]
ACCOUNT = "123456789012"
TABLE = "giftcards-cards"
BUS = "giftcards-orders"
DEAD_LETTERS = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/giftcards-dead-letters"
CHECK_STATUS = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:check-status:live"
DELIVER_CARDS = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:deliver-cards:live"

ORDER = {"orderId": "order-1", "userId": "user-1"}

CLAIMED = frozenset({"pk", "sk", "orderId", "userId", "status", "openStatus", "claimedAt", "executionArn"})
"""Attributes of a claimed order; the other sets are added later."""
HELD = frozenset({"heldReason", "heldMessage", "heldAt"})
DELIVERED = frozenset(
    {
        "quantity",
        "fulfilledQuantity",
        "fulfilledAmount",
        "pricePerCard",
        "checks",
        "deliveredAt",
        "deliveryId",
        "cardRows",
        "announcedAt",
    }
)
ATTRIBUTES = {field.alias for field in Order.model_fields.values()} | {"pk", "sk", "openStatus"}
"""All attributes of an order row: the fields of the model, the keys, and the index's attribute."""

_FIELDS: dict[str, Any] = {name: (field.annotation, field) for name, field in StepRequest.model_fields.items()}
_Request: type[BaseModel] = create_model("StepRequest", __base__=Contract, **_FIELDS)
"""StepRequest without the validator that reads requests of the previous release: it cannot be strict."""
Row = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


@functools.cache
def load_template() -> dict[str, Any]:
    """Return template.yaml."""
    template: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return template


def definition_text() -> str:
    """Return the definition as written, with ``${...}``."""
    return (ROOT / "statemachine" / "fulfil_order.asl.json").read_text()


def load_definition() -> dict[str, Any]:
    """Return the definition."""
    definition: dict[str, Any] = json.loads(definition_text())
    return definition


def substituted(definition: dict[str, Any], poll_schedule: str | None = None) -> str:
    """Substitute exactly the keys that the template substitutes."""
    values = {
        "CardTableName": TABLE,
        "OrderBusName": BUS,
        "OrderPlacedDeadLetterQueueUrl": DEAD_LETTERS,
        "PollSchedule": poll_schedule or load_template()["Parameters"]["PollSchedule"]["Default"],
        "DelayedAfterSeconds": str(load_template()["Parameters"]["DelayedAfterSeconds"]["Default"]),
        "Partition": "aws",
        "CheckStatusFunctionArn": CHECK_STATUS,
        "DeliverCardsFunctionArn": DELIVER_CARDS,
    }
    keys = load_template()["Resources"]["FulfilOrderStateMachine"]["Properties"]["DefinitionSubstitutions"]
    return re.sub(r"\$\{(\w+)\}", lambda found: {key: values[key] for key in keys}[found[1]], json.dumps(definition))


@dataclass(frozen=True)
class Published:
    """One event on the bus."""

    detail_type: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """The result of an execution.

    Attributes
    ----------
    states
        Entered, in order.
    waits
        Seconds of each Wait state.
    pauses
        State and longest possible seconds of each pause before a retry.
    published
        Published events, in order.
    dead_letters
        Messages sent to the dead-letter queue.
    order_row
        The order's row afterwards; None if there is none.
    check_requests, deliver_requests
        Requests of the two functions.
    history_events, history
        Number of events in the execution's history, and the history as text.
    """

    status: str
    error: str | None
    cause: str | None
    output: Any
    execution_arn: str
    states: list[str]
    waits: list[int]
    pauses: list[tuple[str, float]]
    published: list[Published]
    dead_letters: list[Published]
    order_row: Row | None
    check_requests: list[StepRequest]
    deliver_requests: list[StepRequest]
    history_events: int
    history: str = field(repr=False)

    @property
    def event_types(self) -> list[str]:
        """Detail-types of the published events, in order."""
        return [event.detail_type for event in self.published]

    def only(self, detail_type: str) -> dict[str, Any]:
        """Return the detail of the only event of this type."""
        [found] = [event.detail for event in self.published if event.detail_type == detail_type]
        return found

    def pauses_at(self, state: str) -> list[float]:
        """Return the pauses before the retries of a state."""
        return [seconds for at, seconds in self.pauses if at == state]


@dataclass
class _Function:
    """A scripted Lambda function, with its requests and what was wrong with them."""

    answers: Iterable[Answering] = ()
    requests: list[StepRequest] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = iter(self.answers)

    def next_answer(self, payload: str) -> Answer:
        try:
            strictly(_Request, payload)
            request = StepRequest.model_validate_json(payload)
        except (ValueError, AssertionError) as error:
            self.problems.append(f"called with what is no StepRequest: {error}")
            return Raised("BadRequest")
        self.requests.append(request)
        answer = next(self.left, None)
        if answer is None:
            self.problems.append(f"called once more than the test has answers: {request}")
            return Raised("NoMoreAnswers")
        return answer(request) if callable(answer) else answer

    def check_used_up(self) -> None:
        # An endless iterator need not be used up.
        if isinstance(self.answers, Sized) and next(self.left, None) is not None:
            self.problems.append("called less often than the test has answers")


class Workflow:
    """The workflow, its table and its bus. Use it inside ``mock_aws`` and ``instant_engine``."""

    def __init__(
        self, engine: Engine, definition: dict[str, Any] | None = None, poll_schedule: str | None = None
    ) -> None:
        self._engine = engine
        self._dynamodb = client("dynamodb")
        self._events = client("events")
        self._sqs = client("sqs")
        self._stepfunctions = client("stepfunctions")
        self._create_table()
        self._inbox = self._create_bus()
        self._sqs.create_queue(QueueName=DEAD_LETTERS.rpartition("/")[2])
        self._machine = self._stepfunctions.create_state_machine(
            name="giftcards-fulfil-order",
            definition=substituted(definition or load_definition(), poll_schedule),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/fulfil-order",
        )["stateMachineArn"]

    def _create_table(self) -> None:
        quick_moto.create_table(TABLE, load_template()["Resources"]["CardTable"]["Properties"], REGION)

    def _create_bus(self) -> str:
        self._events.create_event_bus(Name=BUS)
        self._events.put_rule(Name="everything", EventBusName=BUS, EventPattern=json.dumps({"source": [SOURCE]}))
        inbox = self._sqs.create_queue(QueueName="everything")["QueueUrl"]
        target = {"Id": "inbox", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:everything"}
        self._events.put_targets(Rule="everything", EventBusName=BUS, Targets=[target])
        return inbox

    def run(
        self,
        detail: Any,
        *,
        check: Iterable[Answering] = (),
        deliver: Iterable[Answering] = (),
        faults: Mapping[str, Iterable[Fault]] | None = None,
    ) -> Run:
        """Start an execution with an OrderPlaced event, and run it to its end.

        Parameters
        ----------
        detail
            Detail of the OrderPlaced event, valid or not.
        check, deliver
            The functions' answers, call by call. All must be used, unless there is no end of them.
        faults
            Faults of the first calls, by state. All must occur, unless there is no end of them.
        """
        self._engine.start(dict(faults or {}))
        check_status, deliver_cards = _Function(check), _Function(deliver)
        functions = {CHECK_STATUS: check_status, DELIVER_CARDS: deliver_cards}

        def invoke(
            _backend: LambdaSimpleBackend, name: str, _qualifier: str | None, body: str, _headers: Any, answered: Any
        ) -> bytes:
            answer = functions[name].next_answer(body)
            if isinstance(answer, Closed):
                answer = close_order(functions[name].requests[-1], answer, TABLE, BUS)
            if isinstance(answer, Raised):
                answered["x-amz-function-error"] = "Unhandled"
                answer = Malformed({"errorType": answer.error, "errorMessage": answer.text, "stackTrace": []})
            if isinstance(answer, StepResult):
                answer = Malformed(answer.model_dump(mode="json", by_alias=True))
            return json.dumps(answer.payload).encode()

        event = {
            "version": "0",
            "id": str(uuid4()),
            "source": "shop",
            "detail-type": OrderPlaced.detail_type,
            "time": "2026-01-01T00:00:00Z",
            "region": REGION,
            "account": ACCOUNT,
            "resources": [],
            "detail": detail,
        }
        with patch.object(LambdaSimpleBackend, "invoke", invoke):
            execution = self._stepfunctions.start_execution(
                stateMachineArn=self._machine, name=event["id"], input=json.dumps(event)
            )["executionArn"]
        # Not over the API: writing its answer takes as long as running the execution.
        moto = stepfunctions_parser_backends[ACCOUNT][REGION]
        ended = moto.describe_execution(execution)
        history = moto.get_execution_history(execution)["events"]
        order_id = detail.get("orderId") if isinstance(detail, dict) else None
        run = Run(
            status=ended.status,
            error=ended.error,
            cause=ended.cause,
            output=ended.output,
            execution_arn=execution,
            states=[
                entry["stateEnteredEventDetails"]["name"] for entry in history if "stateEnteredEventDetails" in entry
            ],
            waits=self._engine.waits,
            pauses=self._engine.pauses,
            published=self._received(self._inbox),
            dead_letters=self._received(DEAD_LETTERS),
            order_row=self.order_row(order_id) if isinstance(order_id, str) else None,
            check_requests=check_status.requests,
            deliver_requests=deliver_cards.requests,
            history_events=len(history),
            history=json.dumps(history, default=str, ensure_ascii=False),
        )
        for name, function in {"CheckStatus": check_status, "DeliverCards": deliver_cards}.items():
            function.check_used_up()
            assert not function.problems, f"{name}: {function.problems}"
        assert not self._engine.unused_faults(dict(faults or {})), "not every planned fault occurred"
        _check_promises(run)
        return run

    def between(self, state: str, happens: Callable[[], None]) -> None:
        """Call a function once before a state calls its service in the next execution."""
        self._engine.before[state] = happens

    def rows(self) -> list[Row]:
        """Return all rows of the table."""
        items = self._dynamodb.scan(TableName=TABLE)["Items"]
        return [{key: TypeDeserializer().deserialize(value) for key, value in item.items()} for item in items]

    def order_row(self, order_id: str) -> Row | None:
        """Return an order's row."""
        key = {"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": "ORDER"}}
        item = self._dynamodb.get_item(TableName=TABLE, Key=key).get("Item")
        return item and {name: TypeDeserializer().deserialize(value) for name, value in item.items()}

    def orders_in(self, index: str, key: str, value: str) -> list[str]:
        """Return the ids of the orders in an index."""
        found = self._dynamodb.query(
            TableName=TABLE,
            IndexName=index,
            KeyConditionExpression="#key = :value",
            ExpressionAttributeNames={"#key": key},
            ExpressionAttributeValues={":value": {"S": value}},
        )
        return [item["orderId"]["S"] for item in found["Items"]]

    def put_row(self, row: Row) -> None:
        """Write a row without the workflow."""
        item = {key: TypeSerializer().serialize(value) for key, value in row.items()}
        self._dynamodb.put_item(TableName=TABLE, Item=item)

    def delete_row(self, order_id: str) -> None:
        """Delete an order's row without the workflow."""
        self._dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": "ORDER"}})

    def _received(self, queue_url: str) -> list[Published]:
        received = []
        while messages := self._sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                event = json.loads(message["Body"])
                received.append(Published(event["detail-type"], event["detail"]))
                self._sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        return received


def strictly(model: type[Model], document: str) -> Model:
    """Parse a JSON document that has only the model's fields, by their aliases and with their types."""
    checked = model.model_validate_json(document, strict=True)
    fields = {name.alias for name in model.model_fields.values()}
    if model is _Request:
        fields |= set(COUNTS_OF_PREVIOUS_RELEASE)
    assert set(json.loads(document)) <= fields, f"{model.__name__} has no {set(json.loads(document)) - fields}"
    return checked


def _check_promises(run: Run) -> None:
    """Check what holds on every path."""
    for event in run.published:
        [model] = [model for model in OUTGOING_EVENTS if model.detail_type == event.detail_type]
        strictly(model, json.dumps(event.detail))

    # States.ALL does not catch it on AWS, but does in moto.
    assert "States.Runtime" not in run.history

    row = run.order_row
    order = None if row is None else Order.model_validate(row)
    if row is not None and order is not None:
        assert row.keys() <= ATTRIBUTES
        assert (order.held_reason is not None) == (order.status == "HELD")
        # The index of open orders has exactly the orders that are not closed or not published.
        assert ("openStatus" in row) == (not order.status.is_final or order.announced_at is None)
        assert order.status.is_final or row["openStatus"] == order.status

    match run.states[-1]:
        case "OrderClosed":
            assert run.status == "SUCCEEDED"
            assert order is not None
            assert order.status.is_final
            assert order.announced_at is not None
        case "AlreadyClaimed":
            assert run.status == "SUCCEEDED"
            assert order is not None
            assert order.execution_arn != run.execution_arn or order.announced_at is not None
        case "OrderHeld":
            assert run.status == "FAILED"
            assert run.error in set(HeldReason)
            assert run.cause
        case "OrderDisputed":
            assert (run.status, run.error) == ("FAILED", "ORDER_DISPUTED")
            assert order is not None
        case "ExecutionSuperseded":
            assert run.status == "FAILED"
            assert order is None or order.status.is_final or order.execution_arn != run.execution_arn
        case "OrderNotClaimed":
            assert run.status == "FAILED"
            assert run.cause
            assert run.event_types == []
            assert run.dead_letters or "The OrderPlaced event could not be sent to the dead-letter queue" in run.cause
        case "OrderNotHeld":
            assert run.status == "FAILED"
            assert "OrderHeld" not in run.event_types
        case unknown:
            raise AssertionError(f"ended in {unknown}: {run.status} {run.error} {run.cause}")
