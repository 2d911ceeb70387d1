"""A storm on a real deployment: fifty orders at once, faults of all kinds, and whatever can die dies.

It rages once, when the first test asks for it; the tests look at what it has left. With ``-s`` they say what it was.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
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
from giftcards.rules.orders import Order
from giftcards.rules.schedule import MAX_BACKOFF_SECONDS
from giftcards_local import STACK_NAME, evidence
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SupplierBook, SupplierServer, cards_of, key_id
from simulation.supplier_faults import SUPPLIER_FAULTS
from support.service import Service, deployed

PARAMETERS = {"PollSchedule": "600:2", "DelayedAfterSeconds": "540", "LogRetentionDays": "1"}
"""Nothing reaches its deadline."""
MAX_CONCURRENT_FUNCTIONS = "10"
"""What a new AWS account allows. Each one more costs the local cloud a second to unpack its layers."""
API_KEY, NEXT_API_KEY = "storm-key-dXv8RkPz2wQm5LtY", "storm-key-hN3cJf7bGs9ZaEoU"
OUTAGE_SECONDS = 60.0
SWEEP_EVERY_SECONDS = 10.0
MAX_WAIT_SECONDS = 240.0
"""For each of the moments that the storm waits for; on a free machine of two cores none takes longer than a minute."""
END_SECONDS = float(MAX_BACKOFF_SECONDS)
"""For the end of it: an order that met one trouble after the other waits so long before it asks again."""

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
"""Every fifth order meets one: those of the simulation's list, but for what is said here.

