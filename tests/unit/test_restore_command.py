"""`giftcards restore` restores what is missing and never overwrites a valid delivery."""

from datetime import timedelta
from typing import Any

import pytest

import rows
from giftcards.adapters import aws
from giftcards.adapters.order_table import OrderTable
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.supplier import SettledOrder
from giftcards.rules.orders import close, delivery_id_of
from support.cloud import Cloud
from support.command_line import CommandResult, Giftcards
from support.examples import NOW, ORDER_ID
from support.supplier import order_data


def orders_restored(count: int) -> str:
    return f"orders restored: {count}\n"


DELIVERED_AT = {"first": NOW, "second": NOW + timedelta(milliseconds=1)}


def sealed(delivery: str, count: int) -> dict[int, bytes]:
    return {index: f"{delivery}-{index}".encode() for index in range(1, count + 1)}


def deliver(cloud: Cloud, delivery: str, count: int) -> None:
    """Close the order in the card table, with a row for each card: with cards as delivered, without as refunded."""
    orders = OrderTable(cloud.card_table, aws.dynamodb())
    order = orders.get(ORDER_ID)
    assert order is not None
    settled = SettledOrder.model_validate(order_data("FULFILLED" if count else "REFUNDED", count or 1))
    orders.close(close(order, settled, DELIVERED_AT[delivery], checks=1), sealed(delivery, count))


def lose(cloud: Cloud) -> None:
    for row in cloud.rows(cloud.card_table):
        cloud.delete(cloud.card_table, row)


def ciphertexts(cloud: Cloud) -> list[bytes]:
    return [row["ciphertext"].value for row in cloud.card_rows()]


def is_of(cloud: Cloud, delivery: str) -> bool:
    return cloud.order_row()["deliveredAt"] == timestamp(DELIVERED_AT[delivery])


@pytest.fixture
def copy(cloud: Cloud) -> str:
    """Return a table for the copy: the audit table, which has the same keys."""
    return cloud.audit_table


def take_copy(cloud: Cloud, copy: str) -> None:
    for row in cloud.rows(cloud.card_table):
        cloud.put(copy, row)


@pytest.fixture
def delivered(cloud: Cloud, copy: str) -> list[dict[str, Any]]:
    """Given a delivered order with three cards, and a copy of its rows."""
    cloud.claim()
    deliver(cloud, "first", 3)
    take_copy(cloud, copy)
    return cloud.rows(cloud.card_table)


# ----------------------------------------------------------- missing orders


def test_missing_order_is_restored(cloud: Cloud, giftcards: Giftcards, copy: str, delivered: Any):
    lose(cloud)

    assert giftcards("restore", "--from", copy) == CommandResult(0, orders_restored(1), "")
    assert cloud.rows(cloud.card_table) == delivered
    assert giftcards("restore", "--from", copy) == CommandResult(0, orders_restored(0), "")


@pytest.mark.parametrize("cards_again", [1, 3, 4])
def test_order_that_is_delivered_meanwhile_keeps_its_rows(
    cloud: Cloud,
    giftcards: Giftcards,
    copy: str,
    delivered: Any,
    cards_again: int,
):
    lose(cloud)

    def deliver_again() -> None:
        with cloud._aside():
            cloud.claim()
            deliver(cloud, "second", cards_again)

    cloud.at_next("TransactWriteItems", deliver_again)

    assert giftcards("restore", "--from", copy) == CommandResult(0, orders_restored(0), "")
    assert is_of(cloud, "second")
    assert ciphertexts(cloud) == [*sealed("second", cards_again).values()]


def test_missing_order_row_is_restored_with_its_cards(cloud: Cloud, giftcards: Giftcards, copy: str, delivered: Any):
    cloud.delete(cloud.card_table, cloud.order_row())

    assert giftcards("restore", "--from", copy).code == 0
    assert cloud.rows(cloud.card_table) == delivered


def test_open_order_is_restored_without_cards(cloud: Cloud, giftcards: Giftcards, copy: str):
    cloud.claim()
    cloud.put(cloud.card_table, rows.cards(ORDER_ID, 1, b"of a delivery that is not in the order row"))
    take_copy(cloud, copy)
    lose(cloud)

    assert giftcards("restore", "--from", copy) == CommandResult(0, orders_restored(1), "")
    assert cloud.card_rows() == []
    assert cloud.open_orders() == [ORDER_ID]


def test_refunded_order_is_restored(cloud: Cloud, giftcards: Giftcards, copy: str):
    cloud.claim()
    deliver(cloud, "first", 0)
    take_copy(cloud, copy)
    before = cloud.rows(cloud.card_table)
    lose(cloud)

    assert giftcards("restore", "--from", copy) == CommandResult(0, orders_restored(1), "")
    assert cloud.rows(cloud.card_table) == before


