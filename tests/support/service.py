"""A real deployment for tests and the alarm drill: built by SAM, on its own local cloud, with a supplier simulator."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import httpx

from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import Order
from giftcards_cli.stack import Stack
from giftcards_local import PROJECT, STACK_NAME, evidence
from giftcards_local.bus_listener import BusListener
from giftcards_local.cloud import TEMPLATE, LocalCloud
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY, SupplierBook, SupplierServer, cards_of
from support.laptop import NO_AWS

MAX_WAIT_SECONDS = 120.0
"""For a busy machine. A condition that holds is noticed at once."""


@dataclass
class Service:
    """The running service, with what a shop, an operator and an attacker can do."""

    cloud: LocalCloud
    supplier: SupplierServer
    stack: Stack
    bus: BusListener
    orders: dict[str, int] = field(default_factory=dict)
    printed: list[str] = field(default_factory=list)

    def order(self, quantity: int = 1, **terms: Any) -> str:
        """Place an order at the supplier. It settles at once unless the terms say otherwise."""
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

    @cached_property
    def shop_variables(self) -> dict[str, str]:
        """What a shop's program needs: SHOP_API_URL, SHOP_API_KEY, WEBHOOK_KEY."""
        return self.cloud.shop_variables()

    def shop(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> httpx.Response:
        """Call the shop's HTTP API."""
        headers = {"Authorization": f"Bearer {key or self.shop_variables['SHOP_API_KEY']}"}
        url = f"{self.shop_variables['SHOP_API_URL']}{path}"
        return httpx.request(method, url, json=body, headers=headers, timeout=60, trust_env=False)

    def until(
        self, order_id: str, condition: Callable[[Order], bool], what: str, *, within: float = MAX_WAIT_SECONDS
    ) -> Order:
        """Wait until a condition holds for an order."""
        seen: list[Order | None] = [None]

        def holds() -> bool:
            seen[0] = self.stack.orders.get(order_id)
            return seen[0] is not None and condition(seen[0])

        assert wait_for(holds, within_seconds=within), f"{order_id} did not become {what}: {seen[0]}"
        assert seen[0] is not None
        return seen[0]

    def until_published(self, order_id: str, *, within: float = MAX_WAIT_SECONDS) -> Order:
        """Wait until an order is closed and its event is published."""
        return self.until(order_id, lambda order: order.announced_at is not None, "published", within=within)

    def until_status(self, order_id: str, status: OrderStatus) -> Order:
        """Wait until an order has a status."""
        return self.until(order_id, lambda order: order.status is status, status)

    def until_event(self, order_id: str, detail_type: str) -> dict[str, Any]:
        """Wait for an event about an order and return its detail."""
        found: list[dict[str, Any]] = []

        def has_arrived() -> bool:
            found[:] = [e["detail"] for e in self.bus.events_about(order_id) if e["detail-type"] == detail_type]
            return bool(found)

        assert wait_for(has_arrived, within_seconds=MAX_WAIT_SECONDS), f"no {detail_type} about {order_id}"
        return found[0]

    def execution(self, order: Order) -> dict[str, Any]:
        """Return the order's execution once it has ended."""
        step_functions = self.cloud.client("stepfunctions")
        ended: list[dict[str, Any]] = [{}]

        def has_ended() -> bool:
            ended[0] = step_functions.describe_execution(executionArn=order.execution_arn)
            return bool(ended[0]["status"] != "RUNNING")

        assert wait_for(has_ended, within_seconds=MAX_WAIT_SECONDS), f"the execution of {order.order_id} did not end"
        return ended[0]

    def executions_of(self, order_id: str) -> list[str]:
        """Return the status of every execution that OrderPlaced of this order started."""
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
        """Return the physical id of a resource of the template."""
        found = self.cloud.client("cloudformation").describe_stack_resource(
            StackName=STACK_NAME, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def items(self, order_id: str) -> list[dict[str, Any]]:
        """Return the rows of an order, with DynamoDB types."""
        items: list[dict[str, Any]] = self.cloud.client("dynamodb").query(
            TableName=self.stack.outputs["CardTableName"],
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"ORDER#{order_id}"}},
        )["Items"]
        return items

    def dead_letters(self) -> list[str]:
        """Return the bodies in both dead-letter queues, and leave the messages there."""
        sqs, found = self.cloud.client("sqs"), dict[str, str]()
        for name in ("OrderPlacedDeadLetterQueue", "FunctionsDeadLetterQueue"):
            while True:
                messages = sqs.receive_message(
                    QueueUrl=self.physical_id(name), MaxNumberOfMessages=10, VisibilityTimeout=0
                ).get("Messages", [])
                unseen = {message["MessageId"]: message["Body"] for message in messages}.items() - found.items()
                if not unseen:
                    break
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
            self.printed.append(finished.stdout + finished.stderr)
        return finished

    @contextmanager
    def watching(self) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        """Run `giftcards watch` meanwhile. Yields a function that returns the changes so far."""
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
            self.printed.append(Path(out.name).read_text() + Path(err.name).read_text())
            assert (ended, Path(err.name).read_text()) == (0, "")

    @property
    def shell(self) -> dict[str, str]:
        """Environment of a shell in which the commands of a page use this cloud."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        return NO_AWS | self.cloud.environment | {"PATH": path, "SUPPLIER_URL": self.supplier.url}

    def secrets(self) -> list[str]:
        """Return what must not leak: the cards of every order, and all keys."""
        cards = [
            secret
            for order_id, quantity in self.orders.items()
            for card in cards_of(order_id, quantity)
            for secret in card.values()
        ]
        keys = [value for name, value in self.shop_variables.items() if name.endswith("_KEY")]
        return [*cards, *keys, SANDBOX_API_KEY]

    def evidence(self) -> Iterator[tuple[str, bytes]]:
        """Return everything that the service wrote."""
        yield from evidence.function_logs(self.cloud.client("logs"))
        yield from evidence.workflow_history(self.cloud.client("stepfunctions"), self.stack.outputs["StateMachineArn"])
        yield from (("bus", json.dumps(event).encode()) for event in self.bus.events())
        for name in self.cloud.client("dynamodb").list_tables()["TableNames"]:
            yield from evidence.table(self.cloud.client("dynamodb"), name)
        yield from (("dead letters", body.encode()) for body in self.dead_letters())
        yield from (("command line", text.encode()) for text in self.printed)


@contextmanager
def deployed(
    folder: Path, parameters: dict[str, str], book: SupplierBook | None = None, template: Path = TEMPLATE
) -> Iterator[Service]:
    """Build, and deploy to a new local cloud with a new supplier simulator. No API key is set yet."""
    cloud = LocalCloud(folder)
    with SupplierServer(book) as supplier:
        cloud.start()
        try:
            cloud.deploy(parameters | {"SupplierBaseUrl": supplier.url}, template)
            stack = Stack(STACK_NAME, cloud.session, cloud.url)
            yield Service(cloud, supplier, stack, BusListener(cloud.session, cloud.url, stack.outputs["OrderBusName"]))
        finally:
            cloud.stop()