The last two are in doubt once, which holds no order."""

CLOSING_EVENTS = {
    OrderStatus.FULFILLED: "CardsDelivered",
    OrderStatus.PARTIALLY_FILLED: "CardsPartiallyDelivered",
    OrderStatus.REFUNDED: "OrderRefunded",
}


@dataclass
class Placed:
    """An order: whose it is, what has to come of it, and the fault that it meets."""

    order_id: str
    user_id: str
    status: OrderStatus
    cards: int
    fault: str = ""
    fault_id: str = ""


@dataclass
class Storm:
    """What happens, and what has been seen of it."""

    service: Service
    book: SupplierBook
    orders: list[Placed] = field(default_factory=list)
    announcements: int = 0
    killed: list[int] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    swept: int = 0
    resumed: set[HeldReason | None] = field(default_factory=set)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Make clients once: in a storm, making one takes longer than calling it."""
        cloud = self.service.cloud
        self.events, self.dynamodb = cloud.client("events"), cloud.client("dynamodb")
        self.step_functions = cloud.client("stepfunctions")

    # ------------------------------------------------------------ what happens

    def place(self) -> None:
        """Place orders of every end, of one to 230 cards, some settled later than others; and one of thousands."""
        self._place(0, LARGE, OrderStatus.FULFILLED)
        faults = iter(FAULTS)
        for number in range(ORDERS):
            match number % 10:
                case 3:
                    self._place(number, 2 + number // 5, OrderStatus.PARTIALLY_FILLED, type_id="TEST_PARTIAL")
                case 7:
                    self._place(number, 1 + number // 10, OrderStatus.REFUNDED, type_id="TEST_REFUND")
                case 1 | 6:
                    self._place(number, 12, OrderStatus.FULFILLED)
                    self._meet(self.orders[-1], next(faults))
                case 4 | 9:
                    self._place(number, 1 + number % 12, OrderStatus.FULFILLED, fulfil_after=9.0 * (number % 10))
                case _:
                    self._place(number, 230 if number == 25 else 1 + number % 12, OrderStatus.FULFILLED)

    def announce(self, orders: Iterable[Placed], *, user_id: str | None = None) -> None:
        """Announce orders in as few calls as the bus takes."""
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
        self.announcements += len(entries)

    def kill_functions(self, of: str = "") -> None:
        """End the processes of all functions at once, or of one, whatever they are doing."""
        cloud = self.service.cloud.process
        assert cloud is not None
        killed = 0
        for child in psutil.Process(cloud.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # ended meanwhile by itself
                if any(f"ministack-lambda-{STACK_NAME}-{of}" in word for word in child.cmdline()):
                    child.kill()
                    killed += 1
        self.killed.append(killed)

    def stop_executions(self, count: int) -> None:
        """Stop executions as somebody may who looks for a way out."""
        for order in islice(self.in_hand(), count):
            self.step_functions.stop_execution(executionArn=order.execution_arn)
            self.stopped.append(order.order_id)

    def supplier_goes(self) -> None:
        self.service.supplier.__exit__(None, None, None)
        with pytest.raises(httpx.ConnectError):
            httpx.get(self.service.supplier.url, trust_env=False)

    def supplier_comes_back(self) -> None:
        port = int(self.service.supplier.url.rpartition(":")[2])
        self.service.supplier = SupplierServer(self.book, port=port).__enter__()

    def sweep(self) -> None:
        """Sweep as the schedule does, unless as many functions run as may."""
        try:
            self.swept += self.service.stack.invoke("SweepOrders", {})["takenUp"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "TooManyRequestsException":
                raise

    def resume_held(self) -> None:
        """Resume as an operator does."""
        if held := list(self.service.stack.orders.list(status=OrderStatus.HELD)):
            self.resumed.update(order.held_reason for order in held)
            assert self.service.giftcards("resume", "--held").returncode == 0

    def blow_over(self) -> bool:
        last_look = 0.0

        def is_over() -> bool:
            nonlocal last_look
            if time.monotonic() - last_look > SWEEP_EVERY_SECONDS:
                last_look = time.monotonic()
                self.sweep()
                self.resume_held()
            return all(order is not None and order.announced_at for order in map(self.now, self.orders))

        return wait_for(is_over, within_seconds=END_SECONDS)

    def _place(self, number: int, quantity: int, status: OrderStatus, **terms: Any) -> None:
        order_id = self.service.order(quantity, **terms)
        cards = {OrderStatus.FULFILLED: quantity, OrderStatus.PARTIALLY_FILLED: quantity // 2}.get(status, 0)
        self.orders.append(Placed(order_id, USERS[number % len(USERS)], status, cards))

    def _meet(self, order: Placed, name: str) -> None:
        (fault,) = (failure.fault for failure in SUPPLIER_FAULTS if failure.name == name)
        order.fault = name
        order.fault_id = self.service.supplier.control.add_fault(**fault | FAULTS[name] | {"order_id": order.order_id})

    # ------------------------------------------------------------ what is seen

    def now(self, placed: Placed) -> Order | None:
        return self.service.stack.orders.get(placed.order_id)

    def in_hand(self) -> Iterator[Order]:
        return (order for order in map(self.now, self.orders) if order and order.status is OrderStatus.HANDLING)

    def closed(self) -> int:
        return sum(order is not None and order.status.is_final for order in map(self.now, self.orders))

    @property
    def large(self) -> Placed:
        return self.orders[0]

    def is_half_stored(self, placed: Placed) -> bool:
        """Whether cards of an order are stored and it is not closed yet."""
        stored = self.rows(placed)
        order = self.now(placed)
        return stored > 1 and order is not None and not order.status.is_final

    def rows(self, placed: Placed) -> int:
        pages = self.dynamodb.get_paginator("query").paginate(
            TableName=self.service.stack.outputs["CardTableName"],
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"ORDER#{placed.order_id}"}},
            Select="COUNT",
        )
        return sum(page["Count"] for page in pages)

    def is_delivering(self) -> bool:
        """Whether an order is being delivered at this moment."""
        return any(
            event.get("stateEnteredEventDetails", {}).get("name") == "DeliverCards"
            for order in self.in_hand()
            for event in self.step_functions.get_execution_history(
                executionArn=order.execution_arn, reverseOrder=True, maxResults=2
            )["events"]
        )

    def reveal(self, order: Placed, user_id: str) -> dict[str, Any]:
        return self.service.stack.invoke("RevealCards", {"orderId": order.order_id, "userId": user_id})

    def closings(self, order: Placed) -> list[dict[str, Any]]:
        """Give the events by which the shop was told how an order has ended."""
        ends = CLOSING_EVENTS.values()
        return [event for event in self.service.bus.heard_of(order.order_id) if event["detail-type"] in ends]

    def struck(self, order: Placed) -> int:
        """How often the fault of an order has come."""
        return self.book.faults._active[order.fault_id].struck

    @cached_property
    def executions(self) -> dict[str, str]:
        """Give the status of every execution."""
        pages = self.step_functions.get_paginator("list_executions").paginate(
            stateMachineArn=self.service.stack.outputs["StateMachineArn"]
        )
        return {found["executionArn"]: found["status"] for page in pages for found in page["executions"]}

    @cached_property
    def deaths(self) -> Counter[str]:
        """How often the process of a function died at its work, by the state that had called it."""
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
        """Give what the supplier answered to the first key once it was revoked."""
        answers = [call.status for call in self.book.calls if call.key_id == key_id(API_KEY)]
        return answers[answers.index(401) :]

    @cached_property
    def lost(self) -> list[str]:
        """Orders that did not end as the supplier has settled them, or whose user does not see the cards due."""
        found = []
        for order in self.orders:
            now, revealed = self.now(order), self.reveal(order, order.user_id)
            seen = [{"value": card["value"], "serial": card["serial"]} for card in revealed["cards"]]
            is_right = (
                now is not None
                and (now.status, now.fulfilled_quantity) == (order.status, order.cards)
                and seen == cards_of(order.order_id, order.cards)
                and revealed["outcome"] == ("REVEALED" if order.cards else "NOT_DELIVERED")
                and len(self.closings(order)) > 0
            )
            found += [] if is_right else [order.order_id]
        return found

    @cached_property
    def twice(self) -> list[str]:
        """Orders with more than one delivery, more rows than cards, or any other user who sees them."""
        found = []
        for order in self.orders:
            now = self.now(order)
            told = {
                (event["detail-type"], event["detail"].get("deliveryId"), event["detail"]["userId"])
                for event in self.closings(order)
            }
            delivery_id = now.delivery_id if now and order.cards else None
            others = [user for user in (STRANGER, *USERS) if user != order.user_id][:3]
            is_right = (
                told == {(CLOSING_EVENTS[order.status], delivery_id, order.user_id)}
                and self.rows(order) == order.cards + 1
                and all(self.reveal(order, other)["outcome"] == "NOT_FOUND" for other in others)
                and not any(self.reveal(order, other)["cards"] for other in others)
            )
            found += [] if is_right else [order.order_id]
        return found

    @cached_property
    def searched(self) -> tuple[int, list[evidence.Leak]]:
        """Search everything for every piece of every card and key."""
        cards = (card for order_id, quantity in self.service.orders.items() for card in cards_of(order_id, quantity))
        secrets = [secret for card in cards for secret in card.values()]
        return evidence.search(self.service.evidence(), [*secrets, API_KEY, NEXT_API_KEY], pieces=True)

    def summary(self) -> str:
        faults = ", ".join(f"{order.fault} ({self.struck(order)})" for order in self.orders if order.fault)
        repeats = sum(len(self.closings(order)) - 1 for order in self.orders)
        return (
            f"storm of {self.seconds:.0f} s: {ORDERS} orders and one of {LARGE} cards, {self.announcements} "
            f"announcements; {sum(bool(order.fault) for order in self.orders)} orders with faults: {faults}; supplier "
            f"off for {OUTAGE_SECONDS:.0f} s; {sum(self.killed)} processes killed in {len(self.killed)} rounds, at "
            f"work in {dict(self.deaths)}; {len(self.stopped)} executions stopped, {self.swept} orders swept; held and "
            f"resumed: {', '.join(sorted(map(str, self.resumed)))}; revoked key presented {len(self.refusals)} times; "
            f"{repeats} announcements repeated; "
            f"{len(self.lost)} lost, {len(self.twice)} twice, {len(self.searched[1])} leaked"
        )


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    """Let it rage, and wait until it is over."""
    book = SupplierBook(api_keys=[API_KEY], fulfil_after=0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LAMBDA_ACCOUNT_CONCURRENCY", MAX_CONCURRENT_FUNCTIONS)
        with deployed(tmp_path_factory.mktemp("storm"), PARAMETERS, book) as service:
            service.cloud.set_api_key(API_KEY)
            storm = Storm(service, book)
            started = time.monotonic()
            try:
                rage(storm)
                storm.seconds = time.monotonic() - started
                yield storm
                print(f"\n{storm.summary()}")  # noqa: T201 - shown by pytest -s
            finally:
                service.supplier.__exit__(None, None, None)


def rage(storm: Storm) -> None:
    """Let everything happen that can, in one minute and some."""
    storm.place()
    storm.announce(storm.orders)
    storm.announce(storm.orders[::4] * 2)

    assert wait_for(lambda: storm.is_half_stored(storm.large), within_seconds=MAX_WAIT_SECONDS)
    storm.kill_functions()
    assert wait_for(lambda: storm.closed() >= 10 and storm.is_delivering(), within_seconds=MAX_WAIT_SECONDS)
    storm.kill_functions(of="DeliverCards")

    storm.supplier_goes()
    gone_at = time.monotonic()
    storm.stop_executions(2)
    storm.announce(storm.orders[::7])
    storm.announce(storm.orders[:2], user_id=STRANGER)
    wait_for(lambda: time.monotonic() - gone_at > OUTAGE_SECONDS, within_seconds=2 * OUTAGE_SECONDS)
    storm.book.keys.replace([NEXT_API_KEY])
    storm.supplier_comes_back()

    assert wait_for(lambda: 401 in {call.status for call in storm.book.calls}, within_seconds=MAX_WAIT_SECONDS)
    storm.service.cloud.set_api_key(NEXT_API_KEY)
    storm.kill_functions()  # and with them the key that they remember for a minute
    assert storm.blow_over(), [
        order for order in map(storm.now, storm.orders) if order is None or not order.announced_at
    ]


def test_no_order_is_lost_and_every_user_sees_exactly_the_cards_due(storm: Storm) -> None:
    assert storm.lost == []


def test_no_order_is_delivered_twice_or_seen_by_another_user(storm: Storm) -> None:
    assert storm.twice == []


def test_an_order_of_thousands_of_cards_is_delivered_whole_though_its_delivery_was_killed_half_way(
    storm: Storm,
) -> None:
    assert storm.rows(storm.large) == LARGE + 1
    assert storm.large.order_id not in storm.lost


def test_no_execution_is_left_and_no_announcement_lies_in_a_queue(storm: Storm) -> None:
    assert set(storm.executions.values()) == {"SUCCEEDED", "FAILED", "ABORTED"}
    assert storm.service.dead_letters() == []


def test_all_the_weather_has_come(storm: Storm) -> None:
    assert {order.fault: storm.struck(order) for order in storm.orders if order.fault} == {
        name: fault["times"] for name, fault in FAULTS.items()
    }
    assert storm.deaths["DeliverCards"] >= 2
    assert storm.swept >= len(storm.stopped) == 2
    assert HeldReason.SUPPLIER_CONTRACT_BROKEN not in storm.resumed


def test_a_revoked_key_is_presented_by_no_more_than_were_calling(storm: Storm) -> None:
    assert set(storm.refusals) == {401}
    assert len(storm.refusals) <= MAX_CONCURRENT_CALLS


def test_no_card_and_no_key_is_found_in_anything_that_all_this_left_behind(storm: Storm) -> None:
    searched, leaks = storm.searched
    assert searched > 1_000_000
    assert leaks == []