def test_invalid_row_of_the_copy_is_named_and_not_restored(cloud: Cloud, giftcards: Giftcards, copy: str):
    cloud.claim(status="WONDERFUL")
    take_copy(cloud, copy)
    lose(cloud)

    result = giftcards("restore", "--from", copy)

    assert (result.code, result.out) == (1, orders_restored(0))
    assert ORDER_ID in result.err
    assert cloud.rows(cloud.card_table) == []


# ----------------------------------- a copy with a part of a transaction


def lacks_a_row(cloud: Cloud, copy: str) -> None:
    cloud.delete(copy, cloud.card_rows()[1])


def has_a_row_of_an_earlier_delivery(cloud: Cloud, copy: str) -> None:
    cloud.put(copy, cloud.card_rows()[1] | {"deliveredAt": "2026-03-14T09:26:52.000Z", "ciphertext": b"earlier-1"})


PARTIAL = pytest.mark.parametrize("half", [lacks_a_row, has_a_row_of_an_earlier_delivery])


@PARTIAL
@pytest.mark.parametrize("order_id", [[], [ORDER_ID]], ids=["all", "one"])
def test_closed_order_without_all_its_cards_is_restored_as_open(
    cloud: Cloud, giftcards: Giftcards, copy: str, delivered: Any, *, half: Any, order_id: list[str]
):
    accepted = {"undeliveredCards": 1, "refundedQuantity": 1, "refundedAt": "2026-03-14T09:26:53.000Z"}
    later = {"announcedAt": "2026-03-14T09:26:54.000Z", "sweptAt": "2026-03-14T09:26:50Z"}
    cloud.put(copy, cloud.order_row() | accepted | later)
    half(cloud, copy)
    lose(cloud)

    result = giftcards("restore", *order_id, "--from", copy)

    assert (result.code, result.err) == (0, "")
    assert ORDER_ID in result.out
    assert cloud.order_row().keys() == {
        *("pk", "sk", "orderId", "userId", "status", "openStatus", "claimedAt", "checks"),
    }
    assert (cloud.order_row()["status"], cloud.open_orders()) == ("HANDLING", [ORDER_ID])
    assert cloud.card_rows() == []


@PARTIAL
def test_cards_are_not_restored_from_an_incomplete_copy(
    cloud: Cloud, giftcards: Giftcards, copy: str, delivered: Any, half: Any
):
    half(cloud, copy)

    result = giftcards("restore", ORDER_ID, "--from", copy)

    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert ORDER_ID in result.err
    assert cloud.rows(cloud.card_table) == delivered


@pytest.mark.parametrize("left", [0, 1])
def test_order_with_expired_cards_is_restored_as_closed(
    cloud: Cloud, giftcards: Giftcards, copy: str, delivered: Any, left: int
):
    cloud.put(copy, cloud.order_row() | {"cardsExpireAt": "2026-04-14T00:00:00Z"})
    for card in cloud.card_rows()[left:]:
        cloud.delete(copy, card)
    lose(cloud)

    assert giftcards("restore", "--from", copy) == CommandResult(0, orders_restored(1), "")
    assert (cloud.order_row()["status"], len(cloud.card_rows())) == ("FULFILLED", left)


# ----------------------------------------------------- cards of one order


def test_cards_of_the_same_delivery_are_restored(cloud: Cloud, giftcards: Giftcards, copy: str, delivered: Any):
    cloud.put(cloud.card_table, cloud.card_rows()[0] | {"ciphertext": b"tampered"})
    cloud.delete(cloud.card_table, cloud.card_rows()[2])

    assert giftcards("restore", ORDER_ID, "--from", copy) == CommandResult(0, "cards restored: 3\n", "")
    assert cloud.rows(cloud.card_table) == delivered


def test_cards_of_a_later_delivery_are_not_overwritten(cloud: Cloud, giftcards: Giftcards, copy: str, delivered: Any):
    lose(cloud)
    cloud.claim()
    deliver(cloud, "second", 3)
    before = cloud.rows(cloud.card_table)

    assert giftcards("restore", ORDER_ID, "--from", copy).code == 1
    assert cloud.rows(cloud.card_table) == before
    assert cloud.order_row()["deliveryId"] == delivery_id_of(ORDER_ID)


@pytest.mark.parametrize("meanwhile", ["claimed", "delivered"])
def test_cards_are_not_overwritten_during_a_new_delivery(
    cloud: Cloud, giftcards: Giftcards, copy: str, delivered: Any, meanwhile: str
):
    def lose_and_claim() -> None:
        with cloud._aside():
            lose(cloud)
            cloud.claim()
            if meanwhile == "delivered":
                deliver(cloud, "second", 3)

    cloud.at_next("TransactWriteItems", lose_and_claim)

    assert giftcards("restore", ORDER_ID, "--from", copy).code == 1
    assert ciphertexts(cloud) == ([*sealed("second", 3).values()] if meanwhile == "delivered" else [])
