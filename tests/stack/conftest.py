"""A real deployment for the stack tests: built by SAM, on its own local cloud, with a supplier simulator.

The tests of a group run in one worker, one file after the other, and those that use `service` share one deployment.
Groups run side by side: most of their time they wait.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import Order
from giftcards_cli.stack import Stack
from giftcards_local import PROJECT, STACK_NAME, evidence
from giftcards_local.bus_listener import BusListener
from giftcards_local.cloud import LocalCloud
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY, SupplierBook, SupplierServer, cards_of
from stack.laptop import NO_AWS

# Short enough for a test, long enough that no order of another test gets near the deadline.
PARAMETERS = {"PollSchedule": "45:1", "DelayedAfterSeconds": "6", "LogRetentionDays": "1"}
MAX_WAIT_SECONDS = 120.0  # a busy machine is slow; what is as it should be is noticed at once


@dataclass
class Service:
    """The running service, as a shop, an operator and an attacker can touch it."""

    cloud: LocalCloud
    supplier: SupplierServer
    stack: Stack
    bus: BusListener
    orders: dict[str, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def order(self, quantity: int = 1, **terms: Any) -> str:
        """Place an order at the supplier; it settles at once unless the terms say otherwise."""
        order_id = self.supplier.control.add_order(quantity, **({"fulfil_after": 0} | terms))
        self.orders[order_id] = quantity
        return order_id

    def publish(self, detail: Any, *, times: int = 1) -> None:
        """Publish OrderPlaced as a shop does."""
        entry = {
            "EventBusName": self.stack.outputs["OrderBusName"],
            "Source": "shop",
            "DetailType": "OrderPlaced",
            "Detail": json.dumps(detail),
        }
        for _ in range(times):
            assert self.cloud.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0

    def until(
        self, order_id: str, condition: Callable[[Order], bool], what: str, *, within: float = MAX_WAIT_SECONDS
    ) -> Order:
        """Wait until an order is as it should be."""
        seen: list[Order | None] = [None]

        def holds() -> bool:
            seen[0] = self.stack.orders.get(order_id)
            return seen[0] is not None and condition(seen[0])

        assert wait_for(holds, within_seconds=within), f"{order_id} is never {what}: {seen[0]}"
        assert seen[0] is not None
        return seen[0]

    def until_published(self, order_id: str, *, within: float = MAX_WAIT_SECONDS) -> Order:
        """Wait until an order is closed and the shop told."""
        return self.until(order_id, lambda order: order.announced_at is not None, "announced", within=within)

    def until_status(self, order_id: str, status: OrderStatus) -> Order:
        """Wait until an order has a status."""
        return self.until(order_id, lambda order: order.status is status, status)

    def until_heard(self, order_id: str, detail_type: str) -> dict[str, Any]:
        """Wait for an event about an order and return its detail."""
        found: list[dict[str, Any]] = []

        def is_heard() -> bool:
            found[:] = [e["detail"] for e in self.bus.heard_of(order_id) if e["detail-type"] == detail_type]
            return bool(found)

        assert wait_for(is_heard, within_seconds=MAX_WAIT_SECONDS), f"no {detail_type} about {order_id}"
        return found[0]

    def execution(self, order: Order) -> dict[str, Any]:
        """Return the order's execution once it has ended."""
        step_functions = self.cloud.client("stepfunctions")
        ended: list[dict[str, Any]] = [{}]

        def has_ended() -> bool:
            ended[0] = step_functions.describe_execution(executionArn=order.execution_arn)
            return bool(ended[0]["status"] != "RUNNING")

        assert wait_for(has_ended, within_seconds=MAX_WAIT_SECONDS), f"the execution of {order.order_id} never ends"
        return ended[0]

    def executions_of(self, order_id: str) -> list[str]:
        """Return the status of every execution that an announcement of this order started."""
        step_functions = self.cloud.client("stepfunctions")
        machine = self.stack.outputs["StateMachineArn"]
        found = []
        for page in step_functions.get_paginator("list_executions").paginate(stateMachineArn=machine):
            for execution in page["executions"]:
                described = step_functions.describe_execution(executionArn=execution["executionArn"])
                if order_id in described["input"]:
                    found.append(described["status"])
        return found

    def physical_id(self, logical_id: str) -> str:
        """Return the name that the cloud gave to a resource of the template."""
        found = self.cloud.client("cloudformation").describe_stack_resource(
            StackName=STACK_NAME, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def items(self, order_id: str) -> list[dict[str, Any]]:
        """Return the raw rows of an order."""
        items: list[dict[str, Any]] = self.cloud.client("dynamodb").query(
            TableName=self.stack.outputs["CardTableName"],
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"ORDER#{order_id}"}},
        )["Items"]
        return items

    def dead_letters(self) -> list[str]:
        """Return the bodies in both dead-letter queues, and leave them there for everybody to see."""
        sqs, found = self.cloud.client("sqs"), dict[str, str]()
        for name in ("OrderPlacedDeadLetterQueue", "FunctionsDeadLetterQueue"):
            unseen = True
            while unseen:
                messages = sqs.receive_message(
                    QueueUrl=self.physical_id(name), MaxNumberOfMessages=10, VisibilityTimeout=0
                ).get("Messages", [])
                unseen = {message["MessageId"]: message["Body"] for message in messages}.items() - found.items()
                found.update(unseen)
        return list(found.values())

    def giftcards(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line against this cloud."""
        finished = subprocess.run(
            [sys.executable, "-m", "giftcards_cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=NO_AWS | (self.cloud.environment if environment is None else environment),
            cwd=PROJECT,
            check=False,
        )
        if arguments[0] != "reveal":
            self.said.append(finished.stdout + finished.stderr)
        return finished

    @contextmanager
    def watching(self) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        """Watch the orders meanwhile, and end it. Gives what reads the changes so far."""
        with NamedTemporaryFile("r") as out, NamedTemporaryFile("r") as err:
            command = [sys.executable, "-m", "giftcards_cli", "watch", "--json", "--interval", "0.5"]
            environment = NO_AWS | self.cloud.environment
            with (
                Path(out.name).open("w") as stdout,
                Path(err.name).open("w") as stderr,
                subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment, cwd=PROJECT) as watch,
            ):
                try:
                    yield lambda: [*map(json.loads, Path(out.name).read_text().rpartition("\n")[0].splitlines())]
                    watch.terminate()
                    ended = watch.wait(timeout=30)
                finally:
                    watch.kill()
            self.said.append(Path(out.name).read_text() + Path(err.name).read_text())
            assert (ended, Path(err.name).read_text()) == (0, "")

    @property
    def shell(self) -> dict[str, str]:
        """The variables of a shell in which every command of a page finds this cloud."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        return NO_AWS | self.cloud.environment | {"PATH": path, "SUPPLIER_URL": self.supplier.url}

    def secrets(self) -> list[str]:
        """Return everything that must never be found: every card of every order, and the API key."""
        cards = [
            secret
            for order_id, quantity in self.orders.items()
            for card in cards_of(order_id, quantity)
            for secret in card.values()
        ]
        return [*cards, SANDBOX_API_KEY]

    def evidence(self) -> Iterator[tuple[str, bytes]]:
        """Return everything that the service has left behind."""
        yield from evidence.function_logs(self.cloud.client("logs"))
        yield from evidence.workflow_history(self.cloud.client("stepfunctions"), self.stack.outputs["StateMachineArn"])
        yield from (("bus", json.dumps(event).encode()) for event in self.bus.heard())
        for name in self.cloud.client("dynamodb").list_tables()["TableNames"]:
            yield from evidence.table(self.cloud.client("dynamodb"), name)
        yield from (("dead letters", body.encode()) for body in self.dead_letters())
        yield from (("command line", said.encode()) for said in self.said)


@contextmanager
def deployed(folder: Path, parameters: dict[str, str], book: SupplierBook | None = None) -> Iterator[Service]:
    """Build and deploy to a cloud of its own, beside a supplier of its own. No API key is set yet."""
    cloud = LocalCloud(folder)
    with SupplierServer(book) as supplier:
        cloud.start()
        try:
            cloud.deploy(parameters | {"SupplierBaseUrl": supplier.url})
            stack = Stack(STACK_NAME, cloud.session, cloud.url)
            yield Service(cloud, supplier, stack, BusListener(cloud.session, cloud.url, stack.outputs["OrderBusName"]))
        finally:
            cloud.stop()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Deploy once for each worker. No API key is set yet."""
    with deployed(tmp_path_factory.mktemp("stack"), PARAMETERS) as running:
        yield running


UNKNOWN_ORDERS = ("fedcba9876543210fedcba98", "89abcdef0123456789abcdef", "76543210fedcba9876543210")


@pytest.fixture(scope="session")
def unknown_orders(service: Service) -> tuple[str, ...]:
    """Set the API key, and publish orders of erin's that the supplier does not know.

    An order is held after a minute of doubt. A file that runs early requests this fixture, so that a later one finds
    the orders held.
    """
    service.cloud.set_api_key(SANDBOX_API_KEY)
    for order_id in UNKNOWN_ORDERS:
        service.publish({"orderId": order_id, "userId": "erin"})
    return UNKNOWN_ORDERS


@pytest.fixture(scope="session")
def late_order(service: Service) -> str:
    """Publish an order of frank's that the supplier does not fulfil before its deadline passes."""
    order_id = service.order(1, fulfil_after=3600)
    service.publish({"orderId": order_id, "userId": "frank"})
    return order_id


GROUPS = (
    ("test_irregular_orders.py",),
    ("test_buyer.py", "test_roles.py", "test_restore.py", "test_reconciliation.py", "test_upkeep.py"),
    ("test_getting_started.py",),
    ("test_service.py",),
    ("test_irregular_keys.py",),
    ("test_demo.py", "test_environment.py"),
    ("test_artifacts.py", "test_supplier_simulator.py"),
    ("test_local.py",),
    ("test_chaos.py",),
    ("test_upgrade.py",),
)
"""Files that run in one worker, in their order; the groups that take longest come first. test_service.py comes before
every other file that might share its deployment, because it has to see the service without an API key. A file that is
not listed is its own group, after these."""
ORDER = [name for group in GROUPS for name in group]


class _GroupScheduling(LoadScopeScheduling):
    """Gives a worker one group after the other, in the order of `GROUPS`."""

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.partition("::")[0].rpartition("/")[2]
        return next((str(number) for number, names in enumerate(GROUPS) if name in names), name)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Distribute groups. Not by `--dist loadgroup`: xdist 3.8 marks node ids in a way that pytest 9.2 ignores."""
    config.option.loadscopereorder = False
    return _GroupScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Undo the shuffling: tests that share a deployment run in the order of their files."""
    here = Path(__file__).parent
    indexes = [index for index, item in enumerate(items) if here in item.path.parents]

    def rank(item: pytest.Item) -> tuple[int, str, int]:
        name = item.path.name
        return ORDER.index(name) if name in ORDER else len(ORDER), name, item.reportinfo()[1] or 0

    in_order = sorted((items[index] for index in indexes), key=rank)
    for index, item in zip(indexes, in_order, strict=True):
        items[index] = item
