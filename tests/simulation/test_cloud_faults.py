"""AWS fails: each call of each function, for a moment and for long; functions that die; workflows that vanish."""

import pytest

from giftcards.rules.gate import BLOCK_SECONDS, LEASE_SECONDS
from giftcards.rules.schedule import MAX_BACKOFF_SECONDS
from giftcards_local.supplier import cards_of
from simulation.world import Invocation, Killed, World, failing

CHECK = ["GetSecretValue", "GetItem", "UpdateItem"]
DELIVER = ["GetItem", "GetSecretValue", "UpdateItem", "GenerateDataKey", "TransactWriteItems", "PutEvents"]
CALLS = [("check_status", call) for call in CHECK] + [("deliver_cards", call) for call in DELIVER]
EACH_CALL = pytest.mark.parametrize(("function", "operation"), CALLS, ids=lambda value: value)
CODES = ["ThrottlingException", "InternalServerError"]


def assert_delivered_once(world: World, order_id: str, quantity: int = 2) -> None:
    assert world.status(order_id) == "FULFILLED"
    shown = [{name: card[name] for name in ("value", "serial")} for card in world.reveal(order_id)["cards"]]
    assert shown == cards_of(order_id, quantity)
    delivered = [event["detail"] for event in world.heard(order_id) if event["detail-type"] == "CardsDelivered"]
    assert len({detail["deliveryId"] for detail in delivered}) == 1


@EACH_CALL
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("phase", ["before", "after"], ids=["refused", "answer lost"])
def test_call_that_fails_for_a_moment_is_made_again(
    world: World, function: str, operation: str, code: str, phase: str
) -> None:
    world.hooks.append(failing(operation, code, times=3, phase=phase, function=function))
    order_id = world.order(2)

    world.run(300)

    assert_delivered_once(world, order_id)
    assert set(world.kinds(order_id)) == {"CardsDelivered"}


@EACH_CALL
def test_call_that_keeps_failing_holds_the_order_and_nothing_is_lost(
    world: World, function: str, operation: str
) -> None:
    world.hooks.append(failing(operation, "AccessDeniedException", times=1_000, function=function))
    order_id = world.order(2)

    world.run(1_200)

    assert world.timeline.is_quiet
    if operation == "PutEvents":  # the cards are delivered already; only the shop does not know
        assert world.status(order_id) == "FULFILLED"
        assert world.kinds(order_id) == []
    else:
        assert world.status(order_id) == "UNEXPECTED_ERROR"
        assert world.kinds(order_id) == ["OrderHeld"]

    # When it is over, the next announcement takes the order up
    world.hooks.clear()
    world.announce(order_id)
    world.run(60)
    assert_delivered_once(world, order_id)
    assert world.kinds(order_id)[-1] == "CardsDelivered"


HOURS = 3 * 3_600


@EACH_CALL
@pytest.mark.parametrize("code", CODES)
def test_service_that_fails_for_hours_only_makes_orders_wait(
    world: World, function: str, operation: str, code: str
) -> None:
    world.hooks.append(failing(operation, code, times=10**6, function=function))
    order_id = world.order(2)
    world.run(HOURS)
    closed = operation == "PutEvents"  # the cards are delivered already; only the shop does not know
    assert world.status(order_id) == ("FULFILLED" if closed else "HANDLING")
    assert world.kinds(order_id) == ["OrderDelayed"]

    world.hooks.clear()
    world.run(MAX_BACKOFF_SECONDS + 60)

    assert_delivered_once(world, order_id)
    assert world.kinds(order_id) == ["OrderDelayed", "CardsDelivered"]


@pytest.mark.parametrize("error", ["TooManyRequestsException", "ServiceException", "Timeout"])
def test_outage_of_lambda_for_hours_only_makes_orders_wait(world: World, error: str) -> None:
    with world.lambda_down(error):
        orders = [world.order(1) for _ in range(5)]
        world.run(HOURS)
        assert {world.status(order) for order in orders} == {"HANDLING"}
        assert not world.invocations
        # The shop hears of it though no function has run.
        assert {tuple(world.kinds(order)) for order in orders} == {("OrderDelayed",)}

    world.run(MAX_BACKOFF_SECONDS + 60)

    for order_id in orders:
        assert_delivered_once(world, order_id, 1)


def test_outage_of_lambda_does_not_count_against_the_deadline(world: World) -> None:
    order_id = world.order(1, fulfilAfter=28 * 3_600)
    world.run(60)
    with world.lambda_down():
        world.run(26 * 3_600)  # the deadline is after 24 hours

    world.run(3 * 3_600)

    assert_delivered_once(world, order_id, 1)


