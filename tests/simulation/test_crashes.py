"""DeliverCards is killed at each of its calls and runs again. The result is that of one clean run."""

import json
from typing import Any

import pytest

from giftcards.rules import card_rows
from giftcards_local.supplier import cards_of
from simulation.functions import Hook, Invocation, Killed
from simulation.world import World

PHASES = ("before", "after")
CALLS = (
    "GetItem",  # the order
    "GetSecretValue",
    "UpdateItem",  # reads the gate and acquires a slot
    "checkOrder",
    "UpdateItem",  # releases the slot
    "GenerateDataKey",
    "TransactWriteItems",
    "PutEvents",
    "UpdateItem",  # the event is published
)
VARYING = {"ciphertext", "executionArn", "claimedAt", "deliveredAt", "announcedAt"}
"""Attributes that differ between two runs, by time or chance."""
IDS = {"pk", "orderId", "deliveryId"}


def killing(number: int, phase: str) -> Hook:
    """Return a hook that kills DeliverCards once, before or after a call."""
    done = False

    def kill(invocation: Invocation, _operation: str, at: str) -> None:
        nonlocal done
        if not done and invocation.function == "deliver_cards" and len(invocation.calls) == number and at == phase:
            done = True
            raise Killed

    return kill


def rows_of(world: World, order_id: str) -> list[dict[str, Any]]:
    """Return an order's rows without the attributes in which orders differ."""
    rows = [row for row in world.rows() if row["pk"] == f"ORDER#{order_id}"]
    return [{name: value for name, value in row.items() if name not in IDS | VARYING} for row in rows]


def assert_delivered_once(world: World, order_id: str, quantity: int, *, card_rows: int = 1) -> None:
    order = world.stored(order_id)
    assert order is not None
    assert (order.status, order.fulfilled_quantity) == ("FULFILLED", quantity)
    assert order.announced_at is not None
    assert world.revealed(order_id) == cards_of(order_id, quantity)
    assert len(rows_of(world, order_id)) == card_rows + 1
    delivered = [event for event in world.events(order_id) if event["detail-type"] == "CardsDelivered"]
    assert delivered, "no event was published"
    assert {event["detail"]["deliveryId"] for event in delivered} == {order.delivery_id}
    assert len({json.dumps(event["detail"], sort_keys=True) for event in delivered}) == 1
    assert set(world.event_types(order_id)) == {"CardsDelivered"}


def test_delivery_makes_these_calls(world: World) -> None:
    world.order(2)
    world.run(30)

    [delivery] = [invocation for invocation in world.functions.invocations if invocation.function == "deliver_cards"]
    assert tuple(delivery.calls) == CALLS


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("number", range(1, len(CALLS) + 1), ids=lambda number: f"{number}-{CALLS[number - 1]}")
def test_killed_delivery_runs_again_as_one_delivery(world: World, number: int, phase: str) -> None:
    clean, order_id = world.order(2), world.buy(2)
    world.run(30)
    world.functions.hooks.append(killing(number, phase))

    world.place(order_id)
    world.run(300)

    assert_delivered_once(world, order_id, 2)
    assert rows_of(world, order_id) == rows_of(world, clean)
    assert world.timeline.is_quiet


ORDERS_OF_EVENTS = list(range(12))


@pytest.mark.parametrize("seed", ORDERS_OF_EVENTS)
def test_two_concurrent_deliveries_are_one_delivery(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    # An order with two executions, as after a sweep of a running order
    monkeypatch.setattr(card_rows, "CARDS_PER_ROW", 3)
    quantity = 8
    order_id = world.buy(quantity)
    world.place(order_id)
    world.run(4)
    world.remove_execution(order_id)
    world.place(order_id)

    # Their calls interleave
    world.functions.interleaves = True
    state = seed + 1

    def choose(due: int) -> int:
        nonlocal state
        state = (state * 48_271) % 2_147_483_647
        return state % due

    world.timeline.choose = choose
    world.run(400)

    assert_delivered_once(world, order_id, quantity, card_rows=3)
    assert world.timeline.is_quiet


def test_delivered_order_is_never_delivered_to_another_user(world: World) -> None:
    order_id = world.order(2, "alice")
    world.run(30)
    before = world.rows()

    world.place(order_id, "mallory")
    world.run(30)

    assert world.rows() == before
    assert world.event_types(order_id) == ["CardsDelivered", "OrderDisputed"]
    assert world.reveal(order_id, "mallory") == world.reveal("no-such-order", "mallory")
    assert world.revealed(order_id) == cards_of(order_id, 2)


def test_order_placed_for_two_users_at_once_goes_to_one(world: World) -> None:
    order_id = world.buy(2)
    world.place(order_id, "alice")
    world.place(order_id, "mallory")
    world.run(60)

    assert sorted(world.event_types(order_id)) == ["CardsDelivered", "OrderDisputed"]
    assert sorted(len(world.revealed(order_id, user)) for user in ("alice", "mallory")) == [0, 2]
