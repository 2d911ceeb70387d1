"""Closing an order, and its event."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest

from giftcards.contracts.events import CardsDelivered, CardsPartiallyDelivered, OrderEvent, OrderRefunded
from giftcards.contracts.statuses import FinalStatus, OrderStatus
from giftcards.contracts.supplier import SettledOrder
from giftcards.metrics import Metric
from giftcards.rules.orders import CLOSING_EVENTS, Order, close, delivery_id_of, event_for, time_to_delivery
from giftcards_cli import output
from giftcards_local.supplier.orders import FinalStatus as SimulatedStatus
from support.examples import EXECUTION, NOW, ORDER_ID, USER_ID
from support.secrets import leaks
from support.supplier import order_data

CLAIMED = NOW - timedelta(seconds=60)
FINAL = sorted(status for status in OrderStatus if status.is_final)


def claimed(**changes: Any) -> Order:
    fields = {"status": "HANDLING", "claimed_at": CLAIMED, "execution_arn": EXECUTION}
    return Order.model_validate({"order_id": ORDER_ID, "user_id": USER_ID} | fields | changes)


def closed(status: str = "FULFILLED", quantity: int = 2, at: datetime = NOW, **changes: Any) -> Order:
    settled = SettledOrder.model_validate(order_data(status, quantity, **changes))
    return close(claimed(), settled, at, checks=12)


def published(order: Order) -> dict[str, Any]:
    return json.loads(event_for(order).model_dump_json(by_alias=True, exclude_none=True))


# -------------------------------------------------------------------- status


@pytest.mark.parametrize("status", get_args(FinalStatus))
def test_final_status_has_an_event_a_metric_and_a_word(status: OrderStatus):
    assert status in CLOSING_EVENTS
    assert Metric.of_status(status).emitted_by == "DeliverCards"
    assert status in output.CLOSED_AS
    assert {str(final) for final in get_args(FinalStatus)} == set(get_args(SimulatedStatus))


@pytest.mark.parametrize("status", OrderStatus)
def test_every_status_has_a_style(status: OrderStatus):
    assert status in output.STYLES


def test_order_is_open_held_or_closed_for_good():
    assert {status for status in OrderStatus if not status.is_final} == {OrderStatus.HANDLING, OrderStatus.HELD}
    assert {status for status in OrderStatus if status.is_delivered} == {
        OrderStatus.FULFILLED,
        OrderStatus.PARTIALLY_FILLED,
    }


# ------------------------------------------------------------------- closing


def test_fulfilled_order_has_counts_amounts_and_delivery():
    order = closed()

    assert (order.status, order.quantity, order.fulfilled_quantity) == (OrderStatus.FULFILLED, 2, 2)
    assert (order.fulfilled_amount, order.price_per_card) == (Decimal(981), Decimal("490.5"))
    assert (order.delivery_id, order.delivered_at, order.refunded_at) == (delivery_id_of(ORDER_ID), NOW, None)


@pytest.mark.parametrize(("before", "in_all"), [(None, 3), (0, 3), (40, 43)])
def test_checks_of_an_order_that_was_held_before_add_up(before: int | None, in_all: int):
    settled = SettledOrder.model_validate(order_data("FULFILLED", 1))

    assert close(claimed(checks=before), settled, NOW, checks=3).checks == in_all


@pytest.mark.parametrize(
    ("placed_at", "seconds"),
    [(NOW - timedelta(seconds=90), 90), (None, 60), (NOW + timedelta(hours=1), 0)],
    ids=["placed", "claimed, where the shop does not say", "a shop whose clock is ahead"],
)
def test_time_to_delivery_counts_from_placed_at(placed_at: datetime | None, seconds: int):
    order = closed().model_copy(update={"placed_at": placed_at})

    assert time_to_delivery(order) == timedelta(seconds=seconds)


def test_order_without_cards_has_no_time_to_delivery():
    assert time_to_delivery(claimed()) is None
    assert time_to_delivery(closed("REFUNDED")) is None


def test_partially_filled_order_has_the_delivered_count():
    order = closed("PARTIALLY_FILLED", 5)

    assert (order.status, order.quantity, order.fulfilled_quantity) == (OrderStatus.PARTIALLY_FILLED, 5, 2)
    assert order.delivered_at == NOW


def test_refunded_order_is_closed_without_a_delivery():
    order = closed("REFUNDED")

    assert (order.status, order.quantity, order.fulfilled_quantity) == (OrderStatus.REFUNDED, 2, 0)
    assert (order.delivery_id, order.delivered_at, order.refunded_at) == (None, None, NOW)


@pytest.mark.parametrize("status", FINAL)
def test_closed_order_keeps_its_fields_and_has_no_card(status: str):
    order = closed(status)

    assert (order.order_id, order.user_id) == (ORDER_ID, USER_ID)
    assert (order.claimed_at, order.execution_arn) == (CLAIMED, EXECUTION)
    assert not leaks(repr(order), order.model_dump_json())


def test_delivery_is_named_by_its_order_and_by_nothing_else():
    assert delivery_id_of(ORDER_ID) == delivery_id_of(ORDER_ID) == "c20633c4-9fa0-5d3b-8f68-eaf4bde9973f"
    assert delivery_id_of(ORDER_ID) != delivery_id_of(f"{ORDER_ID} ")


# --------------------------------------------------------------------- event


def test_fulfilled_order_publishes_cards_delivered():
    assert published(closed()) == {
        "schemaVersion": "1",
        "orderId": ORDER_ID,
        "userId": USER_ID,
        "occurredAt": "2026-03-14T09:26:53Z",
        "deliveryId": delivery_id_of(ORDER_ID),
        "quantity": 2,
        "fulfilledQuantity": 2,
        "fulfilledAmount": 981,
        "pricePerCard": 490.5,
    }


def test_partially_filled_order_publishes_the_refunded_count():
    event = published(closed("PARTIALLY_FILLED", 5))

    assert (event["quantity"], event["fulfilledQuantity"], event["refundedQuantity"]) == (5, 2, 3)
    assert event["deliveryId"] == delivery_id_of(ORDER_ID)


def test_refunded_order_publishes_its_quantity_only():
    assert published(closed("REFUNDED")) == {
        "schemaVersion": "1",
        "orderId": ORDER_ID,
        "userId": USER_ID,
        "occurredAt": "2026-03-14T09:26:53Z",
        "quantity": 2,
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [("FULFILLED", CardsDelivered), ("PARTIALLY_FILLED", CardsPartiallyDelivered), ("REFUNDED", OrderRefunded)],
)
def test_every_closed_order_has_its_event(status: str, kind: type[OrderEvent]):
    assert type(event_for(closed(status))) is kind


@pytest.mark.parametrize("status", sorted(status for status in OrderStatus if not status.is_final))
def test_order_that_is_not_closed_has_nothing_to_tell(status: OrderStatus):
    with pytest.raises(ValueError, match=status):
        event_for(claimed(status=status))


@pytest.mark.parametrize("status", FINAL)
def test_event_of_an_order_is_always_the_same(status: str):
    order = closed(status)
    read_again = Order.model_validate_json(order.model_dump_json())

    assert published(order) == published(order) == published(read_again)


@pytest.mark.parametrize(
    ("amount", "number"),
    [(0, "0"), (980, "980"), (980.0, "980"), (490.5, "490.5"), (0.1, "0.1"), (1234567.89, "1234567.89")],
)
def test_amounts_are_json_numbers_and_exact(amount: float, number: str):
    text = event_for(closed(fulfilled_amount=amount)).model_dump_json(by_alias=True)

    assert f'"fulfilledAmount":{number},' in text


def test_event_holds_no_card():
    assert not leaks(*(event_for(closed(status)).model_dump_json() for status in FINAL))
