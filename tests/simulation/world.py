"""The whole service in one process: the real definition, the real functions, real HTTP to the supplier simulator.

moto's cloud stands in for AWS, and time is the test's. Every call that a function makes can be made to fail, and a
function can be killed before or after any of them.
"""

import io
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from types import FrameType, ModuleType
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import boto3
import time_machine
from aws_lambda_powertools.utilities.typing import LambdaContext
from boto3.dynamodb.types import Binary
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.session import Session
from moto import mock_aws
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.kms import models as kms
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from giftcards import composition_root
from giftcards.adapters import aws, card_cipher
from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.executions import Executions
from giftcards.adapters.oneclickdz.supplier import Supplier, new_client
from giftcards.adapters.order_table import OrderTable
from giftcards.contracts.events import SOURCE
from giftcards.rules.orders import Acceptance, Order
from giftcards.use_cases.reconcile_orders import ReconciliationReport, Window
from giftcards.use_cases.sweep_orders import OrderSweep
from giftcards_local.supplier import SupplierBook, SupplierServer, cards_of
from giftcards_local.supplier.book import NewOrder
from giftcards_local.supplier.faults import Fault as SupplierFault
from simulation.timeline import START, Timeline
from support.scripts import load
from workflow.engine import REGION, Engine, instant_engine
from workflow.engine import Fault as TaskFault
from workflow.harness import (
    ACCOUNT,
    BUS,
    CHECK_STATUS,
    DEAD_LETTERS,
    DELIVER_CARDS,
    TABLE,
    load_definition,
    load_template,
    substituted,
)

API_KEY = "kQ7vX2mW9pL4nR8sT6yB3cF5"
SCHEDULE = "120:5,300:15,3600:60,86400:120"
DELAYED_AFTER_SECONDS = 600
CALL_SECONDS = 0.001
"""What a call to AWS takes."""
SUPPLIER_SECONDS = 0.05
"""What a call to the supplier takes."""
REAL_PATIENCE_SECONDS = 0.25
"""How long a call to the supplier may really take: short, since a test waits for it."""
TABLE_CALLS = frozenset({"PutItem", "UpdateItem", "GetItem"})
TABLES = {"CardTable": TABLE, "GateTable": "gate", "AuditTable": "audit", "DifferenceTable": "differences"}
BUILDERS = ("status_check", "card_delivery", "card_reveal")


class Killed(BaseException):
    """The function's process ends at this line. Not an Exception: no code of the function may catch it."""


@dataclass
class Invocation:
    """A function that runs, and the calls that it has made so far."""

    function: str
    built: Any = field(repr=False)
    calls: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Context(LambdaContext):
    """What Lambda tells a function of its invocation."""

    function_name: str = "function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:function:live"
    aws_request_id: str = "request"


Hook = Callable[[Invocation, str, str], None]
"""Called before and after each call of a function, with what was called and the phase; whatever it raises happens."""


