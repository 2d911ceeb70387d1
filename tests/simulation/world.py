"""The whole service in one process: the real workflow and functions, and real HTTP to the supplier's simulator.

moto replaces AWS, and time is simulated. A test can fail each call that a function makes, or kill the function before
or after it.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from datetime import timedelta
from random import Random
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import time_machine
from boto3.dynamodb.types import Binary
from botocore.client import BaseClient
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from giftcards import composition_root
from giftcards.adapters.card_cipher import CardCipher
from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.executions import Executions
from giftcards.adapters.order_table import OrderTable
from giftcards.composition_root import Outside
from giftcards.rules.orders import Acceptance, Order
from giftcards.use_cases.reconcile_orders import ReconciliationReport, Window
from giftcards.use_cases.sweep_orders import OrderSweep
from giftcards_local.supplier import cards_of
from giftcards_local.supplier.book import NewOrder
from scaling.parameters import parameter_variables
from simulation.cloud import (
    AUDIT_TABLE,
    DISCREPANCY_TABLE,
    EVENTS,
    GATE_TABLE,
    PLACED,
    Cloud,
    botocore_session,
    client,
    moto_cloud,
)
from simulation.functions import Functions
from simulation.supplier import SimulatedSupplier
from simulation.timeline import START, Timeline
from support.cloud import template
from workflow.engine import REGION, Engine, Fault, instant_engine
from workflow.harness import ACCOUNT, BUS, CHECK_STATUS, DEAD_LETTERS, DELIVER_CARDS, TABLE

API_KEY = "kQ7vX2mW9pL4nR8sT6yB3cF5"
SCHEDULE = "120:5,300:15,3600:60,86400:120"
TABLE_CALLS = frozenset({"PutItem", "UpdateItem", "GetItem"})


class World:
    """The supplier, the cloud with the deployed service, and time."""

    def __init__(self, timeline: Timeline, schedule: str) -> None:
        self.timeline = timeline
        self.schedule = schedule
        self.functions = Functions(timeline, self._container)
        self.supplier = SimulatedSupplier(timeline, self.functions, API_KEY)
        self.cloud = Cloud(API_KEY, schedule)
        self.orders: dict[str, int] = {}
        self._jitter = Random(0).random
        self._events: list[dict[str, Any]] = []
        self._failing_calls = frozenset[str]()
        self._lambda_error: str | None = None
        self.events_to_refuse = 0

    def _container(self) -> Outside:
        environment = parameter_variables(template()) | {
            "STAGE_NAME": "simulation",
            "SUPPLIER_BASE_URL": self.supplier.url,
            "SUPPLIER_API_KEY_SECRET_ARN": self.cloud.secret_arn,
            "GATE_TABLE_NAME": GATE_TABLE,
            "CARD_TABLE_NAME": TABLE,
            "AUDIT_TABLE_NAME": AUDIT_TABLE,
            "DIFFERENCE_TABLE_NAME": DISCREPANCY_TABLE,
            "CARD_KEY_ARN": self.cloud.key_arn,
            "ORDER_BUS_NAME": BUS,
            "POLL_SCHEDULE": self.schedule,
        }
        return Outside(
            environment=environment,
            jitter=self._jitter,
            pause=self.functions.pause,
            supplier=lambda _url: self.supplier,  # type: ignore[arg-type,return-value]
            card_cipher=lambda key_arn: CardCipher(key_arn, botocore_session()),
        )

    # what shops and operators do

    def buy(self, quantity: int = 1, **terms: Any) -> str:
        """Order at the supplier, which settles the order at once unless the terms say otherwise."""
        new = NewOrder.model_validate({"quantity": quantity, "fulfilAfter": 0} | terms)
        order_id = self.supplier.book.add(new).order_id
        self.orders[order_id] = quantity
        return order_id

    def place(self, order_id: str, user_id: str = "alice", **detail: Any) -> str:
        """Send OrderPlaced to the workflow. Return the ARN of the execution that it starts."""
        event = {
            "version": "0",
            "id": str(uuid4()),
            "source": "shop",
            "detail-type": "OrderPlaced",
            "detail": {"orderId": order_id, "userId": user_id} | detail,
        }
        arn: str = client("stepfunctions").start_execution(
            stateMachineArn=self.cloud.machine_arn, name=event["id"], input=json.dumps(event)
        )["executionArn"]
        return arn

    def order(self, quantity: int = 1, user_id: str = "alice", **terms: Any) -> str:
        """Buy and place an order."""
        order_id = self.buy(quantity, **terms)
        self.place(order_id, user_id)
        return order_id

    def run(self, seconds: float = 60) -> None:
        """Let time pass."""
        self.timeline.run(seconds)

    def set_api_key(self, value: str = API_KEY) -> None:
        """Put the supplier's key into the secret."""
        client("secretsmanager").put_secret_value(SecretId=self.cloud.secret_arn, SecretString=value)

    @staticmethod
    def abort(execution_arn: str) -> None:
        client("stepfunctions").stop_execution(executionArn=execution_arn)

    def accept_cards(self, order_id: str, cards: int = 2, ordered: int | None = None) -> None:
        """Accept the cards of a held order, as ``giftcards resume --accept-cards`` does."""
        order = self.stored(order_id)
        assert order is not None
        olga, now = "arn:aws:iam::1:user/olga", self.timeline.now
        acceptance = Acceptance(by=olga, reason="seen", at=now, cards=cards, ordered=ordered)
        assert self._orders.accept_cards(order, acceptance)

    def reveal(self, order_id: str, user_id: str = "alice") -> dict[str, Any]:
        """Call RevealCards."""
        request = {"orderId": order_id, "userId": user_id, "requestedBy": "test", "reason": ""}
        answer: dict[str, Any] = self.functions.call("reveal_cards", request)
        return answer

    def revealed(self, order_id: str, user_id: str = "alice") -> list[dict[str, str]]:
        """Return the value and serial of each card that RevealCards shows."""
        cards = self.reveal(order_id, user_id)["cards"]
        return [{name: card[name] for name in ("value", "serial")} for card in cards]

    # what schedules do

    def sweep(self) -> None:
        """Sweep once, and start an execution for each OrderPlaced event: moto's bus does not."""
        executions, bus = Executions(client("stepfunctions")), EventBus(BUS, client("events"))
        OrderSweep(self._orders, executions, bus).sweep(now=self.timeline.now).raise_for_failures()
        for event in self.cloud.receive(PLACED):
            self.place(order_id=event["detail"].pop("orderId"), user_id=event["detail"].pop("userId"))

    def reconcile(self) -> ReconciliationReport:
        """Compare the supplier's list with the orders once."""
        now = self.timeline.now
        with self.functions.running("reconcile_orders"):
            window = Window(now - timedelta(days=1), now)
            return composition_root.reconciliation().reconcile(window, time_out=now + timedelta(minutes=5))

    # faults of AWS

    @contextmanager
    def table_down(self, *, queue_too: bool = False) -> Iterator[None]:
        """Fail the workflow's own calls to DynamoDB, and to SQS if asked."""
        self._failing_calls = TABLE_CALLS | ({"SendMessage"} if queue_too else set())
        yield
        self._failing_calls = frozenset()

    @contextmanager
    def lambda_down(self, error: str = "TooManyRequestsException") -> Iterator[None]:
        """Fail every invocation by the workflow."""
        self._lambda_error = error
        yield
        self._lambda_error = None

    def lambda_faults(self) -> Iterator[Fault | None]:
        """Yield the fault of each invocation."""
        while True:
            yield Fault(self._lambda_error) if self._lambda_error else None

    def remove_execution(self, order_id: str) -> None:
        """Remove an order's execution from its row, as a sweep does."""
        self.cloud.dynamodb.update_item(
            TableName=TABLE, Key={"pk": f"ORDER#{order_id}", "sk": "ORDER"}, UpdateExpression="REMOVE executionArn"
        )

    def put_row(self, row: dict[str, Any]) -> None:
        self.cloud.dynamodb.put_item(TableName=TABLE, Item=row)

    @staticmethod
    def put_dead_letter(event: dict[str, Any]) -> None:
        client("sqs").send_message(QueueUrl=DEAD_LETTERS, MessageBody=json.dumps(event))

    # what the service stored and published

    @property
    def _orders(self) -> OrderTable:
        return OrderTable(TABLE, self.cloud.dynamodb)

    def stored(self, order_id: str) -> Order | None:
        """Return an order as the table has it; None if it has none."""
        return self._orders.get(order_id)

    def status(self, order_id: str) -> str:
        """Return an order's held reason or else its status; UNKNOWN without a row."""
        order = self.stored(order_id)
        return "UNKNOWN" if order is None else str(order.held_reason or order.status)

    def rows(self, table: str = TABLE) -> list[dict[str, Any]]:
        """Return all rows of a table, in order of their keys."""
        return self.cloud.rows(table)

    def events(self, order_id: str | None = None) -> list[dict[str, Any]]:
        """Return the service's events, or those about one order."""
        self._events += self.cloud.receive(EVENTS)
        if order_id is None:
            return self._events
        return [event for event in self._events if event["detail"].get("orderId") == order_id]

    def event_types(self, order_id: str) -> list[str]:
        """Return the detail-types of the events about an order."""
        return [event["detail-type"] for event in self.events(order_id)]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Remove and return the messages of the dead-letter queue."""
        return self.cloud.receive(DEAD_LETTERS.rpartition("/")[2])

    @staticmethod
    def execution(arn: str) -> Any:
        return stepfunctions_parser_backends[ACCOUNT][REGION].describe_execution(arn)

    # what must not leak, and where it could

    def secrets(self) -> list[str]:
        """Return the API key and cards of every order: of large orders the first two and the last."""
        cards = [cards_of(order_id, quantity) for order_id, quantity in self.orders.items()]
        few = [card for of_order in cards for card in (*of_order[:2], *of_order[2:][-1:])]
        return [*(secret for card in few for secret in card.values()), API_KEY]

    def evidence(self) -> Iterator[tuple[str, bytes]]:
        """Yield everything that the service wrote, each with its place."""
        yield "log", self.functions.log.getvalue().encode()
        yield from self._histories()
        yield "events", json.dumps(self.events(), ensure_ascii=False).encode()
        yield "dead letters", json.dumps(self.dead_letters(), ensure_ascii=False).encode()
        for table in (TABLE, GATE_TABLE, AUDIT_TABLE):
            for row in self.rows(table):
                yield f"table {table}", json.dumps(row, default=repr, ensure_ascii=False).encode()
                yield from ((f"table {table}", value.value) for value in row.values() if isinstance(value, Binary))
        yield "errors", "\n".join(self.functions.errors).encode()
        yield "memory", "\n".join(self.functions.dumps).encode()

    def _histories(self) -> Iterator[tuple[str, bytes]]:
        moto, machine = stepfunctions_parser_backends[ACCOUNT][REGION], self.cloud.machine_arn
        for execution in client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]:
            history = moto.get_execution_history(execution["executionArn"])["events"]
            yield f"history {execution['name']}", json.dumps(history, default=str, ensure_ascii=False).encode()

    # what replaces AWS

    def aws_call(self, real: Callable[..., Any], client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        """Make a call to AWS, unless it is to fail."""
        if not self.functions.is_running:
            if operation in self._failing_calls:
                raise Fault("InternalServerError").as_exception()
            return real(client, operation, parameters)
        if operation == "PutEvents" and self.events_to_refuse:
            self.events_to_refuse -= 1
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "injected"}]}
        self.functions.intercept(operation, "before")
        answer = real(client, operation, parameters)
        self.functions.intercept(operation, "after")
        return answer

    def invoke(self, name: str, body: str, answered: dict[str, str]) -> bytes:
        """Replace Lambda's Invoke."""
        function = {CHECK_STATUS: "check_status", DELIVER_CARDS: "deliver_cards"}[name]
        return self.functions.invoke(function, json.loads(body), answered)


