"""Chaos on a real deployment: fifty orders at once, faults of all kinds, and killed processes.

It runs once, for the first test; the tests check its results. ``pytest -s`` prints a summary.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import Any

import httpx
import psutil
import pytest
from botocore.exceptions import ClientError

from giftcards.contracts.events import HeldReason
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.gate import MAX_CONCURRENT_CALLS
from giftcards.rules.orders import CLOSING_EVENTS, Order
from giftcards.rules.schedule import MAX_BACKOFF_SECONDS
from giftcards_local import STACK_NAME, evidence
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SupplierBook, SupplierServer, cards_of, key_id
from simulation.supplier_faults import SUPPLIER_FAULTS
from support.service import Service, deployed

PARAMETERS = {"PollSchedule": "600:2", "DelayedAfterSeconds": "540", "LogRetentionDays": "1"}
"""No order reaches its deadline."""
MAX_CONCURRENT_FUNCTIONS = "10"
"""The limit of a new AWS account. The local cloud needs a second for each, to unpack its layers."""
API_KEY, NEXT_API_KEY = "chaos-key-dXv8RkPz2wQm5LtY", "chaos-key-hN3cJf7bGs9ZaEoU"
OUTAGE_SECONDS = 60.0
SWEEP_EVERY_SECONDS = 10.0
POLL_SECONDS = 1.0
"""Between two looks at all orders: the functions need the processor."""
MAX_WAIT_SECONDS = 240.0
"""For each condition. On a free machine with two cores none takes longer than a minute."""
END_SECONDS = float(MAX_BACKOFF_SECONDS)
"""For the end: an order that had one fault after another waits this long before it checks again."""

ORDERS = 50
LARGE = 5_000
USERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace")
STRANGER = "mallory"

FAULTS: dict[str, dict[str, Any]] = {
    "500 INTERNAL_ERROR": {"times": 2},
    "503 SERVICE_UNAVAILABLE": {"times": 1},
    "429 with Retry-After": {"times": 1, "retryAfter": 5},
    "HTML with 502": {"times": 2},
    "connection reset before the answer": {"times": 2},
    "connection reset in mid-body": {"times": 1, "afterCalls": 1},
    "slow headers": {"times": 1},
    "slow body": {"times": 1, "slowBody": {"chunkBytes": 8, "intervalSeconds": 1}},
    "unknown status": {"times": 1},
    "fewer cards than fulfilled_quantity": {"times": 1, "afterCalls": 1},
}
"""Every fifth order has one: a fault of the simulation's list, with these changes.

