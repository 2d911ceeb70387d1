"""Each fault of the supplier has its specified result, and orders are delivered once it is over."""

from typing import Any

import pytest

from giftcards.contracts.events import HeldReason
from giftcards.rules.next_step import MIN_DOUBT_SECONDS
from giftcards_local.supplier import cards_of
from simulation.supplier_faults import DELIVERED, REFUNDED, SUPPLIER_FAULTS, WAITS, SupplierFault
from simulation.world import World

EACH = pytest.mark.parametrize("failure", SUPPLIER_FAULTS, ids=lambda failure: failure.name)
OF_DAYS = pytest.mark.parametrize("schedule", ["86400:600"])
"""One check every ten minutes, so that a test of several days stays fast."""
LASTING = [
    failure
    for failure in SUPPLIER_FAULTS
    if failure.name
    in {
        "401 INVALID_ACCESS_TOKEN",
        "403 IP_BLOCKED",
        "404 without envelope",
        "429 without Retry-After",
        "500 INTERNAL_ERROR",
        "connection refused",
    }
]
"""A fault for each way in which the wait of an order is computed."""


def cause(world: World, failure: SupplierFault, *, after_calls: int = 0, once: bool = False) -> None:
    """Cause a fault from now on, or after some calls."""
    if failure.address:
        world.supplier.move_to(failure.address.format(port=world.supplier.port), after_calls=after_calls)
    else:
        world.supplier.fault(**failure.fault, afterCalls=after_calls, times=1 if once else None)


def seconds_until(expected: str) -> int:
    """Return when a result is certain: a doubt holds the order once it persists."""
    return 20 if expected in {WAITS, DELIVERED, REFUNDED} else MIN_DOUBT_SECONDS + 20


def assert_result(world: World, order_id: str, expected: str) -> None:
    order = world.stored(order_id)
    assert order is not None
    if expected == WAITS:
        assert (order.status, order.held_reason) == ("HANDLING", None)
        assert world.event_types(order_id) == []
    elif expected == DELIVERED:
        assert_delivered(world, order_id)
    elif expected == REFUNDED:
        assert order.status == "REFUNDED"
        assert world.event_types(order_id) == ["OrderRefunded"]
    else:
        assert order.held_reason is HeldReason(expected)
        assert world.event_types(order_id) == ["OrderHeld"]
    if expected not in {DELIVERED, REFUNDED}:
        assert [row["sk"] for row in world.rows()] == ["ORDER"], "a card of a doubtful answer is stored"


def assert_delivered(world: World, order_id: str) -> None:
    assert world.revealed(order_id) == cards_of(order_id, 2)
    assert world.event_types(order_id).count("CardsDelivered") == 1


def assert_order_recovers(world: World, order_id: str, result: str) -> None:
    """Check that a waiting order resumes automatically, and a held order when it is placed again."""
    world.supplier.recover()
    world.set_api_key()  # after a refused key, only a new version unblocks the gate
    if result not in {WAITS, DELIVERED, REFUNDED}:
        world.place(order_id)
    world.run(3_600)
    if result != REFUNDED:
        assert_delivered(world, order_id)
    assert world.timeline.is_quiet


@EACH
def test_fault_at_the_check_has_its_result(world: World, failure: SupplierFault) -> None:
    order_id = world.buy(2)
    cause(world, failure, once=failure.at_check == DELIVERED)  # the delivery gets a correct answer

    world.place(order_id)
    world.run(seconds_until(failure.at_check))

    assert_result(world, order_id, failure.at_check)
    assert_order_recovers(world, order_id, failure.at_check)


@EACH
def test_fault_at_the_delivery_has_its_result(world: World, failure: SupplierFault) -> None:
    order_id = world.buy(2)
    cause(world, failure, after_calls=1)

    world.place(order_id)
    world.run(seconds_until(failure.expected_at_delivery))

    assert_result(world, order_id, failure.expected_at_delivery)
    assert_order_recovers(world, order_id, failure.expected_at_delivery)


