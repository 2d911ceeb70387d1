"""Injected faults change exactly the calls and parts of the response that they name."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY, SupplierBook, cards_of, create_app
from giftcards_local.supplier.faults import put_at

CHECK = "/v3/gift-cards/checkOrder"
LIST = "/v3/gift-cards/list"


@pytest.fixture
def http() -> Iterator[TestClient]:
    book = SupplierBook(fulfil_after=0)
    with TestClient(create_app(book), headers={"X-Access-Token": SANDBOX_API_KEY}) as client:
        for order_id in ("order-1", "order-2"):
            client.post("/control/orders", json={"orderId": order_id, "quantity": 2})
        yield client


def fault(http, **spec):
    response = http.post("/control/faults", json=spec)
    assert response.status_code == 200, response.text
    return response.json()["faultId"]


def statuses(http, times, path=f"{CHECK}/order-1"):
    return [http.get(path).status_code for _ in range(times)]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ERR_VALIDATION"),
        (401, "INVALID_ACCESS_TOKEN"),
        (403, "IP_BLOCKED"),
        (404, "NOT_FOUND"),
        (429, "RATE_LIMIT_EXCEEDED"),
        (500, "INTERNAL_ERROR"),
        (503, "SERVICE_UNAVAILABLE"),
    ],
)
def test_status_without_a_body_has_the_documented_envelope(http, status, code):
    fault(http, status=status)

    response = http.get(f"{CHECK}/order-1")

    assert response.status_code == status
    assert response.json()["success"] is False
    assert response.json()["error"]["code"] == code
    assert ("attemptsLeft" in response.json()["error"].get("details", {})) is (status == 401)
    assert "retry-after" not in response.headers


def test_fault_of_one_order_does_not_affect_others(http):
    fault(http, orderId="order-1", status=500)

    assert statuses(http, 1) == [500]
    assert statuses(http, 1, f"{CHECK}/order-2") == [200]
    assert statuses(http, 1, LIST) == [200]


def test_fault_of_one_route_does_not_affect_others(http):
    fault(http, route="list", status=500)

    assert statuses(http, 1, LIST) == [500]
    assert statuses(http, 1) == [200]
    assert statuses(http, 1, "/v3/validate") == [200]


def test_fault_starts_after_calls_and_ends_after_times(http):
    fault(http, status=503, afterCalls=2, times=2)

    assert statuses(http, 6) == [200, 200, 503, 503, 200, 200]


def test_oldest_fault_applies_first(http):
    fault(http, status=429, times=1)
    fault(http, status=500, times=1)

    assert statuses(http, 3) == [429, 500, 200]


def test_after_calls_counts_calls_with_another_fault(http):
    fault(http, status=429, times=2)
    fault(http, status=500, afterCalls=3)

    assert statuses(http, 5) == [429, 429, 200, 500, 500]


def test_fault_stays_until_it_is_removed(http):
    first, _ = fault(http, status=500), fault(http, status=503)

    assert statuses(http, 2) == [500, 500]
    assert http.delete(f"/control/faults/{first}").status_code == 204
    assert statuses(http, 1) == [503]
    assert http.delete("/control/faults").status_code == 204
    assert statuses(http, 1) == [200]
    assert http.delete(f"/control/faults/{first}").status_code == 404


@pytest.mark.parametrize("retry_after", [120, 1.5, "Wed, 29 Oct 2025 01:00:00 GMT", "soon"])
def test_retry_after_is_sent_unchanged(http, retry_after):
    fault(http, status=429, retryAfter=retry_after)

    assert http.get(f"{CHECK}/order-1").headers["Retry-After"] == str(retry_after)


@pytest.mark.parametrize(
    ("spec", "text", "media_type"),
    [
        ({"rawBody": "<html>Bad Gateway</html>"}, "<html>Bad Gateway</html>", "text/html"),
        ({"rawBody": ""}, "", "text/html"),
        ({"body": "plain"}, "plain", "text/html"),
        ({"body": {"a": [1]}}, '{"a":[1]}', "application/json"),
        ({"body": None}, "null", "application/json"),
        ({"rawBody": "{", "headers": {"content-type": "application/json"}}, "{", "application/json"),
    ],
)
def test_body_is_sent_unchanged(http, spec, text, media_type):
    fault(http, **spec)

    response = http.get(f"{CHECK}/order-1")

    assert (response.status_code, response.text) == (200, text)
    assert response.headers["Content-Type"].split(";")[0] == media_type


def test_headers_are_added_to_the_normal_response(http):
    fault(http, headers={"X-Request-Cost": "3", "Content-Type": "text/plain"})

    response = http.get(f"{CHECK}/order-1")

    assert response.json()["data"]["status"] == "FULFILLED"
    assert response.headers["X-Request-Cost"] == "3"
    assert response.headers["Content-Type"] == "text/plain"


def test_merge_changes_single_fields_and_null_deletes(http):
    fault(http, orderId="order-1", merge={"status": "SHIPPED", "fulfilled_quantity": 7, "price_per_card": None})

    body = http.get(f"{CHECK}/order-1").json()

    assert body["success"] is True
    assert body["data"]["status"] == "SHIPPED"
    assert body["data"]["fulfilled_quantity"] == 7
    assert "price_per_card" not in body["data"]
    assert body["data"]["cards"] == cards_of("order-1", 2)


def test_merge_changes_nested_objects(http):
    fault(http, route="list", merge={"pagination": {"totalPages": 9, "page": None}})

    assert http.get(LIST).json()["data"]["pagination"] == {"totalPages": 9, "pageSize": 20, "totalResults": 2}


def test_merge_does_not_change_errors(http):
    fault(http, merge={"status": "FULFILLED"})

    assert http.get(f"{CHECK}/unknown").json()["error"]["code"] == "NOT_FOUND"


def test_wrong_key_is_refused_without_using_up_a_fault(http):
    fault(http, status=500, times=1, afterCalls=1)

    refused = [http.get(f"{CHECK}/order-1", headers={"X-Access-Token": "wrong"}).status_code for _ in range(3)]

    assert refused == [401, 401, 401]
    assert statuses(http, 3) == [200, 500, 200]


@pytest.mark.parametrize("key", [SANDBOX_API_KEY, "wrong"])
def test_connection_is_dropped_before_the_key_check(http, key):
    fault(http, dropConnection="before")

    with pytest.raises(ConnectionAbortedError):
        http.get(f"{CHECK}/order-1", headers={"X-Access-Token": key})


def test_dropped_connection_counts_no_wrong_key(http):
    fault(http, dropConnection="before", times=1)
    with pytest.raises(ConnectionAbortedError):
        http.get("/v3/validate", headers={"X-Access-Token": "wrong"})

    refusal = http.get("/v3/validate", headers={"X-Access-Token": "wrong"}).json()["error"]

    assert refusal["details"]["attemptsLeft"] == 4
    assert [call["status"] for call in http.get("/control/calls").json()] == [None, 401]


@pytest.mark.parametrize(
    ("spec", "placed"),
    [
        ({"status": 500}, 0),
        ({"dropConnection": "before"}, 0),
        ({"dropConnection": "mid-body"}, 1),
        ({"headers": {}}, 1),
    ],
)
def test_order_is_placed_unless_the_fault_replaces_the_answer(http, spec, placed):
    fault(http, route="placeOrder", **spec)
    try:
        http.post("/v3/gift-cards/placeOrder", json={"productId": "p", "typeId": "t", "quantity": 1})
    except ConnectionAbortedError:
        assert "dropConnection" in spec

    assert http.get(LIST).json()["data"]["pagination"]["totalResults"] == 2 + placed


def test_slow_body_is_complete(http):
    fault(http, slowBody={"chunkBytes": 16, "intervalSeconds": 0})

    response = http.get(f"{CHECK}/order-1")

    assert response.json()["data"]["cards"] == cards_of("order-1", 2)
    assert int(response.headers["Content-Length"]) == len(response.content)


@pytest.mark.parametrize(
    ("put", "cards"),
    [
        ({"/cards/*/serial": None}, [{"value": "A", "serial": None}, {"value": "B", "serial": None}]),
        ({"/cards/0/value": " "}, [{"value": " ", "serial": "1"}, {"value": "B", "serial": "2"}]),
        ({"/cards": None}, None),
        ({"/cards/7/value": "x", "/nothing/here": 1}, [{"value": "A", "serial": "1"}, {"value": "B", "serial": "2"}]),
    ],
)
def test_put_changes_items_of_lists(put, cards):
    document = {"cards": [{"value": "A", "serial": "1"}, {"value": "B", "serial": "2"}]}
    for pointer, value in put.items():
        document = put_at(document, pointer.split("/")[1:], value)

    assert document == {"cards": cards}


def test_put_sets_null(http):
    fault(http, put={"/fulfilled_amount": None})

    assert http.get(f"{CHECK}/order-1").json()["data"]["fulfilled_amount"] is None


@pytest.mark.parametrize("spec", [{}, {"status": 404}, {"rawBody": "<html>"}])
def test_byte_order_mark_precedes_any_response(http, spec):
    plain = http.get(f"{CHECK}/order-1").content if not spec else None
    fault(http, byteOrderMark=True, **spec)

    content = http.get(f"{CHECK}/order-1").content

    assert content[:3] == b"\xef\xbb\xbf"
    assert plain is None or json.loads(content[3:])["data"] == json.loads(plain)["data"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"put": {"cards": None}}, "put"),
        ({"route": "catalog"}, "route"),
        ({"status": 99}, "status"),
        ({"times": 0}, "times"),
        ({"delaySeconds": -1}, "delaySeconds"),
        ({"dropConnection": "after"}, "dropConnection"),
        ({"headers": {"X": "a\r\nb"}}, "headers"),
        ({"retry_after": 3}, "retry_after"),
        ({"slowBody": {"chunkBytes": 0, "intervalSeconds": 1}}, "chunkBytes"),
    ],
)
def test_invalid_fault_is_refused_with_one_message(http, spec, field):
    response = http.post("/control/faults", json=spec)

    assert response.status_code == 400
    assert set(response.json()) == {"message"}
    assert field in response.json()["message"]
    assert "\n" not in response.json()["message"]


def test_slow_call_is_not_counted_after_a_reset():
    # The simulation resets its book in this way
    book, wrong = SupplierBook(), {"X-Access-Token": "wrong"}
    with TestClient(create_app(book)) as http, ThreadPoolExecutor() as pool:
        fault(http, delaySeconds=0.3)
        slow = pool.submit(http.get, f"{CHECK}/order-1", headers=wrong)
        assert wait_for(lambda: len(book.calls) == 1, within_seconds=5)
        SupplierBook.__init__(book)
        assert slow.result().status_code == 401
        refused = http.get(f"{CHECK}/order-1", headers=wrong)

    assert refused.json()["error"]["details"]["attemptsLeft"] == 4