The last two cause a doubt once, which holds no order."""

CLOSING_TYPES = {event.detail_type for event in CLOSING_EVENTS.values()}


@dataclass
class Placed:
    """An order with its expected status and number of cards, and its fault; "" for none."""

    order_id: str
    user_id: str
    status: OrderStatus
    cards: int
    fault: str = ""
    fault_id: str = ""


@dataclass
class Chaos:
    """The faults, and their results."""

    service: Service
    book: SupplierBook
    orders: list[Placed] = field(default_factory=list)
    published: int = 0
    killed: list[int] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    swept: int = 0
    resumed: set[HeldReason | None] = field(default_factory=set)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Build clients once; it takes longer than a call."""
        cloud = self.service.cloud
        self.events, self.dynamodb = cloud.client("events"), cloud.client("dynamodb")
        self.step_functions = cloud.client("stepfunctions")

    # ------------------------------------------------------------ orders and faults

    def buy_all(self) -> None:
        """Order at the supplier: 1 to 230 cards, every final status, some settled late; and one order of thousands."""
        self._buy(0, LARGE, OrderStatus.FULFILLED)
        faults = iter(FAULTS)
        for number in range(ORDERS):
            match number % 10:
                case 3:
                    self._buy(number, 2 + number // 5, OrderStatus.PARTIALLY_FILLED, type_id="TEST_PARTIAL")
                case 7:
                    self._buy(number, 1 + number // 10, OrderStatus.REFUNDED, type_id="TEST_REFUND")
                case 1 | 6:
                    self._buy(number, 12, OrderStatus.FULFILLED)
                    self._add_fault(self.orders[-1], next(faults))
                case 4 | 9:
                    self._buy(number, 1 + number % 12, OrderStatus.FULFILLED, fulfil_after=9.0 * (number % 10))
                case _:
                    self._buy(number, 230 if number == 25 else 1 + number % 12, OrderStatus.FULFILLED)

    def place(self, orders: Iterable[Placed], *, user_id: str | None = None) -> None:
        """Publish OrderPlaced in as few calls as the bus accepts."""
        entries = [
            {
                "EventBusName": self.service.stack.outputs["OrderBusName"],
                "Source": "shop",
                "DetailType": "OrderPlaced",
                "Detail": json.dumps({"orderId": order.order_id, "userId": user_id or order.user_id}),
            }
            for order in orders
        ]
        for start in range(0, len(entries), 10):
            assert self.events.put_events(Entries=entries[start : start + 10])["FailedEntryCount"] == 0
        self.published += len(entries)

    def kill_functions(self, of: str = "") -> None:
        """Kill the processes of all functions, or of one."""
        cloud = self.service.cloud.process
        assert cloud is not None
        killed = 0
        for child in psutil.Process(cloud.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if any(f"ministack-lambda-{STACK_NAME}-{of}" in word for word in child.cmdline()):
                    child.kill()
                    killed += 1
        self.killed.append(killed)

    def open_gate(self) -> None:
        """Unblock the gate, as the runbook says, if killed functions have lost every slot: it is paused then."""
        stack = self.service.stack
        lost = stack.gate.read().lost(datetime.now(UTC), stack.api_key_version())
        if len(lost) == MAX_CONCURRENT_CALLS:
            assert self.service.giftcards("gate", "--open").returncode == 0

    def is_delivering_some(self) -> bool:
        """Whether orders are delivered and more will be."""
        self.open_gate()
        return self.closed() >= 10 and self.is_delivering()

    def stop_executions(self, count: int) -> None:
        """Stop executions, as an operator can."""
        for order in islice(self.in_progress(), count):
            self.step_functions.stop_execution(executionArn=order.execution_arn)
            self.stopped.append(order.order_id)

    def stop_supplier(self) -> None:
        self.service.supplier.__exit__(None, None, None)
        with pytest.raises(httpx.ConnectError):
            httpx.get(self.service.supplier.url, trust_env=False)

    def restart_supplier(self) -> None:
        port = int(self.service.supplier.url.rpartition(":")[2])
        self.service.supplier = SupplierServer(self.book, port=port).__enter__()

    def sweep(self) -> None:
        """Sweep as the schedule does, unless Lambda throttles."""
        try:
            self.swept += self.service.stack.invoke("SweepOrders", {})["takenUp"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "TooManyRequestsException":
                raise

    def resume_held(self) -> None:
        """Resume held orders, as an operator does."""
        if held := list(self.service.stack.orders.list(status=OrderStatus.HELD)):
            self.resumed.update(order.held_reason for order in held)
            assert self.service.giftcards("resume", "--held").returncode == 0

    def until_over(self) -> bool:
        """Sweep and resume until every order is published; return whether that happens in time."""
        last_sweep = 0.0

        def is_over() -> bool:
            nonlocal last_sweep
            self.open_gate()
            if time.monotonic() - last_sweep > SWEEP_EVERY_SECONDS:
                last_sweep = time.monotonic()
                self.sweep()
                self.resume_held()
            return all(order is not None and order.announced_at for order in map(self.now, self.orders))

        return wait_for(is_over, within_seconds=END_SECONDS, every_seconds=POLL_SECONDS)

    def _buy(self, number: int, quantity: int, status: OrderStatus, **terms: Any) -> None:
        order_id = self.service.order(quantity, **terms)
        cards = {OrderStatus.FULFILLED: quantity, OrderStatus.PARTIALLY_FILLED: quantity // 2}.get(status, 0)
        self.orders.append(Placed(order_id, USERS[number % len(USERS)], status, cards))

    def _add_fault(self, order: Placed, name: str) -> None:
        (fault,) = (failure.fault for failure in SUPPLIER_FAULTS if failure.name == name)
        order.fault = name
        order.fault_id = self.service.supplier.control.add_fault(**fault | FAULTS[name] | {"order_id": order.order_id})

    # ------------------------------------------------------------ results

    def now(self, placed: Placed) -> Order | None:
        return self.service.stack.orders.get(placed.order_id)

    def in_progress(self) -> Iterator[Order]:
        return (order for order in map(self.now, self.orders) if order and order.status is OrderStatus.HANDLING)

    def closed(self) -> int:
        return sum(order is not None and order.status.is_final for order in map(self.now, self.orders))

    @property
    def large(self) -> Placed:
        return self.orders[0]

    def rows(self, placed: Placed) -> int:
        pages = self.dynamodb.get_paginator("query").paginate(
            TableName=self.service.stack.outputs["CardTableName"],
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"ORDER#{placed.order_id}"}},
            Select="COUNT",
        )
        return sum(page["Count"] for page in pages)

    def is_delivering(self) -> bool:
        """Whether an execution is in DeliverCards."""
        return any(
            event.get("stateEnteredEventDetails", {}).get("name") == "DeliverCards"
            for order in self.in_progress()
            for event in self.step_functions.get_execution_history(
                executionArn=order.execution_arn, reverseOrder=True, maxResults=2
            )["events"]
        )

    def reveal(self, order: Placed, user_id: str) -> dict[str, Any]:
        return self.service.stack.invoke("RevealCards", {"orderId": order.order_id, "userId": user_id})

    def closing_events(self, order: Placed) -> list[dict[str, Any]]:
        events = self.service.bus.events_about(order.order_id)
        return [event for event in events if event["detail-type"] in CLOSING_TYPES]

    def struck(self, order: Placed) -> int:
        """Return how often the fault of an order occurred."""
        return self.book.faults._active[order.fault_id].applied

    @cached_property
    def executions(self) -> dict[str, str]:
        """The status of every execution, by its ARN."""
        pages = self.step_functions.get_paginator("list_executions").paginate(
            stateMachineArn=self.service.stack.outputs["StateMachineArn"]
        )
        return {found["executionArn"]: found["status"] for page in pages for found in page["executions"]}

    @cached_property
    def lost_invocations(self) -> Counter[str]:
        """The number of invocations whose process was killed, by state."""
        found: Counter[str] = Counter()
        for execution in self.executions:
            state = ""
            pages = self.step_functions.get_paginator("get_execution_history").paginate(executionArn=execution)
            for event in (event for page in pages for event in page["events"]):
                state = event.get("stateEnteredEventDetails", {}).get("name", state)
                found[state] += "process died" in event.get("taskFailedEventDetails", {}).get("cause", "")
        return +found

    @cached_property
    def refusals(self) -> list[int | None]:
        """The HTTP status of each call with the first key since it was revoked."""
        answers = [call.status for call in self.book.calls if call.key_id == key_id(API_KEY)]
        return answers[answers.index(401) :]

    @cached_property
    def lost(self) -> list[str]:
        """Orders without the supplier's status, or whose user does not get exactly its cards."""
        found = []
        for order in self.orders:
            now, revealed = self.now(order), self.reveal(order, order.user_id)
            shown = [{"value": card["value"], "serial": card["serial"]} for card in revealed["cards"]]
            is_correct = (
                now is not None
                and (now.status, now.fulfilled_quantity) == (order.status, order.cards)
                and shown == cards_of(order.order_id, order.cards)
                and revealed["outcome"] == ("REVEALED" if order.cards else "NOT_DELIVERED")
                and len(self.closing_events(order)) > 0
            )
            found += [] if is_correct else [order.order_id]
        return found

    @cached_property
    def twice(self) -> list[str]:
        """Orders with more than one delivery, other card rows than its own, or another user who gets them."""
        found = []
        for order in self.orders:
            now = self.now(order)
            published = {
                (event["detail-type"], event["detail"].get("deliveryId"), event["detail"]["userId"])
                for event in self.closing_events(order)
            }
            delivery_id = now.delivery_id if now and order.cards else None
            others = [user for user in (STRANGER, *USERS) if user != order.user_id][:3]
            is_correct = (
                published == {(CLOSING_EVENTS[order.status].detail_type, delivery_id, order.user_id)}
                and now is not None
                and self.rows(order) == len(now.card_rows or ()) + 1
                and all(self.reveal(order, other)["outcome"] == "NOT_FOUND" for other in others)
                and not any(self.reveal(order, other)["cards"] for other in others)
            )
            found += [] if is_correct else [order.order_id]
        return found

    @cached_property
    def searched(self) -> tuple[int, list[evidence.Leak]]:
        """The number of texts searched for cards and keys, and the leaks."""
        cards = (card for order_id, quantity in self.service.orders.items() for card in cards_of(order_id, quantity))
        secrets = [secret for card in cards for secret in card.values()]
        return evidence.search(self.service.evidence(), [*secrets, API_KEY, NEXT_API_KEY], pieces=True)

    def summary(self) -> str:
        faults = ", ".join(f"{order.fault} ({self.struck(order)})" for order in self.orders if order.fault)
        repeats = sum(len(self.closing_events(order)) - 1 for order in self.orders)
        return (
            f"chaos for {self.seconds:.0f} s: {ORDERS} orders and one of {LARGE} cards, OrderPlaced {self.published} "
            f"times; {sum(bool(order.fault) for order in self.orders)} orders with faults: {faults}; supplier "
            f"off for {OUTAGE_SECONDS:.0f} s; {sum(self.killed)} processes killed in {len(self.killed)} rounds, "
            f"invocations lost in {dict(self.lost_invocations)}; {len(self.stopped)} executions stopped, "
            f"{self.swept} orders swept; held and resumed: {', '.join(sorted(map(str, self.resumed)))}; "
            f"revoked key presented {len(self.refusals)} times; "
            f"{repeats} closing events repeated; "
            f"{len(self.lost)} lost, {len(self.twice)} twice, {len(self.searched[1])} leaked"
        )


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    """Run it, and wait until it is over."""
    book = SupplierBook(api_keys=[API_KEY], fulfil_after=0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LAMBDA_ACCOUNT_CONCURRENCY", MAX_CONCURRENT_FUNCTIONS)
        with deployed(tmp_path_factory.mktemp("chaos"), PARAMETERS, book) as service:
            service.cloud.set_api_key(API_KEY)
            chaos = Chaos(service, book)
            started = time.monotonic()
            try:
                run(chaos)
                chaos.seconds = time.monotonic() - started
                yield chaos
                print(f"\n{chaos.summary()}")  # noqa: T201 - shown by pytest -s
            finally:
                service.supplier.__exit__(None, None, None)


def run(chaos: Chaos) -> None:
    """Cause every fault, in about a minute."""
    chaos.buy_all()
    chaos.place(chaos.orders)
    chaos.place(chaos.orders[::4] * 2)

    assert wait_for(chaos.is_delivering, within_seconds=MAX_WAIT_SECONDS)
    chaos.kill_functions()
    assert wait_for(chaos.is_delivering_some, within_seconds=MAX_WAIT_SECONDS, every_seconds=POLL_SECONDS)
    chaos.kill_functions(of="DeliverCards")

    chaos.stop_supplier()
    stopped_at = time.monotonic()
    chaos.stop_executions(2)
    chaos.place(chaos.orders[::7])
    chaos.place(chaos.orders[:2], user_id=STRANGER)
    wait_for(lambda: time.monotonic() - stopped_at > OUTAGE_SECONDS, within_seconds=2 * OUTAGE_SECONDS)
    chaos.book.keys.replace([NEXT_API_KEY])
    chaos.restart_supplier()

    assert wait_for(lambda: 401 in {call.status for call in chaos.book.calls}, within_seconds=MAX_WAIT_SECONDS)
    chaos.service.cloud.set_api_key(NEXT_API_KEY)
    chaos.kill_functions()  # and their caches of the previous key
    assert chaos.until_over(), [
        order for order in map(chaos.now, chaos.orders) if order is None or not order.announced_at
    ]


def test_every_user_gets_exactly_their_cards(chaos: Chaos) -> None:
    assert chaos.lost == []


def test_no_order_is_delivered_twice_or_to_another_user(chaos: Chaos) -> None:
    assert chaos.twice == []


def test_thousands_of_cards_are_delivered(chaos: Chaos) -> None:
    assert chaos.large.cards == LARGE
    assert chaos.large.order_id not in chaos.lost


def test_every_execution_ends_and_no_queue_has_a_message(chaos: Chaos) -> None:
    assert set(chaos.executions.values()) == {"SUCCEEDED", "FAILED", "ABORTED"}
    assert chaos.service.dead_letters() == []


def test_every_fault_occurred(chaos: Chaos) -> None:
    assert {order.fault: chaos.struck(order) for order in chaos.orders if order.fault} == {
        name: fault["times"] for name, fault in FAULTS.items()
    }
    assert chaos.lost_invocations["DeliverCards"] >= 1  # a delivery is one write, so others may have ended first
    assert chaos.swept >= len(chaos.stopped) == 2
    assert HeldReason.SUPPLIER_CONTRACT_BROKEN not in chaos.resumed


def test_revoked_key_is_presented_once_per_slot(chaos: Chaos) -> None:
    assert set(chaos.refusals) == {401}
    assert len(chaos.refusals) <= MAX_CONCURRENT_CALLS


def test_no_card_or_key_leaks(chaos: Chaos) -> None:
    searched, leaks = chaos.searched
    assert searched > 1_000_000
    assert leaks == []