def test_cards_with_any_characters_are_delivered_unchanged(world: World) -> None:
    cards = [
        {"value": "\u0000\u0007\n\r\t\u001b[31m", "serial": "\u202eright to left"},
        {"value": 'quotes " and \\ and </script>', "serial": "ünï-код-卡-🂡"},
        {"value": " leading and trailing ", "serial": "%s{}$(x)`"},
    ]
    order_id = world.buy(3)
    world.supplier.fault(merge={"cards": cards})

    world.place(order_id)
    world.run(60)

    assert world.revealed(order_id) == cards


@pytest.mark.parametrize("quantity", [1, 99, 100, 250])
def test_orders_of_any_size_are_delivered(world: World, quantity: int) -> None:
    order_id = world.order(quantity)

    world.run(60)

    assert world.revealed(order_id) == cards_of(order_id, quantity)


# -------------------------------------------------------------- transient faults


@pytest.mark.parametrize("failure", LASTING, ids=lambda failure: failure.name)
def test_order_waits_longer_and_longer_in_a_transient_fault(world: World, failure: SupplierFault) -> None:
    order_id = world.buy(2, fulfilAfter=10 * 3_600)
    world.place(order_id)
    world.run(3_000)

    cause(world, failure)
    world.run(1_200)  # in its first hour an order is checked often
    calls = len(world.supplier.book.calls)
    world.run(3_600)

    order = world.stored(order_id)
    assert order is not None
    assert (order.status, world.event_types(order_id)) == ("HANDLING", ["OrderDelayed"])
    assert len(world.supplier.book.calls) - calls <= 12


def test_order_survives_an_outage_across_its_deadline(world: World) -> None:
    order_id = world.buy(2)
    world.supplier.fault(status=503)
    world.place(order_id)

    world.run(25 * 3_600)  # the deadline is after 24 hours

    assert world.status(order_id) == "HANDLING"
    world.supplier.recover()
    world.run(1_000)
    assert_delivered(world, order_id)


@OF_DAYS
def test_outage_of_the_supplier_extends_the_deadline(world: World) -> None:
    order_id = world.buy(2, fulfilAfter=50 * 3_600)
    world.place(order_id)
    world.run(3_600)
    world.supplier.fault(status=503)
    world.run(30 * 3_600)

    world.supplier.recover()
    world.run(19 * 3_600 + 1_200)

    # The supplier had 24 hours in all.
    assert_delivered(world, order_id)


@OF_DAYS
def test_extended_deadline_passes_too(world: World) -> None:
    order_id = world.buy(2, fulfilAfter=1_000 * 3_600)
    world.place(order_id)
    world.supplier.fault(status=503)
    world.run(10 * 3_600)
    world.supplier.recover()

    world.run(23 * 3_600)
    assert world.status(order_id) == "HANDLING"
    world.run(2 * 3_600)

    assert world.status(order_id) == "DEADLINE_PASSED"


def test_orders_that_failed_together_retry_apart(world: World) -> None:
    world.supplier.fault(status=503, times=20)
    for _ in range(20):
        world.order()

    world.run(40)

    retries = sorted(call.at for call in world.supplier.book.calls[20:40])
    assert (retries[-1] - retries[0]).total_seconds() >= 1


def test_retry_after_of_a_day_is_respected(world: World) -> None:
    world.supplier.fault(status=429, retryAfter=100_000, times=1)
    order_id = world.order(2)

    before = world.timeline.now
    world.run(100_000)

    assert all(call.at.timestamp() >= before.timestamp() + 100_000 for call in world.supplier.book.calls[1:])
    world.run(2_000)
    assert_delivered(world, order_id)


# ------------------------------------------------------------------------ doubt


def test_order_waits_for_cards_that_follow_their_status(world: World) -> None:
    order_id = world.buy(2)
    world.supplier.fault(put={"/cards": []}, afterCalls=1, times=3)
    world.place(order_id)

    world.run(60)

    assert_delivered(world, order_id)
    assert world.event_types(order_id) == ["CardsDelivered"]


