"""Every fault of the supplier comes to what is decided for it, and no order is the worse for it afterwards."""

from typing import Any

import pytest

from giftcards.contracts.events import HeldReason
from giftcards.rules.next_step import MIN_DOUBT_SECONDS
from giftcards_local.supplier import cards_of
from simulation.supplier_faults import DELIVERED, REFUNDED, SUPPLIER_FAULTS, WAITS, SupplierFault
from simulation.world import World

EACH = pytest.mark.parametrize("failure", SUPPLIER_FAULTS, ids=lambda failure: failure.name)
OF_DAYS = pytest.mark.parametrize("schedule", ["86400:600"])
"""A check every ten minutes: a test of several days makes hundreds of checks instead of thousands."""
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
        "slow headers",
    }
]
"""One of each kind that makes an order wait, by how its wait is computed."""


def befall(world: World, failure: SupplierFault, *, after_calls: int = 0, once: bool = False) -> None:
    """Have the trouble befall the calls to the supplier from now on, or from after so many."""
    if failure.address:
        port = world.supplier.url.rpartition(":")[2]
        world.supplier_moves_to(failure.address.format(port=port), after_calls=after_calls)
    else:
        world.fault(**failure.fault, afterCalls=after_calls, times=1 if once else None)


def seconds_to(expected: str) -> int:
    """Give the time that it takes: a doubtful answer is held once it has persisted."""
    return 20 if expected in {WAITS, DELIVERED, REFUNDED} else MIN_DOUBT_SECONDS + 20


def assert_came_to(world: World, order_id: str, expected: str) -> None:
    order = world.known(order_id)
    assert order is not None
    if expected == WAITS:
        assert (order.status, order.held_reason) == ("HANDLING", None)
        assert world.kinds(order_id) == []
    elif expected == DELIVERED:
        assert_delivered(world, order_id)
    elif expected == REFUNDED:
        assert order.status == "REFUNDED"
        assert world.kinds(order_id) == ["OrderRefunded"]
    else:
        assert order.held_reason is HeldReason(expected)
        assert world.kinds(order_id) == ["OrderHeld"]
    if expected not in {DELIVERED, REFUNDED}:
        assert [row["sk"] for row in world.rows()] == ["ORDER"], "a card was stored, though the answer is in doubt"


def assert_delivered(world: World, order_id: str) -> None:
    shown = world.reveal(order_id)
    assert [{name: card[name] for name in ("value", "serial")} for card in shown["cards"]] == cards_of(order_id, 2)
    assert world.kinds(order_id).count("CardsDelivered") == 1


def assert_goes_well_once_it_is_over(world: World, order_id: str, came_to: str) -> None:
    """Check that nothing was lost: what waits goes on by itself, what is held once it is announced again."""
    world.supplier_is_back()
    world.set_api_key()  # as after a refused key: a new version of the secret
    if came_to not in {WAITS, DELIVERED, REFUNDED}:
        world.announce(order_id)
    world.run(3_600)
    if came_to != REFUNDED:
        assert_delivered(world, order_id)
    assert world.timeline.is_quiet


@EACH
def test_trouble_at_the_check_comes_to_what_is_decided(world: World, failure: SupplierFault) -> None:
    order_id = world.place(2)
    befall(world, failure, once=failure.at_check == DELIVERED)  # the delivery then gets a right answer

    world.announce(order_id)
    world.run(seconds_to(failure.at_check))

    assert_came_to(world, order_id, failure.at_check)
    assert_goes_well_once_it_is_over(world, order_id, failure.at_check)


@EACH
def test_trouble_at_the_delivery_comes_to_what_is_decided(world: World, failure: SupplierFault) -> None:
    order_id = world.place(2)
    befall(world, failure, after_calls=1)

    world.announce(order_id)
    world.run(seconds_to(failure.expected_at_delivery))

    assert_came_to(world, order_id, failure.expected_at_delivery)
    assert_goes_well_once_it_is_over(world, order_id, failure.expected_at_delivery)