@contextmanager
def world(choose: Callable[[int], int] = lambda _: 0, *, schedule: str = SCHEDULE) -> Iterator[World]:
    """Run a new world."""
    new: World | None = None

    def aws_call(real: Callable[..., Any], client: BaseClient, *call: Any) -> Any:
        return real(client, *call) if new is None else new.aws_call(real, client, *call)

    def invoke(
        _moto: LambdaSimpleBackend, name: str, _qualifier: str | None, body: str, _: Any, answered: Any
    ) -> bytes:
        assert new is not None
        return new.invoke(name, body, answered)

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "No application metrics")  # an invocation that measures nothing
        timeline = Timeline(stack.enter_context(time_machine.travel(START, tick=False)), choose)
        stack.enter_context(moto_cloud(aws_call))
        stack.enter_context(patch.object(LambdaSimpleBackend, "invoke", invoke))
        engine = stack.enter_context(instant_engine(Engine(sleep=timeline.sleep, begin=timeline.begin)))
        new = World(timeline, schedule)
        engine.faults = {step: new.lambda_faults() for step in ("CheckStatus", "DeliverCards")}
        stack.callback(composition_root.use, composition_root.use(Outside()))
        stack.enter_context(redirect_stdout(new.functions.log))
        stack.callback(timeline.close)
        yield new