def test_order_that_is_unknown_at_first_is_delivered(world: World) -> None:
    order_id = world.buy(2)
    world.supplier.fault(status=404, times=8)
    world.place(order_id)

    world.run(90)

    assert_delivered(world, order_id)
    assert world.event_types(order_id) == ["CardsDelivered"]


@pytest.mark.parametrize("answers", [{"put": {"/cards": None}}, {"status": 404}, {"merge": {"status": "LOST"}}])
def test_doubt_holds_the_order_after_a_minute(world: World, answers: dict[str, Any]) -> None:
    order_id = world.buy(2)
    world.supplier.fault(**answers)
    world.place(order_id)

    world.run(MIN_DOUBT_SECONDS)
    assert world.status(order_id) == "HANDLING"
    world.run(20)
    assert world.status(order_id) in {"SUPPLIER_CONTRACT_BROKEN", "ORDER_UNKNOWN"}


@pytest.mark.parametrize(("status", "code"), [(403, "SOMETHING_NEW"), (410, "GONE"), (422, "INVALID_STATE")])
def test_refused_order_is_held_and_stops_no_other_order(world: World, status: int, code: str) -> None:
    order_id = world.buy(2)
    world.supplier.fault(
        orderId=order_id, status=status, body={"success": False, "error": {"code": code, "message": "m"}}
    )
    world.place(order_id)
    world.run(60)
    others = [world.order(2) for _ in range(12)]

    world.run(60)
    assert [world.status(other) for other in others] == ["FULFILLED"] * 12
    assert world.status(order_id) == "HANDLING"
    world.run(2 * 3_600)

    order = world.stored(order_id)
    assert order is not None
    assert order.held_reason is HeldReason.SUPPLIER_CONTRACT_BROKEN
    assert f"{status} {code}" in (order.held_message or "")
    assert world.event_types(order_id) == ["OrderDelayed", "OrderHeld"]


def test_acceptance_ends_with_the_next_hold(world: World) -> None:
    order_id = world.buy(2)
    world.supplier.fault(put={"/cards": []})
    world.place(order_id)
    world.run(100)
    assert world.status(order_id) == "SUPPLIER_CONTRACT_BROKEN"

    world.accept_cards(order_id)
    world.place(order_id)
    world.run(100)

    order = world.stored(order_id)
    assert order is not None
    assert (order.held_reason, order.accept_cards) == (HeldReason.SUPPLIER_CONTRACT_BROKEN, None)


def test_accepted_cards_are_delivered_through_the_workflow(world: World) -> None:
    order_id = world.buy(2)
    world.supplier.fault(put={"/fulfilled_quantity": 1})
    world.place(order_id)
    world.run(100)
    assert world.status(order_id) == "SUPPLIER_CONTRACT_BROKEN"

    world.accept_cards(order_id)
    world.place(order_id)
    world.run(50)
    assert world.status(order_id) == "HANDLING"
    world.run(200)

    assert_delivered(world, order_id)
    order = world.stored(order_id)
    assert order is not None
    assert order.accept_cards is not None


def test_accepted_cards_wait_for_cards_that_follow(world: World) -> None:
    order_id = world.buy(5)
    world.supplier.fault(orderId=order_id, put={"/cards": [{"value": " ", "serial": "1"}]})
    world.place(order_id)
    world.run(100)
    assert world.status(order_id) == "SUPPLIER_CONTRACT_BROKEN"

    world.accept_cards(order_id, cards=1)
    world.supplier.recover()
    world.supplier.fault(orderId=order_id, times=4, put={"/cards": [{"value": "FIRST", "serial": "1"}]})
    world.place(order_id)
    world.run(300)

    assert world.status(order_id) == "FULFILLED"
    assert len(world.reveal(order_id)["cards"]) == 5