def test_cards_of_any_characters_are_delivered_as_they_came(world: World) -> None:
    cards = [
        {"value": "\u0000\u0007\n\r\t\u001b[31m", "serial": "\u202eright to left"},
        {"value": 'quotes " and \\ and </script>', "serial": "ünï-код-卡-🂡"},
        {"value": " leading and trailing ", "serial": "%s{}$(x)`"},
    ]
    order_id = world.place(3)
    world.fault(merge={"cards": cards})

    world.announce(order_id)
    world.run(60)

    shown = [{name: card[name] for name in ("value", "serial")} for card in world.reveal(order_id)["cards"]]
    assert shown == cards


@pytest.mark.parametrize("quantity", [1, 99, 100, 250])
def test_orders_of_any_size_are_delivered_whole(world: World, quantity: int) -> None:
    order_id = world.order(quantity)

    world.run(60)

    shown = [{name: card[name] for name in ("value", "serial")} for card in world.reveal(order_id)["cards"]]
    assert shown == cards_of(order_id, quantity)


# ------------------------------------------------------------- transient trouble


@pytest.mark.parametrize("failure", LASTING, ids=lambda failure: failure.name)
def test_transient_trouble_never_ends_an_order_and_is_waited_out_ever_longer(
    world: World, failure: SupplierFault
) -> None:
    order_id = world.place(2)
    befall(world, failure)
    world.announce(order_id)

    world.run(2 * 3_600)

    order = world.known(order_id)
    assert order is not None
    assert (order.status, world.kinds(order_id)) == ("HANDLING", ["OrderDelayed"])
    looked = [call.at for call in world.book.calls]
    assert len(looked) <= 25, "the supplier is asked too often in its trouble"


def test_trouble_that_spans_the_deadline_does_not_end_the_order(world: World) -> None:
    order_id = world.place(2)
    world.fault(status=503)
    world.announce(order_id)

    world.run(25 * 3_600)  # the deadline is after 24 hours

    assert world.status(order_id) == "HANDLING"
    world.supplier_is_back()
    world.run(1_000)
    assert_delivered(world, order_id)


@OF_DAYS
def test_trouble_does_not_use_up_the_time_that_the_supplier_has_for_an_order(world: World) -> None:
    # Given an order that the supplier did not get to before it was down for longer than the deadline
    order_id = world.place(2, fulfilAfter=50 * 3_600)
    world.announce(order_id)
    world.run(3_600)
    world.fault(status=503)
    world.run(30 * 3_600)

    # When it is back, and still handles the order
    world.supplier_is_back()
    world.run(19 * 3_600 + 1_200)

    # Then it has had its 24 hours in all, and no more than these
    assert_delivered(world, order_id)


@OF_DAYS
def test_order_is_held_when_the_supplier_has_had_its_time_in_spite_of_an_outage(world: World) -> None:
    order_id = world.place(2, fulfilAfter=1_000 * 3_600)
    world.announce(order_id)
    world.fault(status=503)
    world.run(10 * 3_600)
    world.supplier_is_back()

    world.run(23 * 3_600)
    assert world.status(order_id) == "HANDLING"
    world.run(2 * 3_600)

    assert world.status(order_id) == "DEADLINE_PASSED"


def test_orders_that_failed_together_do_not_come_back_together(world: World) -> None:
    world.fault(status=503, times=20)
    for _ in range(20):
        world.order()

    world.run(40)

    came_back = sorted(call.at for call in world.book.calls[20:40])
    assert (came_back[-1] - came_back[0]).total_seconds() >= 1


def test_an_endless_retry_after_keeps_no_function_busy(world: World) -> None:
    world.fault(status=429, retryAfter=100_000, times=1)
    order_id = world.order(2)

    before = world.timeline.now
    world.run(100_000)

    assert all(call.at.timestamp() >= before.timestamp() + 100_000 for call in world.book.calls[1:])
    world.run(2_000)
    assert_delivered(world, order_id)


# ------------------------------------------------------------------------ doubt


