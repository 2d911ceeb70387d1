"""How fast fifty orders are delivered on a real deployment: warm, with failing calls, and after a block.

The limits are those of a free machine with two cores; `make test-chaos` runs it.
"""

import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from giftcards.rules.gate import MAX_CONCURRENT_CALLS
from giftcards.rules.orders import Order
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SupplierBook, key_id
from giftcards_local.supplier.book import Call
from simulation.supplier_faults import SUPPLIER_FAULTS
from support.service import Service, deployed

PARAMETERS = {"PollSchedule": "600:5", "DelayedAfterSeconds": "540", "LogRetentionDays": "1"}
"""The first steps of the default schedule. Checks share the supplier's list from five seconds on."""
API_KEY, NEXT_API_KEY = "speed-key-qT4mV8sZc1LwXe6R", "speed-key-jK9dPb2nHy7GuA3F"
WARM_SECONDS, WITH_FAILURES_SECONDS, RECOVERY_SECONDS, RETRY_AFTER_SECONDS = 12, 60, 60, 30
MAX_WAIT_SECONDS = 240.0
"""For a readable failure: a test that misses its limit still ends."""
FAILING = {
    "500 INTERNAL_ERROR": {},
    "503 SERVICE_UNAVAILABLE": {"retryAfter": None},
    "429 with Retry-After": {"retryAfter": 1},
    "HTML with 502": {},
    "connection reset before the answer": {},
}
"""Kinds of failing calls, with changes to the fault of this name."""


@pytest.fixture(scope="module")
def book() -> SupplierBook:
    return SupplierBook(api_keys=[API_KEY], fulfil_after=0)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, book: SupplierBook) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LAMBDA_WARM_TTL_SECONDS", "900")  # a cold start takes the emulator a second of its one thread
        with deployed(tmp_path_factory.mktemp("speed"), PARAMETERS, book) as running:
            running.cloud.set_api_key(API_KEY)
            for _ in range(2):  # afterwards every container is warm
                until_delivered(running, place(running, 50))
            yield running


def place(service: Service, count: int) -> list[str]:
    """Order at the supplier and publish OrderPlaced for each order, as fast as the bus accepts."""
    orders = [service.order(2) for _ in range(count)]
    entries = [
        {
            "EventBusName": service.stack.outputs["OrderBusName"],
            "Source": "shop",
            "DetailType": "OrderPlaced",
            "Detail": json.dumps({"orderId": order_id, "userId": "alice"}),
        }
        for order_id in orders
    ]
    events = service.cloud.client("events")
    for start in range(0, count, 10):
        assert events.put_events(Entries=entries[start : start + 10])["FailedEntryCount"] == 0
    return orders


def until_delivered(service: Service, orders: Sequence[str]) -> datetime:
    """Wait until all orders are delivered, and return when the event of the last one was published."""
    waiting, published = list(orders), list[datetime]()

    def are_published() -> bool:
        while waiting:
            order: Order | None = service.stack.orders.get(waiting[-1])
            if order is None or order.announced_at is None:
                return False  # asks for one order at a time: the functions need the processor
            published.append(order.announced_at)
            waiting.pop()
        return True

    assert wait_for(are_published, within_seconds=MAX_WAIT_SECONDS), f"{len(published)} of {len(orders)} are delivered"
    return max(published)


def until_call(book: SupplierBook, status: int, since: int) -> Call:
    """Wait for a call with this status, after the first ``since`` calls."""

    def found() -> list[Call]:
        return [call for call in book.calls[since:] if call.status == status]

    assert wait_for(lambda: bool(found()), within_seconds=MAX_WAIT_SECONDS)
    return found()[0]


def fault(name: str) -> dict[str, Any]:
    (fields,) = (failure.fault for failure in SUPPLIER_FAULTS if failure.name == name)
    return {**fields, **FAILING[name], "times": 1}


def test_fifty_orders_at_once_are_delivered_in_seconds(service: Service) -> None:
    began = datetime.now(UTC)

    ended = until_delivered(service, place(service, 50))

    assert (ended - began).total_seconds() < WARM_SECONDS


def test_forty_orders_are_delivered_although_three_calls_in_ten_fail(service: Service, book: SupplierBook) -> None:
    chosen, began = random.Random(11), datetime.now(UTC)
    for number in range(400):
        if chosen.random() < 0.3:
            service.supplier.control.add_fault(**fault(chosen.choice(sorted(FAILING))), after_calls=number)
    calls = len(book.calls)

    ended = until_delivered(service, place(service, 40))
    service.supplier.control.clear_faults()

    failed = [call for call in book.calls[calls:] if call.status != 200]
    assert len(failed) > 0.2 * len(book.calls[calls:])
    assert (ended - began).total_seconds() < WITH_FAILURES_SECONDS


def test_no_call_is_made_while_the_supplier_asks_to_wait(service: Service, book: SupplierBook) -> None:
    calls = len(book.calls)
    service.supplier.control.add_fault(status=429, retry_after=RETRY_AFTER_SECONDS, times=1)
    orders = place(service, 20)
    refused = until_call(book, 429, calls)

    until_delivered(service, orders)

    later = [call.at - refused.at for call in book.calls[calls:] if call.at > refused.at]
    # Calls that were in progress already may end after it; none may start.
    assert sum(wait < timedelta(seconds=RETRY_AFTER_SECONDS) for wait in later) < MAX_CONCURRENT_CALLS
    assert not [wait for wait in later if timedelta(seconds=1) < wait < timedelta(seconds=RETRY_AFTER_SECONDS)]


def test_orders_continue_soon_after_a_revoked_key_is_replaced(service: Service, book: SupplierBook) -> None:
    calls = len(book.calls)
    book.keys.replace([NEXT_API_KEY])
    orders = place(service, 50)
    until_call(book, 401, calls)

    service.cloud.set_api_key(NEXT_API_KEY)
    began = datetime.now(UTC)
    ended = until_delivered(service, orders)

    refused = [call for call in book.calls[calls:] if call.key_id == key_id(API_KEY)]
    assert len(refused) <= MAX_CONCURRENT_CALLS
    assert (ended - began).total_seconds() < RECOVERY_SECONDS
