"""The simulator checks keys, counts wrong ones and blocks the address, as the supplier does."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from giftcards_local.supplier import SANDBOX_API_KEY, BlockRule, SupplierBook, create_app, key_id

GOOD, WRONG = SANDBOX_API_KEY, "wrong-key-1234567890"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2025, 10, 29, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def http(clock) -> Iterator[TestClient]:
    with TestClient(create_app(SupplierBook(clock=clock))) as client:
        yield client


def present(http, key, path="/v3/validate"):
    response = http.get(path, headers={} if key is None else {"X-Access-Token": key})
    return response.status_code, response.json().get("error", {}).get("code"), response.json()


@pytest.mark.parametrize("path", ["/v3/validate", "/v3/gift-cards/list", "/v3/gift-cards/checkOrder/abc"])
def test_every_route_requires_a_key(http, path):
    assert present(http, None, path)[:2] == (401, "MISSING_ACCESS_TOKEN")
    assert present(http, WRONG, path)[:2] == (401, "INVALID_ACCESS_TOKEN")


def test_key_is_checked_before_the_body(http):
    response = http.post("/v3/gift-cards/placeOrder", content=b"nonsense")

    assert response.json()["error"]["code"] == "MISSING_ACCESS_TOKEN"


def test_valid_key_is_described_and_echoed(http):
    status, _, body = present(http, GOOD)

    assert status == 200
    assert body["data"]["apiKey"] == {
        "key": GOOD,
        "isEnabled": True,
        "type": "SANDBOX",
        "allowedips": [],
        "scope": "READ-WRITE",
    }


def test_five_wrong_keys_block_every_key(http, clock):
    left = [present(http, WRONG)[2]["error"]["details"]["attemptsLeft"] for _ in range(5)]

    assert left == [4, 3, 2, 1, 0]
    for key in (WRONG, GOOD, None):
        assert present(http, key)[:2] == (403, "IP_BLOCKED")
    clock.now += timedelta(seconds=899)
    assert present(http, GOOD)[0] == 403
    clock.now += timedelta(seconds=1)
    assert present(http, GOOD)[0] == 200


def test_count_restarts_after_a_block(http, clock):
    for _ in range(5):
        present(http, WRONG)
    clock.now += timedelta(seconds=900)

    assert present(http, WRONG)[2]["error"]["details"]["attemptsLeft"] == 4


def test_valid_key_resets_the_count(http):
    for _ in range(4):
        present(http, WRONG)
    present(http, GOOD)

    assert present(http, WRONG)[2]["error"]["details"]["attemptsLeft"] == 4


def test_missing_key_is_not_counted(http):
    for _ in range(10):
        present(http, None)

    assert present(http, GOOD)[0] == 200


def test_attempts_and_duration_of_the_block_can_be_set(clock):
    book = SupplierBook(clock=clock, block=BlockRule(attempts=2, seconds=10))
    with TestClient(create_app(book)) as http:
        assert [present(http, WRONG)[0] for _ in range(3)] == [401, 401, 403]
        clock.now += timedelta(seconds=10)
        assert present(http, GOOD)[0] == 200


def test_block_can_be_lifted(http):
    for _ in range(5):
        present(http, WRONG)

    assert http.delete("/control/blocks").status_code == 204
    assert present(http, GOOD)[0] == 200


def test_keys_can_be_replaced(http):
    assert http.put("/control/keys", json={"valid": ["new-key"]}).status_code == 204

    assert present(http, "new-key")[0] == 200
    assert present(http, GOOD)[0] == 401


def test_calls_identify_keys_by_hash(http):
    for key in (GOOD, WRONG, None):
        present(http, key)

    calls = http.get("/control/calls").json()

    assert [call["keyId"] for call in calls] == [key_id(GOOD), key_id(WRONG), None]
    assert [call["status"] for call in calls] == [200, 401, 401]
    assert GOOD not in json.dumps(calls)
    assert WRONG not in json.dumps(calls)


def test_refused_control_request_quotes_no_key(http):
    response = http.put("/control/keys", json={"valid": [GOOD], "key": WRONG})

    assert response.status_code == 400
    assert GOOD not in response.text
    assert WRONG not in response.text


def test_book_shows_no_key(clock):
    book = SupplierBook(clock=clock)

    assert GOOD not in repr(vars(book)) + repr(vars(book.keys))
