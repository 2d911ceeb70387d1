"""An event is on the bus, or it is an error."""

import json
from decimal import Decimal

import pytest
from botocore.exceptions import ClientError

from giftcards.adapters import aws
from giftcards.adapters.event_bus import EventBus, EventNotPublishedError
from giftcards.contracts.events import CardsDelivered, OrderPlaced
from support.cloud import Cloud, client_error
from support.examples import NOW, ORDER_ID, USER_ID

EVENT = CardsDelivered(
    order_id=ORDER_ID,
    user_id=USER_ID,
    occurred_at=NOW,
    delivery_id="d",
    quantity=2,
    fulfilled_quantity=2,
    fulfilled_amount=Decimal("981.00"),
    price_per_card=Decimal("490.50"),
)


@pytest.fixture
def bus(cloud: Cloud) -> EventBus:
    return EventBus(cloud.bus, aws.event_bridge())


def test_event_has_type_source_and_camel_case_names(cloud: Cloud, bus: EventBus):
    bus.publish(EVENT)

    (params,) = cloud.sent("PutEvents")
    (entry,) = params["Entries"]
    detail = json.loads(entry.pop("Detail"))
    assert entry == {"EventBusName": "orders", "Source": "giftcards", "DetailType": "CardsDelivered"}
    assert detail == {
        "schemaVersion": "1",
        "orderId": ORDER_ID,
        "userId": USER_ID,
        "occurredAt": "2026-03-14T09:26:53Z",
        "deliveryId": "d",
        "quantity": 2,
        "fulfilledQuantity": 2,
        "fulfilledAmount": 981,
        "pricePerCard": 490.5,
    }


def test_shop_event_has_its_own_source_and_no_unknown_fields(cloud: Cloud, bus: EventBus):
    bus.publish(OrderPlaced(order_id=ORDER_ID, user_id=USER_ID), source="shop")

    (entry,) = cloud.sent("PutEvents")[0]["Entries"]
    assert (entry["Source"], entry["DetailType"]) == ("shop", "OrderPlaced")
    assert json.loads(entry["Detail"]) == {"orderId": ORDER_ID, "userId": USER_ID}


def test_event_rejected_in_a_successful_call_is_an_error(cloud: Cloud, bus: EventBus):
    not_taken = [{"ErrorCode": "ThrottlingException", "ErrorMessage": f"{ORDER_ID} was not taken"}]
    cloud.at_next("PutEvents", {"FailedEntryCount": 1, "Entries": not_taken})

    with pytest.raises(EventNotPublishedError) as refusal:
        bus.publish(EVENT)

    assert "CardsDelivered" in str(refusal.value)
    assert "ThrottlingException" in str(refusal.value)
    assert ORDER_ID not in str(refusal.value)


def test_event_that_is_not_taken_without_a_code_is_an_error_too(cloud: Cloud, bus: EventBus):
    cloud.at_next("PutEvents", {"FailedEntryCount": 1, "Entries": [{}]})

    with pytest.raises(EventNotPublishedError, match=r"CardsDelivered: \?$"):
        bus.publish(EVENT)


def test_call_that_fails_is_an_error(cloud: Cloud, bus: EventBus):
    cloud.at_next("PutEvents", client_error("PutEvents"))

    with pytest.raises(ClientError):
        bus.publish(EVENT)
