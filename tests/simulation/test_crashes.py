"""DeliverCards is killed at each single call that it makes, and runs again: the outcome is that of one clean run."""

import json
from typing import Any

import pytest

from giftcards.adapters import order_table
from giftcards_local.supplier import cards_of
from simulation.world import Hook, Invocation, Killed, World

PHASES = ("before", "after")
CALLS = (
    "GetItem",  # the order
    "GetSecretValue",
    "GetItem",  # the gate
    "UpdateItem",  # a place at it
    "checkOrder",
    "UpdateItem",  # the place is given back
    "GenerateDataKey",
    "TransactWriteItems",
    "PutEvents",
    "UpdateItem",  # announced
)
CHANCE = {"ciphertext", "deliveryAttempt", "executionArn", "claimedAt", "deliveredAt", "announcedAt"}
"""What differs between two runs by chance or by time."""
OWN = {"pk", "orderId", "deliveryId"}


def killing(number: int, phase: str) -> Hook:
    """Make a hook that kills DeliverCards once, before or after its call of this number."""
    done = False

    def kill(invocation: Invocation, _operation: str, at: str) -> None:
        nonlocal done
        if not done and invocation.function == "deliver_cards" and len(invocation.calls) == number and at == phase:
            done = True
            raise Killed

    return kill


def shown(world: World, order_id: str) -> list[dict[str, str]]:
    return [{name: card[name] for name in ("value", "serial")} for card in world.reveal(order_id)["cards"]]


def rows_of(world: World, order_id: str) -> list[dict[str, Any]]:
    """Give an order's rows without what is its own, or differs by chance or time."""
    rows = [row for row in world.rows() if row["pk"] == f"ORDER#{order_id}"]
    return [{name: value for name, value in row.items() if name not in OWN | CHANCE} for row in rows]


def assert_as_after_one_clean_run(world: World, order_id: str, quantity: int) -> None:
    order = world.known(order_id)
    assert order is not None
    assert (order.status, order.fulfilled_quantity) == ("FULFILLED", quantity)
    assert order.announced_at is not None
    assert shown(world, order_id) == cards_of(order_id, quantity)
    assert len(rows_of(world, order_id)) == quantity + 1
    announced = [event for event in world.heard(order_id) if event["detail-type"] == "CardsDelivered"]
    assert announced, "the shop was never told"
    assert {event["detail"]["deliveryId"] for event in announced} == {order.delivery_id}
    assert len({json.dumps(event["detail"], sort_keys=True) for event in announced}) == 1
    assert set(world.kinds(order_id)) == {"CardsDelivered"}


def test_these_are_the_calls_of_a_delivery(world: World) -> None:
    world.order(2)
    world.run(30)

    [delivery] = [invocation for invocation in world.invocations if invocation.function == "deliver_cards"]
    assert tuple(delivery.calls) == CALLS


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("number", range(1, len(CALLS) + 1), ids=lambda number: f"{number}-{CALLS[number - 1]}")
def test_delivery_killed_at_any_call_and_run_again_is_one_clean_delivery(world: World, number: int, phase: str) -> None:
    clean, order_id = world.order(2), world.place(2)
    world.run(30)
    world.hooks.append(killing(number, phase))

    world.announce(order_id)
    world.run(300)

    assert_as_after_one_clean_run(world, order_id, 2)
    assert rows_of(world, order_id) == rows_of(world, clean)
    assert world.timeline.is_quiet


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("piece", [1, 2, 3])
def test_delivery_in_pieces_killed_between_them_and_run_again_is_one_clean_delivery(
    world: World, monkeypatch: pytest.MonkeyPatch, piece: int, phase: str
) -> None:
    monkeypatch.setattr(order_table, "TRANSACTION_ITEMS", 4)
    order_id = world.place(8)
    first = CALLS.index("TransactWriteItems")
    world.hooks.append(killing(first + piece, phase))

    world.announce(order_id)
    world.run(300)

    assert_as_after_one_clean_run(world, order_id, 8)


@pytest.mark.parametrize("piece", [1, 2])
def test_order_that_is_refunded_after_a_delivery_in_pieces_was_killed_shows_no_card(
    world: World, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(order_table, "TRANSACTION_ITEMS", 4)
    order_id = world.place(8)
    world.hooks.append(killing(CALLS.index("TransactWriteItems") + piece, "after"))
    world.fault(merge={"status": "REFUNDED", "fulfilled_quantity": 0, "fulfilled_amount": 0, "cards": []}, afterCalls=2)

    world.announce(order_id)
    world.run(300)

    assert world.status(order_id) == "REFUNDED"
    assert world.kinds(order_id) == ["OrderRefunded"]
    assert world.reveal(order_id)["cards"] == []


@pytest.mark.parametrize("piece", [1, 2])
def test_order_of_fewer_cards_after_a_delivery_in_pieces_was_killed_shows_those_and_no_others(
    world: World, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(order_table, "TRANSACTION_ITEMS", 4)
    order_id = world.place(8)
    world.hooks.append(killing(CALLS.index("TransactWriteItems") + piece, "after"))
    last_two = cards_of(order_id, 8)[6:]
    fewer = {"status": "PARTIALLY_FILLED", "fulfilled_quantity": 2, "fulfilled_amount": 980, "cards": last_two}
    world.fault(merge=fewer, afterCalls=2)

    world.announce(order_id)
    world.run(300)

    assert world.status(order_id) == "PARTIALLY_FILLED"
    assert shown(world, order_id) == last_two


ORDERS_OF_EVENTS = list(range(12))


@pytest.mark.parametrize("seed", ORDERS_OF_EVENTS)
@pytest.mark.parametrize("pieces", [False, True], ids=["one transaction", "in pieces"])
def test_two_executions_that_deliver_at_the_same_moment_are_one_delivery(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int, *, pieces: bool
) -> None:
    # Given one order that two executions believe to be theirs, as after a sweep that was too quick
    if pieces:
        monkeypatch.setattr(order_table, "TRANSACTION_ITEMS", 4)
    quantity = 8
    order_id = world.place(quantity)
    world.announce(order_id)
    world.run(4)
    world.release(order_id)
    world.announce(order_id)

    # When their calls fall between each other in any order
    world.interleaves = True
    state = seed + 1

    def choose(due: int) -> int:
        nonlocal state
        state = (state * 48_271) % 2_147_483_647
        return state % due

    world.timeline.choose = choose
    world.run(400)

    # Then there is one delivery, and every card is there once
    assert_as_after_one_clean_run(world, order_id, quantity)
    assert world.timeline.is_quiet


def test_order_delivered_to_one_user_is_never_delivered_to_another(world: World) -> None:
    order_id = world.order(2, "alice")
    world.run(30)
    before = world.rows()

    world.announce(order_id, "mallory")
    world.run(30)

    assert world.rows() == before
    assert world.kinds(order_id) == ["CardsDelivered", "OrderDisputed"]
    assert world.reveal(order_id, "mallory") == world.reveal("no-such-order", "mallory")
    assert shown(world, order_id) == cards_of(order_id, 2)


def test_order_announced_for_two_users_at_once_goes_to_one_of_them(world: World) -> None:
    order_id = world.place(2)
    world.announce(order_id, "alice")
    world.announce(order_id, "mallory")
    world.run(60)

    assert sorted(world.kinds(order_id)) == ["CardsDelivered", "OrderDisputed"]
    shown_to = {user: len(world.reveal(order_id, user)["cards"]) for user in ("alice", "mallory")}
    assert sorted(shown_to.values()) == [0, 2]