def test_event_that_the_bus_takes_the_call_for_and_not_the_entry_is_published_again(world: World) -> None:
    refused = world.refuse_events(2)
    order_id = world.order(2)

    world.run(300)

    assert refused() == 0
    assert_delivered_once(world, order_id)
    assert world.kinds(order_id) == ["CardsDelivered"]


@pytest.mark.parametrize("function", ["check_status", "deliver_cards"])
@pytest.mark.parametrize("error", ["Sandbox.Timedout", "Runtime.OutOfMemory"])
def test_function_that_runs_out_of_time_or_memory_runs_again(world: World, function: str, error: str) -> None:
    left = 3

    def dies(invocation: Invocation, operation: str, phase: str) -> None:
        nonlocal left
        if invocation.function == function and (operation, phase) == ("checkOrder", "after") and left:
            left -= 1
            raise Killed(error)

    world.hooks.append(dies)
    order_id = world.order(2)

    # Three calls whose answer nobody knows pause the gate: the key may have been refused each time
    world.run(600 + BLOCK_SECONDS)

    assert left == 0
    assert_delivered_once(world, order_id)


def test_a_place_at_the_gate_whose_holder_died_is_free_again_after_its_lease(world: World) -> None:
    died = []

    def dies(_invocation: Invocation, operation: str, phase: str) -> None:
        if (operation, phase) == ("checkOrder", "after") and not died:
            died.append(world.timeline.now)
            raise Killed

    world.hooks.append(dies)
    orders = [world.order(1) for _ in range(3)]
    world.run(LEASE_SECONDS)  # it was taken seconds after the beginning
    # Given the only place for a key that is not proven yet
    assert {world.status(order) for order in orders} == {"HANDLING"}
    assert len(world.book.calls) == 1

    world.run(60)

    assert {world.status(order) for order in orders} == {"FULFILLED"}


def test_order_whose_claim_meets_a_failing_table_is_kept_in_the_dead_letter_queue(world: World) -> None:
    order_id = world.place(1)
    with world.table_down():
        world.announce(order_id)
        world.run(3_600)

    assert world.known(order_id) is None
    [letter] = world.dead_letters()
    assert letter["detail"] == {"orderId": order_id, "userId": "alice"}
    world.announce(letter["detail"]["orderId"], letter["detail"]["userId"])
    world.run(30)
    assert_delivered_once(world, order_id, 1)


@pytest.mark.parametrize("how", ["aborted while it retries its claim", "neither claimed nor parked"])
def test_order_that_left_nothing_behind_is_found_by_the_reconciliation_and_resumed(world: World, how: str) -> None:
    order_id = world.place(1)
    with world.table_down(queue_too=True):
        execution = world.announce(order_id)
        world.run(20)
        if how.startswith("aborted"):
            world.abort(execution)
        world.run(3_600)
    # No row, no dead letter, no execution, and no event: nothing here knows the order.
    assert (world.rows(), world.dead_letters(), world.kinds(order_id)) == ([], [], [])
    assert world.execution(execution).status in {"ABORTED", "FAILED"}
    world.sweep()
    world.run(60)
    assert world.known(order_id) is None

    world.reconcile()

    [unclaimed] = [event["detail"] for event in world.heard() if event["detail-type"] == "OrderUnclaimed"]
    assert unclaimed["orderId"] == order_id

    # `giftcards place`, or a replay of the archive: the same event once more
    world.announce(order_id)
    world.run(60)

    assert_delivered_once(world, order_id, 1)
    world.reconcile()
    assert world.kinds(order_id) == ["OrderUnclaimed", "CardsDelivered"]


def test_replay_of_all_events_of_a_day_delivers_what_was_lost_and_changes_nothing_else(world: World) -> None:
    delivered, refunded, lost = world.order(1), world.order(1, typeId="TEST_REFUND"), world.place(1)
    world.run(60)
    with world.table_down(queue_too=True):
        world.announce(lost)
        world.run(3_600)
    before = {row["pk"]: row for row in world.rows()}

    for order_id in (delivered, refunded, lost):
        world.announce(order_id)
    world.run(60)

    assert {pk: row for pk, row in ((row["pk"], row) for row in world.rows()) if pk in before} == before
    assert_delivered_once(world, lost, 1)
    assert world.kinds(delivered) == ["CardsDelivered", "OrderRepeated"]
    assert world.kinds(refunded) == ["OrderRefunded", "OrderRepeated"]
