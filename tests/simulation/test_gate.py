"""The supplier gate with many orders in flight, each with a container of its own."""

from collections import Counter
from itertools import cycle

import pytest

from giftcards.rules.gate import MAX_CONCURRENT_CALLS
from giftcards_local.supplier import key_id
from simulation.world import API_KEY, World

ORDERS, FEWER = 50, 12
GOOD_KEY = "good-key-dXv8RkPz2wQm5LtY"
BAD_KEY = "bad-key-hN3cJf7bGs9ZaEoU"
SPREAD = cycle([0, 3, 1, 4, 2])


@pytest.fixture
def pending(world: World, request: pytest.FixtureRequest) -> list[str]:
    """Have orders in flight that the supplier has not settled yet, their checks interleaved call by call.

    Fifty where the test says so, and fewer where the number does not matter.
    """
    count = ORDERS if request.node.get_closest_marker("fifty") else FEWER
    world.interleaves = True
    world.timeline.choose = lambda due: next(SPREAD) % due
    orders = [world.order(fulfilAfter=40) for _ in range(count)]
    world.run(12)
    assert {world.status(order) for order in orders} == {"HANDLING"}
    return orders


def presentations(world: World, key: str) -> list[int | None]:
    """Give what the supplier answered each time that it was shown this key."""
    return [call.status for call in world.book.calls if call.key_id == key_id(key)]


def assert_all_delivered(world: World, orders: list[str]) -> None:
    assert Counter(world.status(order) for order in orders) == {"FULFILLED": len(orders)}
    announced = Counter(event["detail-type"] for event in world.heard())
    assert announced["CardsDelivered"] == len(orders)
    assert announced.keys() <= {"CardsDelivered", "OrderDelayed"}


@pytest.mark.fifty
def test_a_revoked_key_is_presented_at_most_three_times_after_the_first_refusal(
    world: World, pending: list[str]
) -> None:
    world.book.keys.replace([GOOD_KEY])

    world.run(60)

    refused = presentations(world, API_KEY)
    first = refused.index(401)
    assert len(refused[first + 1 :]) <= MAX_CONCURRENT_CALLS - 1 <= 3
    assert 403 not in refused, "the supplier has blocked the address"
    assert {world.status(order) for order in pending} == {"HANDLING"}, "an order was held because of the key"

    # When the secret gets a good key, all go on by themselves
    world.set_api_key(GOOD_KEY)
    world.run(300)
    assert_all_delivered(world, pending)
    assert set(presentations(world, GOOD_KEY)) == {200}


def test_a_new_key_that_is_refused_too_is_presented_once(world: World, pending: list[str]) -> None:
    world.book.keys.replace([GOOD_KEY])
    world.run(15)

    world.set_api_key(BAD_KEY)
    world.run(120)

    assert presentations(world, BAD_KEY) == [401]
    world.set_api_key(GOOD_KEY)
    world.run(600)
    assert_all_delivered(world, pending)


def test_a_key_that_is_set_for_the_first_time_is_tried_by_one_alone(world: World) -> None:
    world.interleaves = True
    world.timeline.choose = lambda due: next(SPREAD) % due
    world.set_api_key(BAD_KEY)
    orders = [world.order() for _ in range(FEWER)]

    world.run(60)

    assert presentations(world, BAD_KEY) == [401]
    assert {world.status(order) for order in orders} == {"HANDLING"}


def test_no_call_leaves_while_the_supplier_wants_to_be_left_alone(world: World, pending: list[str]) -> None:
    world.fault(status=429, retryAfter=30, times=1)
    already = len(world.book.calls)

    world.run(40)

    first, *rest = [call for call in world.book.calls[already:] if call.status == 429]
    assert rest == []
    waited = [(call.at - first.at).total_seconds() for call in world.book.calls[already:] if call.at > first.at]
    # What had left already when the answer came is not called back: at most those in the other places.
    under_way = [seconds for seconds in waited if seconds < 30]
    assert len(under_way) <= MAX_CONCURRENT_CALLS - 1
    assert all(seconds < 1 for seconds in under_way)

    # And after the gate opens, the orders do not all call in the same second (each calls twice: check, delivery)
    opened = Counter(int(seconds) for seconds in waited if seconds >= 30)
    assert max(opened.values()) <= len(pending)
    world.run(100)
    assert_all_delivered(world, pending)


def test_a_blocked_address_is_left_alone_for_fifteen_minutes(world: World, pending: list[str]) -> None:
    world.fault(status=403, body={"success": False, "error": {"code": "IP_BLOCKED", "message": "m"}}, times=1)
    already = len(world.book.calls)

    world.run(890)

    calls = world.book.calls[already:]
    blocked = next(call.at for call in calls if call.status == 403)
    assert all((call.at - blocked).total_seconds() < 1 for call in calls if call.at > blocked)
    world.run(600)
    assert_all_delivered(world, pending)


def test_never_more_calls_are_under_way_than_there_are_places(world: World, pending: list[str]) -> None:
    under_way, most = 0, 0

    def count(_invocation: object, operation: str, phase: str) -> None:
        nonlocal under_way, most
        if operation == "checkOrder":
            under_way += 1 if phase == "before" else -1
            most = max(most, under_way)

    world.hooks.append(count)
    world.run(100)

    assert 1 <= most <= MAX_CONCURRENT_CALLS
    assert_all_delivered(world, pending)
