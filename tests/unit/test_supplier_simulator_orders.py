"""The simulator responds to orders as the supplier documents it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from giftcards_local.supplier import SANDBOX_API_KEY, SupplierBook, cards_of, create_app

PLACE = "/v3/gift-cards/placeOrder"
CHECK = "/v3/gift-cards/checkOrder"
LIST = "/v3/gift-cards/list"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2025, 10, 29, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def http(clock) -> Iterator[TestClient]:
    book = SupplierBook(fulfil_after=8, clock=clock)
    with TestClient(create_app(book), headers={"X-Access-Token": SANDBOX_API_KEY}) as client:
        yield client


def place(http, quantity=2, type_id="type_001"):
    body = {"productId": "507f1f77bcf86cd799439011", "typeId": type_id, "quantity": quantity}
    return http.post(PLACE, json=body).json()["data"]["orderId"]


def add(http, **order):
    response = http.post("/control/orders", json={"quantity": 2, **order})
    assert response.status_code == 200, response.text
    return response.json()["orderId"]


def check(http, order_id):
    return http.get(f"{CHECK}/{order_id}").json()["data"]


def test_placed_order_has_an_id_of_24_hex_digits(http):
    body = http.post(PLACE, json={"productId": "p", "typeId": "t", "quantity": 1}).json()

    assert re.fullmatch(r"[0-9a-f]{24}", body["data"]["orderId"])
    assert body["success"] is True
    assert body["meta"] == {"timestamp": "2025-10-29T01:00:00.000Z"}
    assert body["requestId"].startswith("req_")


def test_pending_order_has_exactly_the_documented_fields(http, clock):
    order_id = place(http)
    clock.advance(7.9)

    assert check(http, order_id) == {
        "_id": order_id,
        "status": "HANDLING",
        "quantity": 2,
        "product": "507f1f77bcf86cd799439011",
        "type": "type_001",
        "time": "2025-10-29T01:00:00.000Z",
    }


def test_fulfilled_order_has_exactly_the_documented_fields(http, clock):
    order_id = place(http)
    clock.advance(8)

    assert check(http, order_id) == {
        "_id": order_id,
        "status": "FULFILLED",
        "quantity": 2,
        "fulfilled_quantity": 2,
        "fulfilled_amount": 980,
        "price_per_card": 490,
        "cards": cards_of(order_id, 2),
        "time": "2025-10-29T01:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("type_id", "quantity", "end"),
    [
        ("TEST_REFUND", 3, ("REFUNDED", 0)),
        ("TEST_PARTIAL", 5, ("PARTIALLY_FILLED", 2)),
        ("TEST_PARTIAL", 1, ("REFUNDED", 0)),
        ("anything", 3, ("FULFILLED", 3)),
    ],
)
def test_sandbox_type_determines_the_outcome(http, clock, type_id, quantity, end):
    order_id = place(http, quantity, type_id)
    clock.advance(60)

    order = check(http, order_id)

    delivered = end[1]
    assert (order["status"], order["fulfilled_quantity"]) == end
    assert order["fulfilled_amount"] == 490 * delivered
    assert order["cards"] == cards_of(order_id, delivered)


def test_amounts_have_no_rounding_errors(http):
    order_id = add(http, quantity=3, pricePerCard=490.1, fulfilAfter=0)

    assert check(http, order_id)["fulfilled_amount"] == 1470.3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"productId":"p","typeId":"t"}',
        b'{"productId":"p","typeId":"t","quantity":0}',
        b'{"productId":"p","typeId":"t","quantity":"2"}',
        b'{"productId":"","typeId":"t","quantity":1}',
    ],
)
def test_invalid_order_is_refused_and_not_placed(http, body):
    response = http.post(PLACE, content=body)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "ERR_VALIDATION")
    assert response.json()["success"] is False
    assert http.get(LIST).json()["data"]["items"] == []


def test_unknown_order_is_an_enveloped_404(http):
    response = http.get(f"{CHECK}/6901616fe9e88196b4eb64b3")

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize("order_id", ["a%20b", "%C3%A9", "x" * 129, "%00", "%FF", "a%0A"])
def test_invalid_order_id_is_a_validation_error(http, order_id):
    response = http.get(f"{CHECK}/{order_id}")

    assert (response.status_code, response.json()["error"]["code"]) == (400, "ERR_VALIDATION")


def test_encoded_order_id_can_contain_any_visible_character(http):
    order_id = add(http, orderId="a/b?c#d%2F..~", fulfilAfter=0)

    assert check(http, "a%2Fb%3Fc%23d%252F..~")["_id"] == order_id


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v3/nothing"),
        ("GET", "/"),
        ("GET", f"{CHECK}/"),
        ("GET", f"{CHECK}/a/b"),
        ("GET", f"{LIST}/"),
        ("POST", LIST),
    ],
)
def test_unknown_path_is_a_404_without_envelope(http, method, path):
    response = http.request(method, path, headers={"X-Access-Token": ""})

    assert response.status_code == 404
    assert set(response.json()) == {"message", "error", "statusCode"}


def test_list_is_newest_first_with_cards_of_final_orders(http, clock):
    old = add(http, fulfilAfter=0)
    clock.advance(1)
    first, second = add(http), add(http)

    data = http.get(LIST).json()["data"]

    assert [item["_id"] for item in data["items"]] == [second, first, old]
    assert data["items"][0]["status"] == "HANDLING"
    assert data["items"][2]["cards"] == cards_of(old, 2)
    assert data["pagination"] == {"page": 1, "pageSize": 20, "totalPages": 1, "totalResults": 3}


def test_list_is_paged(http):
    placed = [add(http) for _ in range(5)]

    data = http.get(LIST, params={"page": 2, "pageSize": 2}).json()["data"]

    assert [item["_id"] for item in data["items"]] == [placed[2], placed[1]]
    assert data["pagination"] == {"page": 2, "pageSize": 2, "totalPages": 3, "totalResults": 5}


def test_list_is_limited_to_a_time_range(http, clock):
    placed = []
    for _ in range(4):
        placed.append(add(http))
        clock.advance(60)

    query = {"from": "2025-10-29T01:01:00.000Z", "to": "2025-10-29T02:02:00+01:00"}

    assert [item["_id"] for item in http.get(LIST, params=query).json()["data"]["items"]] == [placed[2], placed[1]]


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "pageSize=0", "pageSize=101", "from=yesterday", "to=2025-13-01", "from=1761699600"]
)
def test_invalid_list_query_is_a_validation_error(http, query):
    response = http.get(f"{LIST}?{query}")

    assert (response.status_code, response.json()["error"]["code"]) == (400, "ERR_VALIDATION")


@given(st.text(min_size=1), st.integers(1, 20))
def test_cards_are_unique_and_reproducible(order_id, count):
    cards = cards_of(order_id, count)

    assert all(re.fullmatch(r"SANDBOX-CARD(-[A-Z2-7]{4}){4}", card["value"]) for card in cards)
    assert all(re.fullmatch(r"SANDBOX-[A-Z2-7]{12}", card["serial"]) for card in cards)
    assert len({card["value"] for card in cards}) == count
    assert cards_of(order_id, count + 1)[:count] == cards
    assert cards_of(order_id + "x", count) != cards


def test_distribution_is_reproducible_per_order(http, clock):
    spread = {"distribution": "lognormal", "median": 8, "sigma": 0.8, "seed": 1}
    books = [SupplierBook(fulfil_after=spread, clock=clock) for _ in range(2)]
    seconds = []
    for book in books:
        with TestClient(create_app(book)) as client:
            ids = [add(client, orderId=f"order-{number}") for number in range(200)]
        seconds.append([book.order(order_id).fulfil_after for order_id in ids])

    assert seconds[0] == seconds[1]
    assert len(set(seconds[0])) == 200
    assert 6.5 < sorted(seconds[0])[100] < 9.5


def test_uniform_distribution_stays_within_its_bounds(http, clock):
    order_ids = [add(http, fulfilAfter={"distribution": "uniform", "low": 3, "high": 4, "seed": 5}) for _ in range(20)]

    clock.advance(2.9)
    assert {check(http, order_id)["status"] for order_id in order_ids} == {"HANDLING"}
    clock.advance(1.2)
    assert {check(http, order_id)["status"] for order_id in order_ids} == {"FULFILLED"}
