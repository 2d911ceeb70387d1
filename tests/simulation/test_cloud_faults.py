"""AWS fails: each call of each function, for seconds and hours; functions are killed, and executions disappear."""

from itertools import cycle

import pytest

from giftcards.rules.gate import BLOCK_SECONDS, LEASE_SECONDS
from giftcards.rules.schedule import MAX_BACKOFF_SECONDS
from giftcards_local.supplier import cards_of
from simulation.functions import Invocation, Killed, failing
from simulation.world import World

CHECK = ["GetSecretValue", "UpdateItem"]
DELIVER = ["GetItem", "GetSecretValue", "UpdateItem", "GenerateDataKey", "TransactWriteItems", "PutEvents"]
CALLS = [("check_status", call) for call in CHECK] + [("deliver_cards", call) for call in DELIVER]
EACH_CALL = pytest.mark.parametrize(("function", "operation"), CALLS, ids=lambda value: value)
CODES = ["ThrottlingException", "InternalServerError"]


def assert_delivered_once(world: World, order_id: str, quantity: int = 2) -> None:
    assert world.status(order_id) == "FULFILLED"
    shown = world.revealed(order_id)
    assert shown == cards_of(order_id, quantity)
    delivered = [event["detail"] for event in world.events(order_id) if event["detail-type"] == "CardsDelivered"]
    assert len({detail["deliveryId"] for detail in delivered}) == 1


@EACH_CALL
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("phase", ["before", "after"], ids=["refused", "answer lost"])
def test_transient_failure_of_a_call_is_retried(
    world: World, function: str, operation: str, code: str, phase: str
) -> None:
    world.functions.hooks.append(failing(operation, code, times=3, phase=phase, function=function))
    order_id = world.order(2)

    world.run(300)

    assert_delivered_once(world, order_id)
    assert set(world.event_types(order_id)) == {"CardsDelivered"}
    assert any(
        operation in invocation.calls for invocation in world.functions.invocations if invocation.function == function
    )


@EACH_CALL
def test_permanent_failure_holds_the_order_and_loses_nothing(world: World, function: str, operation: str) -> None:
    world.functions.hooks.append(failing(operation, "AccessDeniedException", times=1_000, function=function))
    order_id = world.order(2)

    world.run(1_200)

    assert world.timeline.is_quiet
    if operation == "PutEvents":  # the cards are stored; only the event is missing
        assert world.status(order_id) == "FULFILLED"
        assert world.event_types(order_id) == []
    else:
        assert world.status(order_id) == "UNEXPECTED_ERROR"
        assert world.event_types(order_id) == ["OrderHeld"]

    world.functions.hooks.clear()
    world.place(order_id)
    world.run(60)
    assert_delivered_once(world, order_id)
    assert world.event_types(order_id)[-1] == "CardsDelivered"


HOURS = 2 * 3_600


@pytest.mark.parametrize(
    ("function", "operation", "code"),
    [(*call, code) for call, code in zip(CALLS, cycle(CODES), strict=False)],
    ids=lambda value: value,
)
def test_orders_wait_while_an_aws_service_fails_for_hours(
    world: World, function: str, operation: str, code: str
) -> None:
    world.functions.hooks.append(failing(operation, code, times=10**6, function=function))
    order_id = world.order(2)
    world.run(HOURS)
    closed = operation == "PutEvents"  # the cards are stored; only the event is missing
    assert world.status(order_id) == ("FULFILLED" if closed else "HANDLING")
    assert world.event_types(order_id) == ["OrderDelayed"]

    world.functions.hooks.clear()
    world.run(MAX_BACKOFF_SECONDS + 60)

    assert_delivered_once(world, order_id)
    assert world.event_types(order_id) == ["OrderDelayed", "CardsDelivered"]


@pytest.mark.parametrize("error", ["TooManyRequestsException", "ServiceException", "Timeout"])
def test_orders_wait_while_lambda_fails_for_hours(world: World, error: str) -> None:
    with world.lambda_down(error):
        orders = [world.order(1) for _ in range(5)]
        world.run(HOURS)
        assert {world.status(order) for order in orders} == {"HANDLING"}
        assert not world.functions.invocations
        # The workflow publishes the delay without a function.
        assert {tuple(world.event_types(order)) for order in orders} == {("OrderDelayed",)}

    world.run(MAX_BACKOFF_SECONDS + 60)

    for order_id in orders:
        assert_delivered_once(world, order_id, 1)