class World:
    """Everything there is: the supplier, the cloud with the deployed service, and time."""

    def __init__(self, timeline: Timeline, server: SupplierServer, book: SupplierBook, schedule: str) -> None:
        self.timeline = timeline
        self.schedule = schedule
        self.supplier = server
        self.book = book
        self.hooks: list[Hook] = []
        self.invocations: list[Invocation] = []
        self.orders: dict[str, int] = {}
        self.log = io.StringIO()
        self.interleaves = False
        self.errors: list[str] = []
        self.dumps: list[str] = []
        self.dumps_memory = False
        self._elsewhere: tuple[str, int] | None = None
        self._events_to_refuse = 0
        self._down = frozenset[str]()
        self._lambda_error: str | None = None
        self._build = {name: getattr(composition_root, name).__wrapped__ for name in BUILDERS}
        self._running: list[Invocation] = []
        self._containers: dict[str, dict[str, Any]] = {}
        self._dynamodb: Any = aws.dynamodb()
        self._shared_supplier = _supplier_of_all(server.url)
        self._heard: list[dict[str, Any]] = []
        self._create()

    # what people and the supplier do

    def place(self, quantity: int = 1, **terms: Any) -> str:
        """Place an order at the supplier, which settles it at once unless the terms say otherwise."""
        new = NewOrder.model_validate({"quantity": quantity, "fulfilAfter": 0} | terms)
        order_id = self.book.add(new).order_id
        self.orders[order_id] = quantity
        return order_id

    def fault(self, **fault: Any) -> str:
        """Have the supplier misbehave."""
        return self.book.faults.add(SupplierFault.model_validate(fault))

    def supplier_moves_to(self, url: str, *, after_calls: int = 0) -> None:
        """Have the functions look for the supplier elsewhere, once they have asked it so many times."""
        self._elsewhere = (url, after_calls)

    def supplier_is_back(self) -> None:
        """End every trouble with the supplier."""
        self._elsewhere = None
        self.book.faults.clear()

    def announce(self, order_id: str, user_id: str = "alice", **detail: Any) -> str:
        """Announce an order; returns the execution that this starts."""
        event = {
            "version": "0",
            "id": str(uuid4()),
            "source": "shop",
            "detail-type": "OrderPlaced",
            "detail": {"orderId": order_id, "userId": user_id} | detail,
        }
        arn: str = _client_of("stepfunctions").start_execution(
            stateMachineArn=self.machine_arn, name=event["id"], input=json.dumps(event)
        )["executionArn"]
        return arn

    def order(self, quantity: int = 1, user_id: str = "alice", **terms: Any) -> str:
        """Place an order and announce it."""
        order_id = self.place(quantity, **terms)
        self.announce(order_id, user_id)
        return order_id

    def run(self, seconds: float = 60) -> None:
        """Let time pass."""
        self.timeline.run(seconds)

    def set_api_key(self, value: str = API_KEY) -> None:
        """Put the supplier's key into the secret."""
        _client_of("secretsmanager").put_secret_value(SecretId=self.secret_arn, SecretString=value)

    def abort(self, execution_arn: str) -> None:
        """Abort an execution, as an operator can."""
        _client_of("stepfunctions").stop_execution(executionArn=execution_arn)

    def refuse_events(self, times: int) -> Callable[[], int]:
        """Have the bus take the next calls of functions but not their events; returns what tells how many are left."""
        self._events_to_refuse = times
        return lambda: self._events_to_refuse

    @contextmanager
    def table_down(self, *, queue_too: bool = False) -> Iterator[None]:
        """Have DynamoDB, and SQS too if asked, fail for the workflow itself."""
        self._down = TABLE_CALLS | ({"SendMessage"} if queue_too else set())
        yield
        self._down = frozenset()

    @contextmanager
    def lambda_down(self, error: str = "TooManyRequestsException") -> Iterator[None]:
        """Have Lambda run neither function of the workflow."""
        self._lambda_error = error
        yield
        self._lambda_error = None

    def lambda_faults(self) -> Iterator[TaskFault | None]:
        """Give, call by call, how Lambda fails to run a function."""
        while True:
            yield TaskFault(self._lambda_error) if self._lambda_error else None

    def release(self, order_id: str) -> None:
        """Take an order from its execution, as the sweeper does when it believes that this is gone."""
        self._dynamodb.update_item(
            TableName=TABLE, Key={"pk": f"ORDER#{order_id}", "sk": "ORDER"}, UpdateExpression="REMOVE executionArn"
        )

    def accept_cards(self, order_id: str, cards: int = 2, ordered: int | None = None) -> None:
        """Accept the cards of a held order, as ``giftcards resume --accept-cards`` does."""
        order = self.known(order_id)
        assert order is not None
        olga, now = "arn:aws:iam::1:user/olga", self.timeline.now
        acceptance = Acceptance(by=olga, reason="seen", at=now, cards=cards, ordered=ordered)
        assert OrderTable(TABLE, self._dynamodb).accept_cards(order, acceptance)

    def put_row(self, row: dict[str, Any]) -> None:
        """Write a row past the service."""
        self._dynamodb.put_item(TableName=TABLE, Item=row)

    def put_dead_letter(self, event: dict[str, Any]) -> None:
        """Put an event into the dead-letter queue, as the rule does with what it cannot deliver."""
        _client_of("sqs").send_message(QueueUrl=DEAD_LETTERS, MessageBody=json.dumps(event))

    def sweep(self) -> None:
        """Run the sweeper once, and start what it announces: moto's bus starts no workflow."""
        sweep = OrderSweep(
            OrderTable(TABLE, self._dynamodb),
            Executions(_client_of("stepfunctions")),
            EventBus(BUS, _client_of("events")),
        )
        sweep.sweep(now=self.timeline.now).raise_for_failures()
        for event in self._receive("announcements"):
            self.announce(order_id=event["detail"].pop("orderId"), user_id=event["detail"].pop("userId"))

    def reconcile(self) -> ReconciliationReport:
        """Compare the supplier's list with the orders once."""
        built = composition_root.reconciliation.__wrapped__()
        outer, self._running = self._running, [Invocation("reconcile_orders", built)]
        try:
            now = self.timeline.now
            window = Window(now - timedelta(days=1), now)
            return built.reconcile(window, time_out=now + timedelta(minutes=5))
        finally:
            self._running = outer

    def reveal(self, order_id: str, user_id: str = "alice") -> dict[str, Any]:
        """Ask for the cards of an order."""
        request = {"orderId": order_id, "userId": user_id, "requestedBy": "test", "reason": ""}
        answer: dict[str, Any] = self._call("reveal_cards", self._build["card_reveal"](), request)
        return answer

    # what there is to see

    def known(self, order_id: str) -> Order | None:
        """Give an order as the table has it."""
        return OrderTable(TABLE, self._dynamodb).get(order_id)

    def status(self, order_id: str) -> str:
        """Give an order's status, or its held reason."""
        order = self.known(order_id)
        return "UNKNOWN" if order is None else str(order.held_reason or order.status)

    def rows(self, table: str = TABLE) -> list[dict[str, Any]]:
        """Give everything that a table holds."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=table)
        return sorted((row for page in pages for row in page["Items"]), key=lambda row: (row["pk"], row["sk"]))

    def heard(self, order_id: str | None = None) -> list[dict[str, Any]]:
        """Give every event that the service has announced, or those about one order."""
        self._heard += self._receive("everything")
        if order_id is None:
            return self._heard
        return [event for event in self._heard if event["detail"].get("orderId") == order_id]

    def kinds(self, order_id: str) -> list[str]:
        """Give the detail-types of the events about one order."""
        return [event["detail-type"] for event in self.heard(order_id)]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Take what is in the dead-letter queue."""
        return self._receive(DEAD_LETTERS.rpartition("/")[2])

    def calls_to_supplier(self) -> list[Any]:
        """Give the calls that the supplier has received."""
        return self.book.calls

    def execution(self, arn: str) -> Any:
        """Give an execution as the engine has it."""
        return stepfunctions_parser_backends[ACCOUNT][REGION].describe_execution(arn)

    def histories(self) -> Iterator[tuple[str, str]]:
        """Give the history of every execution as text."""
        moto = stepfunctions_parser_backends[ACCOUNT][REGION]
        for execution in _client_of("stepfunctions").list_executions(stateMachineArn=self.machine_arn)["executions"]:
            history = moto.get_execution_history(execution["executionArn"])["events"]
            yield execution["name"], json.dumps(history, default=str, ensure_ascii=False)

    def secrets(self) -> list[str]:
        """Give what must never be found: cards of every order (the first and the last of many), and the API key."""
        cards = [cards_of(order_id, quantity) for order_id, quantity in self.orders.items()]
        few = [card for found in cards for card in (*found[:2], *found[2:][-1:])]
        return [*(secret for card in few for secret in card.values()), API_KEY]

    def evidence(self) -> Iterator[tuple[str, bytes]]:
        """Give everything that the service has left behind."""
        yield "log", self.log.getvalue().encode()
        yield from ((f"history {name}", text.encode()) for name, text in self.histories())
        yield "events", json.dumps(self.heard(), ensure_ascii=False).encode()
        yield "dead letters", json.dumps(self.dead_letters(), ensure_ascii=False).encode()
        for table in (TABLE, "gate", "audit"):
            for row in self.rows(table):
                yield f"table {table}", json.dumps(row, default=repr, ensure_ascii=False).encode()
                yield from ((f"table {table}", value.value) for value in row.values() if isinstance(value, Binary))
        yield "errors", "\n".join(self.errors).encode()
        yield "memory", "\n".join(self.dumps).encode()

    # the functions

    def invoke(
        self, _backend: LambdaSimpleBackend, name: str, _qualifier: str | None, body: str, _headers: Any, answered: Any
    ) -> bytes:
        """Stand in for Lambda."""
        function = {CHECK_STATUS: "check_status", DELIVER_CARDS: "deliver_cards"}[name]
        request = json.loads(body)
        container = self._container(request["orderId"])
        try:
            answer = self._call(function, container[function], request)
        except Killed as killed:
            self._containers.pop(request["orderId"], None)
            error = {"errorType": "Runtime.ExitError", "errorMessage": str(killed)}
        except Exception as raised:  # noqa: BLE001 - as Lambda does with whatever is raised
            self.errors += traceback.format_exception(raised)
            error = {"errorType": type(raised).__name__, "errorMessage": str(raised)}
        else:
            return json.dumps(answer).encode()
        answered["x-amz-function-error"] = "Unhandled"
        return json.dumps(error).encode()

    def note(self, real: Callable[..., Any], client: BaseClient, operation: str, params: dict[str, Any]) -> Any:
        """Stand in for ``BaseClient._make_api_call``."""
        if not self._running:
            if operation in self._down:
                raise TaskFault("InternalServerError").as_exception()
            return real(client, operation, params)
        if operation == "PutEvents" and self._events_to_refuse:
            self._events_to_refuse -= 1
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "injected"}]}
        self._happens(operation, "before")
        answer = real(client, operation, params)
        self._happens(operation, "after")
        return answer

    def ask_supplier(self, real: Callable[..., Any], supplier: Supplier, path: str, api_key: Any) -> Any:
        """Stand in for the supplier adapter's one call."""
        self._happens("checkOrder", "before")
        if self._elsewhere is not None and len(self.book.calls) >= self._elsewhere[1]:
            with patch.object(supplier, "_base_url", self._elsewhere[0]):
                answer = real(supplier, path, api_key)
        else:
            answer = real(supplier, path, api_key)
        self.timeline.pass_by(SUPPLIER_SECONDS)
        self._happens("checkOrder", "after")
        return answer

    def _happens(self, operation: str, phase: str) -> None:
        invocation = self._running[-1]
        if phase == "before":
            invocation.calls.append(operation)
            self.timeline.pass_by(CALL_SECONDS)
        if self.dumps_memory:
            self.dumps += _variables_of_the_service(sys._getframe())
        for hook in self.hooks:
            hook(invocation, operation, phase)
        if self.interleaves and self.timeline.actor_runs:
            running, self._running = self._running, []
            self.timeline.sleep(0)
            self._running = running

    def pause(self, seconds: float) -> None:
        """Stand in for a function's ``time.sleep``."""
        if self.timeline.actor_runs:
            running, self._running = self._running, []
            self.timeline.sleep(seconds)
            self._running = running
        else:
            self.timeline.pass_by(seconds)

    def _call(self, function: str, built: Any, request: dict[str, Any]) -> Any:
        invocation = Invocation(function, built)
        self.invocations.append(invocation)
        outer, self._running = self._running, [invocation]
        try:
            return json.loads(json.dumps(self._handler(function)(request, Context(aws_request_id=str(uuid4())))))
        finally:
            self._running = outer

    def built(self) -> Any:
        """Give the function that runs what its container has built."""
        return self._running[-1].built

    def _handler(self, function: str) -> Callable[..., Any]:
        module = _module(function)
        for handler in module.logger.handlers:
            handler.setStream(self.log)
        called: Callable[..., Any] = module.handler
        return called

    def _container(self, order_id: str) -> dict[str, Any]:
        """Give the functions of a container: its own cache of the key, and its own memory of the gate.

        An order keeps its container until it is killed, so that fifty orders have fifty of them.
        """
        if order_id not in self._containers:
            self._containers[order_id] = {
                "check_status": self._build["status_check"](),
                "deliver_cards": self._build["card_delivery"](),
            }
        return self._containers[order_id]

    # the cloud

    def _create(self) -> None:
        resources = load_template()["Resources"]
        for name, called in TABLES.items():
            properties = resources[name]["Properties"]
            known = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
            self._dynamodb.create_table(
                TableName=called, **{key: properties[key] for key in known if key in properties}
            )
        events, sqs = _client_of("events"), _client_of("sqs")
        events.create_event_bus(Name=BUS)
        events.put_rule(Name="everything", EventBusName=BUS, EventPattern=json.dumps({"source": [SOURCE]}))
        sqs.create_queue(QueueName="everything")
        sqs.create_queue(QueueName="announcements")
        events.put_rule(Name="placed", EventBusName=BUS, EventPattern=json.dumps({"detail-type": ["OrderPlaced"]}))
        announcements = {"Id": "inbox", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:announcements"}
        events.put_targets(Rule="placed", EventBusName=BUS, Targets=[announcements])
        sqs.create_queue(QueueName=DEAD_LETTERS.rpartition("/")[2])
        target = {"Id": "inbox", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:everything"}
        events.put_targets(Rule="everything", EventBusName=BUS, Targets=[target])
        self.key_arn = _client_of("kms").create_key()["KeyMetadata"]["Arn"]
        self.secret_arn = _client_of("secretsmanager").create_secret(Name="key", SecretString=API_KEY)["ARN"]
        self.machine_arn = _client_of("stepfunctions").create_state_machine(
            name="giftcards-fulfil-order",
            definition=substituted(load_definition(), self.schedule),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/fulfil-order",
        )["stateMachineArn"]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the template gives to the functions."""
        return {
            "POWERTOOLS_SERVICE_NAME": "giftcards",
            "STAGE_NAME": "simulation",
            "SUPPLIER_BASE_URL": self.supplier.url,
            "SUPPLIER_API_KEY_SECRET_ARN": self.secret_arn,
            "GATE_TABLE_NAME": "gate",
            "CARD_TABLE_NAME": TABLE,
            "AUDIT_TABLE_NAME": "audit",
            "DIFFERENCE_TABLE_NAME": "differences",
            "CARD_KEY_ARN": self.key_arn,
            "ORDER_BUS_NAME": BUS,
            "CARD_RETENTION_DAYS": "0",
            "POLL_SCHEDULE": self.schedule,
            "DELAYED_AFTER_SECONDS": str(DELAYED_AFTER_SECONDS),
        }

    def shared_supplier(self, *_: Any) -> Supplier:
        """Give every container the same HTTP client, which takes longer to build than most tests."""
        return self._shared_supplier

    def _receive(self, queue: str) -> list[dict[str, Any]]:
        sqs, found = _client_of("sqs"), []
        url = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{queue}"
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found


def _variables_of_the_service(frame: FrameType | None) -> Iterator[str]:
    """Give what a dump of the process would show: the ``repr`` of every variable in the service's own frames."""
    while frame is not None:
        if any(part in frame.f_code.co_filename for part in ("/layers/core/giftcards/", "/functions/")):
            yield from (repr(value) for value in frame.f_locals.values())
        frame = frame.f_back


@cache
def _module(function: str) -> ModuleType:
    return load(f"functions/{function}/app.py", f"{function}_in_simulation")


@cache
def _supplier() -> tuple[SupplierServer, SupplierBook]:
    """Start a supplier that all worlds of this process ask, one after the other: to stop one takes a while."""
    book = SupplierBook()
    return SupplierServer(book).__enter__(), book


@cache
def _supplier_of_all(url: str) -> Supplier:
    """Build the one HTTP client, with its event loop, that all containers use: it takes longer than most tests."""
    return Supplier(url, _client(), total_seconds=REAL_PATIENCE_SECONDS)


@cache
def _client() -> Any:
    return new_client()


@cache
def _client_of(service: str) -> Any:
    return boto3.Session("test", "test", region_name=REGION).client(service)


@cache
def _botocore_session() -> Session:
    return Session()


def _no_pair(_key_spec: str) -> bytes:
    return b""  # moto makes an RSA pair for symmetric keys too, and that takes longer than most tests


def failing(operation: str, code: str, *, times: int = 1, phase: str = "before", function: str | None = None) -> Hook:
    """Make a hook that fails the next calls of an operation with an AWS error code, done or not."""
    left = times

    def hook(invocation: Invocation, called: str, at: str) -> None:
        nonlocal left
        if called == operation and at == phase and function in {None, invocation.function} and left > 0:
            left -= 1
            status = 500 if code.startswith("Internal") else 400
            answer = {"Error": {"Code": code, "Message": "injected"}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(answer, operation)

    return hook


@contextmanager
def world(choose: Callable[[int], int] = lambda _: 0, *, schedule: str = SCHEDULE) -> Iterator[World]:
    """Make a world, and take it away again."""
    variables = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    with ExitStack() as stack:
        warnings.filterwarnings("ignore", "No application metrics")  # a call that measures nothing
        stack.enter_context(patch.dict(os.environ, variables))
        traveller = stack.enter_context(time_machine.travel(START, tick=False))
        timeline = Timeline(traveller, choose)
        server, book = _supplier()
        book.__init__(api_keys=[API_KEY], fulfil_after=0)  # type: ignore[misc] # it starts over
        stack.enter_context(
            mock_aws(config={"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}})
        )
        engine = stack.enter_context(instant_engine(Engine(sleep=timeline.sleep, begin=timeline.begin)))
        stack.enter_context(patch.object(kms, "generate_private_key", _no_pair))
        stack.enter_context(patch.object(card_cipher, "Session", _botocore_session))
        made = World(timeline, server, book, schedule)
        engine.faults = {step: made.lambda_faults() for step in ("CheckStatus", "DeliverCards")}
        stack.enter_context(patch.dict(os.environ, made.environment))
        real_call, real_get = BaseClient._make_api_call, Supplier._get

        def note(client: BaseClient, operation: str, params: dict[str, Any]) -> Any:
            return made.note(real_call, client, operation, params)

        def ask(supplier: Supplier, path: str, api_key: Any) -> Any:
            return made.ask_supplier(real_get, supplier, path, api_key)

        def invoke(*call: Any) -> bytes:
            return made.invoke(*call)

        stack.enter_context(patch.object(BaseClient, "_make_api_call", note))
        stack.enter_context(patch.object(Supplier, "_get", ask))
        stack.enter_context(patch.object(composition_root, "Supplier", made.shared_supplier))
        stack.enter_context(patch.object(composition_root, "new_client", _client))
        stack.enter_context(patch.object(LambdaSimpleBackend, "invoke", invoke))
        for name in BUILDERS:
            stack.enter_context(patch.object(composition_root, name, made.built))
        stack.callback(composition_root.use, composition_root.use(composition_root.Outside(pause=made.pause)))
        stack.enter_context(redirect_stdout(made.log))
        stack.callback(timeline.close)
        yield made
