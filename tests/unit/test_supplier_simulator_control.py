"""The simulator's control routes: orders, recorded calls, and the state file."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from giftcards_local.supplier import SANDBOX_API_KEY, SupplierBook, UnreadableStateError, cards_of, create_app

CHECK = "/v3/gift-cards/checkOrder"
START = datetime(2025, 10, 29, 1, tzinfo=UTC)


def client(book) -> TestClient:
    return TestClient(create_app(book), headers={"X-Access-Token": SANDBOX_API_KEY})


@pytest.fixture
def http() -> Iterator[TestClient]:
    with client(SupplierBook(fulfil_after=0, clock=lambda: START)) as http:
        yield http


def add(http, **order):
    response = http.post("/control/orders", json={"quantity": 4, **order})
    assert response.status_code == 200, response.text
    return response.json()["orderId"]


def outcome(http, order_id):
    order = http.get(f"{CHECK}/{order_id}").json()["data"]
    return order["status"], order.get("fulfilled_quantity")


@pytest.mark.parametrize(
    ("order", "end"),
    [
        ({}, ("FULFILLED", 4)),
        ({"typeId": "TEST_PARTIAL"}, ("PARTIALLY_FILLED", 2)),
        ({"status": "PARTIALLY_FILLED"}, ("PARTIALLY_FILLED", 2)),
        ({"status": "PARTIALLY_FILLED", "fulfilledQuantity": 3}, ("PARTIALLY_FILLED", 3)),
        ({"fulfilledQuantity": 1}, ("PARTIALLY_FILLED", 1)),
        ({"fulfilledQuantity": 0}, ("REFUNDED", 0)),
        ({"status": "REFUNDED"}, ("REFUNDED", 0)),
        ({"typeId": "TEST_REFUND", "status": "FULFILLED"}, ("FULFILLED", 4)),
        ({"fulfilAfter": 1}, ("HANDLING", None)),
    ],
)
def test_new_order_has_the_requested_outcome(http, order, end):
    assert outcome(http, add(http, **order)) == end


@pytest.mark.parametrize(
    ("order", "named"),
    [
        ({"quantity": 0}, "quantity"),
        ({}, "quantity"),
        ({"quantity": 2, "status": "HANDLING"}, "status"),
        ({"quantity": 2, "status": "FULFILLED", "fulfilledQuantity": 1}, "cannot end FULFILLED"),
        ({"quantity": 1, "status": "PARTIALLY_FILLED"}, "cannot end PARTIALLY_FILLED"),
        ({"quantity": 2, "fulfilledQuantity": 3}, "more than the quantity"),
        ({"quantity": 2, "orderId": "a b"}, "orderId"),
        ({"quantity": 2, "orderId": "taken"}, "exists already"),
        ({"quantity": 2, "fulfilAfter": {"distribution": "normal"}}, "fulfilAfter"),
        ({"quantity": 2, "fulfilAfter": -1}, "fulfilAfter"),
        ({"quantity": 2, "placedSecondsAgo": -1}, "placedSecondsAgo"),
        ({"quantity": 2, "colour": "red"}, "colour"),
        ({"quantity": 2, "fulfil_after": 0}, "fulfil_after"),
    ],
)
def test_invalid_order_is_refused_with_one_message(http, order, named):
    add(http, orderId="taken")

    response = http.post("/control/orders", json=order)

    assert response.status_code == 400
    assert set(response.json()) == {"message"}
    assert named in response.json()["message"]


@pytest.mark.parametrize(("fulfil_after", "status"), [(3599, "FULFILLED"), (3601, "HANDLING")])
def test_order_can_be_placed_in_the_past(http, fulfil_after, status):
    order_id = add(http, placedSecondsAgo=3600, fulfilAfter=fulfil_after)

    order = http.get(f"{CHECK}/{order_id}").json()["data"]

    assert (order["time"], order["status"]) == ("2025-10-29T00:00:00.000Z", status)


def test_body_that_is_not_json_is_refused_with_one_message(http):
    response = http.post("/control/orders", content=b"{")

    assert response.status_code == 400
    assert "not JSON" in response.json()["message"]


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({"quantity": 6}, ("FULFILLED", 6)),
        ({"status": "REFUNDED"}, ("REFUNDED", 0)),
        ({"fulfilledQuantity": 3}, ("PARTIALLY_FILLED", 3)),
        ({"typeId": "TEST_PARTIAL"}, ("PARTIALLY_FILLED", 2)),
        ({"pricePerCard": 0}, ("FULFILLED", 4)),
        ({"fulfilAfter": 60}, ("HANDLING", None)),
    ],
)
def test_order_can_be_changed(http, change, end):
    order_id = add(http)

    assert http.patch(f"/control/orders/{order_id}", json=change).status_code == 200
    assert outcome(http, order_id) == end


def test_new_price_keeps_the_outcome(http):
    order_id = add(http, fulfilledQuantity=1)
    http.patch(f"/control/orders/{order_id}", json={"pricePerCard": 10})

    order = http.get(f"{CHECK}/{order_id}").json()["data"]

    assert (order["fulfilled_quantity"], order["fulfilled_amount"]) == (1, 10)


@pytest.mark.parametrize("status", ["FULFILLED", "PARTIALLY_FILLED", "REFUNDED"])
def test_new_quantity_keeps_the_final_status(http, status):
    order_id = add(http, status=status)
    http.patch(f"/control/orders/{order_id}", json={"quantity": 8})

    assert outcome(http, order_id) == (status, {"FULFILLED": 8, "PARTIALLY_FILLED": 4, "REFUNDED": 0}[status])


def test_contradictory_change_is_refused(http):
    order_id = add(http)

    response = http.patch(f"/control/orders/{order_id}", json={"quantity": 1, "status": "PARTIALLY_FILLED"})

    assert response.status_code == 400
    assert outcome(http, order_id) == ("FULFILLED", 4)


def test_unknown_order_cannot_be_changed(http):
    assert http.patch("/control/orders/unknown", json={"quantity": 1}).status_code == 404


def test_calls_are_recorded_with_route_order_and_status(http):
    order_id = add(http)
    placed = http.post("/v3/gift-cards/placeOrder", json={"productId": "p", "typeId": "t", "quantity": 1}).json()
    http.get(f"{CHECK}/{order_id}")
    http.get(f"{CHECK}/unknown")
    http.get("/v3/gift-cards/list")
    http.get("/v4/validate")

    calls = http.get("/control/calls").json()

    assert [(call["route"], call["orderId"], call["status"]) for call in calls] == [
        ("placeOrder", placed["data"]["orderId"], 200),
        ("checkOrder", order_id, 200),
        ("checkOrder", "unknown", 404),
        ("list", None, 200),
        ("unknown", None, 404),
    ]
    assert calls[0]["at"] == START.isoformat()
    assert http.delete("/control/calls").status_code == 204
    assert http.get("/control/calls").json() == []


def test_state_file_restores_orders_with_time_and_outcome(tmp_path):
    state_file = tmp_path / "supplier.json"
    with client(SupplierBook(fulfil_after=60, state_file=state_file, clock=lambda: START)) as http:
        order_id = add(http, status="PARTIALLY_FILLED")
    later = START + timedelta(seconds=59)

    with client(SupplierBook(fulfil_after=0, state_file=state_file, clock=lambda: later)) as http:
        assert outcome(http, order_id) == ("HANDLING", None)
        http.patch(f"/control/orders/{order_id}", json={"fulfilAfter": 59})
        assert outcome(http, order_id) == ("PARTIALLY_FILLED", 2)


def test_state_file_contains_no_card_and_no_key(tmp_path):
    state_file = tmp_path / "supplier.json"
    with client(SupplierBook(fulfil_after=0, state_file=state_file)) as http:
        order_id = add(http)
        http.get(f"{CHECK}/{order_id}")

    text = state_file.read_text()

    assert order_id in text
    assert not [card for card in cards_of(order_id, 4) if card["value"] in text or card["serial"] in text]
    assert SANDBOX_API_KEY not in text
    assert [file.name for file in tmp_path.iterdir()] == ["supplier.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"orders": [{"orderId": "x"}]}', "\xff"])
def test_invalid_state_file_is_refused_by_name(tmp_path, content):
    state_file = tmp_path / "supplier.json"
    state_file.write_text(content, encoding="latin-1")

    with pytest.raises(UnreadableStateError, match=r"supplier\.json does not hold orders"):
        SupplierBook(state_file=state_file)
