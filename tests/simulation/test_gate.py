"""The supplier gate with many orders in progress, each with its own container."""

from collections import Counter
from itertools import cycle

import pytest

from giftcards.rules.gate import MAX_CONCURRENT_CALLS
from giftcards_local.supplier import key_id
from simulation.world import API_KEY, World

ORDERS, FEWER = 50, 6
GOOD_KEY = "good-key-dXv8RkPz2wQm5LtY"
BAD_KEY = "bad-key-hN3cJf7bGs9ZaEoU"
SPREAD = cycle([0, 3, 1, 4, 2])


@pytest.fixture
def pending(world: World, request: pytest.FixtureRequest) -> list[str]:
    """Start orders whose checks interleave, and which the supplier settles after 40 s: fifty if the test is marked."""
    count = ORDERS if request.node.get_closest_marker("fifty") else FEWER
    world.functions.interleaves = True
    world.timeline.choose = lambda due: next(SPREAD) % due
    orders = [world.order(fulfilAfter=40) for _ in range(count)]
    world.run(12)
    assert {world.status(order) for order in orders} == {"HANDLING"}
    return orders


def presentations(world: World, key: str) -> list[int | None]:
    """Return the HTTP status of each call with this key."""
    return [call.status for call in world.supplier.book.calls if call.key_id == key_id(key)]


def assert_all_delivered(world: World, orders: list[str]) -> None:
    assert Counter(world.status(order) for order in orders) == {"FULFILLED": len(orders)}
    published = Counter(event["detail-type"] for event in world.events())
    assert published["CardsDelivered"] == len(orders)
    assert published.keys() <= {"CardsDelivered", "OrderDelayed"}


@pytest.mark.fifty
def test_revoked_key_is_presented_at_most_three_times_more(world: World, pending: list[str]) -> None:
    world.supplier.book.keys.replace([GOOD_KEY])

    world.run(60)

    refused = presentations(world, API_KEY)
    first = refused.index(401)
    assert len(refused[first + 1 :]) <= MAX_CONCURRENT_CALLS - 1 <= 3
    assert 403 not in refused, "the supplier has blocked the address"
    assert {world.status(order) for order in pending} == {"HANDLING"}, "an order was held because of the key"

    # A good key resumes all orders automatically.
    world.set_api_key(GOOD_KEY)
    world.run(300)
    assert_all_delivered(world, pending)
    assert set(presentations(world, GOOD_KEY)) == {200}


def test_new_key_that_is_refused_is_presented_once(world: World, pending: list[str]) -> None:
    world.supplier.book.keys.replace([GOOD_KEY])
    world.run(15)

    world.set_api_key(BAD_KEY)
    world.run(120)

    assert presentations(world, BAD_KEY) == [401]
    world.set_api_key(GOOD_KEY)
    world.run(600)
    assert_all_delivered(world, pending)


def test_first_key_is_tried_by_one_caller(world: World) -> None:
    world.functions.interleaves = True
    world.timeline.choose = lambda due: next(SPREAD) % due
    world.set_api_key(BAD_KEY)
    orders = [world.order() for _ in range(FEWER)]

    world.run(60)

    assert presentations(world, BAD_KEY) == [401]
    assert {world.status(order) for order in orders} == {"HANDLING"}


def test_no_call_is_made_during_retry_after(world: World, pending: list[str]) -> None:
    world.supplier.fault(status=429, retryAfter=30, times=1)
    already = len(world.supplier.book.calls)

    world.run(60)

    first, *rest = [call for call in world.supplier.book.calls[already:] if call.status == 429]
    assert rest == []
    waited = [
        (call.at - first.at).total_seconds() for call in world.supplier.book.calls[already:] if call.at > first.at
    ]
    # Calls in the other slots had already started.
    started_before = [seconds for seconds in waited if seconds < 30]
    assert len(started_before) <= MAX_CONCURRENT_CALLS - 1
    assert all(seconds < 1 for seconds in started_before)

    # Afterwards the calls, two for each order, spread over more than one second.
    calls_by_second = Counter(int(seconds) for seconds in waited if seconds >= 30)
    assert max(calls_by_second.values()) <= len(pending)
    world.run(100)
    assert_all_delivered(world, pending)


def test_blocked_address_is_not_used_for_fifteen_minutes(world: World, pending: list[str]) -> None:
    world.supplier.fault(status=403, body={"success": False, "error": {"code": "IP_BLOCKED", "message": "m"}}, times=1)
    already = len(world.supplier.book.calls)

    world.run(890)

    calls = world.supplier.book.calls[already:]
    blocked = next(call.at for call in calls if call.status == 403)
    assert all((call.at - blocked).total_seconds() < 1 for call in calls if call.at > blocked)
    world.run(600)
    assert_all_delivered(world, pending)


def test_concurrent_calls_never_exceed_the_slots(world: World, pending: list[str]) -> None:
    concurrent, most = 0, 0

    def count(_invocation: object, operation: str, phase: str) -> None:
        nonlocal concurrent, most
        if operation in {"checkOrder", "listStatuses"}:
            concurrent += 1 if phase == "before" else -1
            most = max(most, concurrent)

    world.functions.hooks.append(count)
    world.run(100)

    assert 1 <= most <= MAX_CONCURRENT_CALLS
    assert_all_delivered(world, pending)