def test_outage_of_lambda_extends_the_deadline(world: World) -> None:
    order_id = world.order(1, fulfilAfter=28 * 3_600)
    world.run(60)
    with world.lambda_down():
        world.run(26 * 3_600)  # the deadline is after 24 hours

    world.run(3 * 3_600)

    assert_delivered_once(world, order_id, 1)


def test_event_that_the_bus_rejects_is_published_again(world: World) -> None:
    world.events_to_refuse = 2
    order_id = world.order(2)

    world.run(300)

    assert world.events_to_refuse == 0
    assert_delivered_once(world, order_id)
    assert world.event_types(order_id) == ["CardsDelivered"]


@pytest.mark.parametrize("function", ["check_status", "deliver_cards"])
@pytest.mark.parametrize("error", ["Sandbox.Timedout", "Runtime.OutOfMemory"])
def test_function_out_of_time_or_memory_runs_again(world: World, function: str, error: str) -> None:
    left = 3

    def kill(invocation: Invocation, operation: str, phase: str) -> None:
        nonlocal left
        if invocation.function == function and (operation, phase) == ("checkOrder", "after") and left:
            left -= 1
            raise Killed(error)

    world.functions.hooks.append(kill)
    order_id = world.order(2)

    # Three calls without a known answer block the gate: the supplier may have refused the key each time.
    world.run(600 + BLOCK_SECONDS)

    assert left == 0
    assert_delivered_once(world, order_id)


def test_slot_of_a_killed_function_is_free_after_its_lease(world: World) -> None:
    killed = []

    def kill(_invocation: Invocation, operation: str, phase: str) -> None:
        if (operation, phase) == ("checkOrder", "after") and not killed:
            killed.append(world.timeline.now)
            raise Killed

    world.functions.hooks.append(kill)
    orders = [world.order(1) for _ in range(3)]
    world.run(LEASE_SECONDS)  # the slot was acquired seconds later
    # Before a key is accepted there is one slot.
    assert {world.status(order) for order in orders} == {"HANDLING"}
    assert len(world.supplier.book.calls) == 1

    world.run(60)

    assert {world.status(order) for order in orders} == {"FULFILLED"}


def test_order_that_cannot_be_claimed_goes_to_the_dead_letter_queue(world: World) -> None:
    order_id = world.buy(1)
    with world.table_down():
        world.place(order_id)
        world.run(3_600)

    assert world.stored(order_id) is None
    [letter] = world.dead_letters()
    assert letter["detail"] == {"orderId": order_id, "userId": "alice"}
    world.place(letter["detail"]["orderId"], letter["detail"]["userId"])
    world.run(30)
    assert_delivered_once(world, order_id, 1)


@pytest.mark.parametrize("how", ["aborted while it retries its claim", "neither claimed nor queued"])
def test_order_without_any_trace_is_found_by_reconciliation(world: World, how: str) -> None:
    order_id = world.buy(1)
    with world.table_down(queue_too=True):
        execution = world.place(order_id)
        world.run(20)
        if how.startswith("aborted"):
            world.abort(execution)
        world.run(3_600)
    # There is no row, no dead letter, no execution and no event.
    assert (world.rows(), world.dead_letters(), world.event_types(order_id)) == ([], [], [])
    assert world.execution(execution).status in {"ABORTED", "FAILED"}
    world.sweep()
    world.run(60)
    assert world.stored(order_id) is None

    world.reconcile()

    [unclaimed] = [event["detail"] for event in world.events() if event["detail-type"] == "OrderUnclaimed"]
    assert unclaimed["orderId"] == order_id

    # As `giftcards place` or a replay of the archive
    world.place(order_id)
    world.run(60)

    assert_delivered_once(world, order_id, 1)
    world.reconcile()
    assert world.event_types(order_id) == ["OrderUnclaimed", "CardsDelivered"]


def test_replay_of_all_events_delivers_only_the_lost_order(world: World) -> None:
    delivered, refunded, lost = world.order(1), world.order(1, typeId="TEST_REFUND"), world.buy(1)
    world.run(60)
    with world.table_down(queue_too=True):
        world.place(lost)
        world.run(3_600)
    before = {row["pk"]: row for row in world.rows()}

    for order_id in (delivered, refunded, lost):
        world.place(order_id)
    world.run(60)

    assert {pk: row for pk, row in ((row["pk"], row) for row in world.rows()) if pk in before} == before
    assert_delivered_once(world, lost, 1)
    assert world.event_types(delivered) == ["CardsDelivered", "OrderRepeated"]
    assert world.event_types(refunded) == ["OrderRefunded", "OrderRepeated"]