def test_cards_that_come_after_their_status_are_waited_for(world: World) -> None:
    order_id = world.place(2)
    world.fault(put={"/cards": []}, afterCalls=1, times=3)
    world.announce(order_id)

    world.run(60)

    assert_delivered(world, order_id)
    assert world.kinds(order_id) == ["CardsDelivered"]


def test_order_that_the_supplier_knows_a_moment_later_is_delivered(world: World) -> None:
    order_id = world.place(2)
    world.fault(status=404, times=8)
    world.announce(order_id)

    world.run(90)

    assert_delivered(world, order_id)
    assert world.kinds(order_id) == ["CardsDelivered"]


@pytest.mark.parametrize("answers", [{"put": {"/cards": None}}, {"status": 404}, {"merge": {"status": "LOST"}}])
def test_doubt_is_held_after_a_minute_and_not_before(world: World, answers: dict[str, Any]) -> None:
    order_id = world.place(2)
    world.fault(**answers)
    world.announce(order_id)

    world.run(MIN_DOUBT_SECONDS)
    assert world.status(order_id) == "HANDLING"
    world.run(20)
    assert world.status(order_id) in {"SUPPLIER_CONTRACT_BROKEN", "ORDER_UNKNOWN"}


@pytest.mark.parametrize(("status", "code"), [(403, "SOMETHING_NEW"), (410, "GONE"), (422, "INVALID_STATE")])
def test_refused_order_is_held_within_its_deadline_and_stops_no_other(world: World, status: int, code: str) -> None:
    order_id = world.place(2)
    world.fault(orderId=order_id, status=status, body={"success": False, "error": {"code": code, "message": "m"}})
    world.announce(order_id)
    world.run(60)
    others = [world.order(2) for _ in range(12)]

    world.run(60)
    assert [world.status(other) for other in others] == ["FULFILLED"] * 12
    assert world.status(order_id) == "HANDLING"
    world.run(2 * 3_600)

    order = world.known(order_id)
    assert order is not None
    assert order.held_reason is HeldReason.SUPPLIER_CONTRACT_BROKEN
    assert f"{status} {code}" in (order.held_message or "")
    assert world.kinds(order_id) == ["OrderDelayed", "OrderHeld"]


def test_acceptance_ends_with_the_next_hold(world: World) -> None:
    order_id = world.place(2)
    world.fault(put={"/cards": []})
    world.announce(order_id)
    world.run(100)
    assert world.status(order_id) == "SUPPLIER_CONTRACT_BROKEN"

    world.accept_cards(order_id)
    world.announce(order_id)
    world.run(100)

    order = world.known(order_id)
    assert order is not None
    assert (order.held_reason, order.accept_cards) == (HeldReason.SUPPLIER_CONTRACT_BROKEN, None)


def test_accepted_cards_are_delivered_through_the_workflow(world: World) -> None:
    order_id = world.place(2)
    world.fault(put={"/fulfilled_quantity": 1})
    world.announce(order_id)
    world.run(100)
    assert world.status(order_id) == "SUPPLIER_CONTRACT_BROKEN"

    world.accept_cards(order_id)
    world.announce(order_id)
    world.run(50)
    assert world.status(order_id) == "HANDLING"
    world.run(200)

    assert_delivered(world, order_id)
    order = world.known(order_id)
    assert order is not None
    assert order.accept_cards is not None


def test_accepted_cards_wait_for_the_rest_that_comes_a_moment_later(world: World) -> None:
    order_id = world.place(5)
    world.fault(orderId=order_id, put={"/cards": [{"value": " ", "serial": "1"}]})
    world.announce(order_id)
    world.run(100)
    assert world.status(order_id) == "SUPPLIER_CONTRACT_BROKEN"

    world.accept_cards(order_id, cards=1)
    world.supplier_is_back()
    world.fault(orderId=order_id, times=4, put={"/cards": [{"value": "FIRST", "serial": "1"}]})
    world.announce(order_id)
    world.run(300)

    assert world.status(order_id) == "FULFILLED"
    assert len(world.reveal(order_id)["cards"]) == 5
