"""Every answer of the supplier, and everything that can come instead of one, means what its documents say."""

import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from giftcards.adapters.oneclickdz.supplier import (
    MAX_ANSWER_BYTES,
    TOTAL_TIMEOUT_SECONDS,
    Supplier,
    new_client,
    retry_after_seconds,
)
from giftcards.contracts.supplier import MAX_CARD_TEXT, OrderProgress, SettledOrder, SupplierStatus
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure
from support.cloud import template
from support.examples import NOW, ORDER_ID
from support.secrets import API_KEY, card_data, leaks, plaintext
from support.supplier import BASE_URL, SupplierDouble, answered, order_data, refused

pytestmark = pytest.mark.usefixtures("no_leak")

MAX_LENGTH = 30 * 86_400
HTML = f"<html><title>502 Bad Gateway</title>{API_KEY}</html>"
visible_ascii = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
each_view = pytest.mark.parametrize("view", [OrderProgress, SettledOrder])


def ask(
    supplier: SupplierDouble, view: type[Any] = SettledOrder, order_id: str = ORDER_ID, base_url: str = BASE_URL
) -> Any:
    return Supplier(base_url, supplier.client()).check_order(order_id, SecretStr(API_KEY), view)


def ask_and_get(supplier: SupplierDouble, answer: httpx.Response | Exception, view: type[Any] = SettledOrder) -> Any:
    supplier.will(answer)
    result = ask(supplier, view)
    assert not leaks(repr(result), str(result)), "the result shows a card or the key"
    return result


def unenveloped(status: int) -> httpx.Response:
    body = {"message": f"Cannot GET {API_KEY}", "error": "Not Found", "statusCode": status}
    return httpx.Response(status, json=body)


# -------------------------------------------------------------- what is sent


@pytest.mark.parametrize("base_url", [BASE_URL, f"{BASE_URL}/"])
def test_order_request_has_its_path_and_the_key_header(supplier: SupplierDouble, base_url: str):
    supplier.will(answered())

    ask(supplier, base_url=base_url)

    (request,) = supplier.requests
    assert (request.method, str(request.url)) == ("GET", f"{BASE_URL}/v3/gift-cards/checkOrder/{ORDER_ID}")
    assert request.headers["X-Access-Token"] == API_KEY
    assert "Authorization" not in request.headers
    assert request.headers["User-Agent"].startswith("giftcards/")
    assert request.content == b""


def test_call_has_connect_read_write_and_pool_timeouts(supplier: SupplierDouble):
    supplier.will(answered())

    ask(supplier)

    limits = supplier.requests[0].extensions["timeout"]
    assert set(limits) == {"connect", "read", "write", "pool"}
    assert all(limit is not None and 0 < limit <= 10 for limit in limits.values())
    assert limits["connect"] < limits["read"]
    assert new_client().timeout.as_dict() == limits


def test_redirect_is_not_followed(supplier: SupplierDouble):
    elsewhere = httpx.Response(302, headers={"Location": "https://elsewhere.test/"})

    assert ask_and_get(supplier, elsewhere).kind is FailureKind.BUSY
    assert len(supplier.requests) == 1


@pytest.mark.parametrize(
    "order_id", ["a/b", "../validate", "a?b=c", "a#b", "a%2Fb", "%2e%2e", "..;", "a\\b", "...", "~"]
)
def test_any_order_id_is_one_segment_of_the_path(supplier: SupplierDouble, order_id: str):
    supplier.will(answered(order_data(_id=order_id)))

    assert isinstance(ask(supplier, order_id=order_id), SettledOrder)

    prefix, _, segment = supplier.requests[0].url.raw_path.decode().rpartition("/")
    assert prefix == "/v3/gift-cards/checkOrder"
    assert unquote(segment) == order_id
    assert not set(segment) & set("?#\\")


@given(order_id=visible_ascii)
def test_no_order_id_reaches_another_route(order_id: str):
    supplier = SupplierDouble()
    supplier.will(refused(404, "NOT_FOUND"))

    assert ask(supplier, order_id=order_id).kind is FailureKind.ORDER_UNKNOWN

    for request in supplier.requests:
        prefix, _, segment = request.url.raw_path.decode().rpartition("/")
        assert (request.url.host, prefix, unquote(segment)) == ("supplier.test", "/v3/gift-cards/checkOrder", order_id)


@pytest.mark.parametrize("order_id", [".", ".."])
def test_order_id_that_cannot_be_a_segment_of_a_path_is_not_sent(supplier: SupplierDouble, order_id: str):
    assert ask(supplier, order_id=order_id).kind is FailureKind.ORDER_UNKNOWN
    assert supplier.requests == []


BUSY, KEY_REFUSED, REFUSED = FailureKind.BUSY, FailureKind.KEY_REFUSED, FailureKind.ORDER_REFUSED
FIRST, SECOND = card_data(2)

# ----------------------------------------------------------------- successes


@each_view
@pytest.mark.parametrize("status", SupplierStatus)
def test_every_status_is_read(supplier: SupplierDouble, view: type[OrderProgress], status: SupplierStatus):
    answer = ask_and_get(supplier, answered(order_data(status, 4)), view)

    assert isinstance(answer, view)
    assert (answer.order_id, answer.status) == (ORDER_ID, status)


def test_settled_order_has_its_cards_counts_and_exact_amounts(supplier: SupplierDouble):
    answer = ask_and_get(supplier, answered(order_data("PARTIALLY_FILLED", 4, fulfilled_amount=981.1)))

    assert [plaintext(card) for card in answer.cards] == card_data(2)
    assert (answer.quantity, answer.fulfilled_quantity) == (4, 2)
    assert (str(answer.fulfilled_amount), str(answer.price_per_card)) == ("981.1", "490.5")


def test_progress_of_an_order_takes_nothing_of_its_cards(supplier: SupplierDouble):
    data = order_data("FULFILLED", 2, cards=[{"nothing": "of"}, "what", "is", 5], fulfilled_quantity="many")

    progress = ask_and_get(supplier, answered(data), OrderProgress)

    assert progress.model_dump() == {"order_id": ORDER_ID, "status": SupplierStatus.FULFILLED}


def test_refund_needs_neither_cards_nor_counts_nor_amounts(supplier: SupplierDouble):
    bare = order_data("REFUNDED", cards=None, fulfilled_quantity=None, fulfilled_amount=None, price_per_card=None)

    assert ask_and_get(supplier, answered(bare)).cards == ()


def test_amounts_can_be_zero_as_they_are_in_the_sandbox(supplier: SupplierDouble):
    answer = ask_and_get(supplier, answered(order_data(fulfilled_amount=0, price_per_card=0)))

    assert (answer.fulfilled_amount, answer.price_per_card) == (0, 0)


@each_view
@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("fulfilled", "FULFILLED"),
        ("Partially-Filled", "PARTIALLY_FILLED"),
        ("partially filled", "PARTIALLY_FILLED"),
        ("PartiallyFilled", "PARTIALLY_FILLED"),
        (" REFUNDED ", "REFUNDED"),
        ("handling", "HANDLING"),
    ],
)
def test_status_is_read_in_any_case_and_separators(
    supplier: SupplierDouble, view: type[OrderProgress], written: str, status: str
):
    answer = ask_and_get(supplier, answered(order_data(status, 4) | {"status": written}), view)

    assert answer.status == status


@pytest.mark.parametrize("serial", [None, "", " ", "\u200b\ufeff", "\u3164", "\u2800"])
def test_card_without_a_serial_has_only_a_value(supplier: SupplierDouble, serial: str | None):
    answer = ask_and_get(supplier, answered(order_data(cards=[{"value": "A", "serial": serial}, {"value": "B"}])))

    assert [plaintext(card) for card in answer.cards] == [
        {"value": "A", "serial": None},
        {"value": "B", "serial": None},
    ]


def test_whole_number_is_a_card_of_these_digits(supplier: SupplierDouble):
    body = b'{"success":true,"data":{"_id":"%s","status":"FULFILLED","quantity":1,"cards":[{"value":%d,"serial":7}]}}'
    digits = 12345678901234567890123456789012345678901234567890

    answer = ask_and_get(supplier, httpx.Response(200, content=body % (ORDER_ID.encode(), digits)))

    assert [plaintext(card) for card in answer.cards] == [{"value": str(digits), "serial": "7"}]


def test_same_value_with_other_serials_is_another_card(supplier: SupplierDouble):
    answer = ask_and_get(supplier, answered(order_data(cards=[FIRST, FIRST | {"serial": "another"}])))

    assert len(answer.cards) == 2


@pytest.mark.parametrize("two", [2, 2.0, "2", "2.0", " 2 ", "02"])
def test_count_is_read_in_any_spelling(supplier: SupplierDouble, two: Any):
    answer = ask_and_get(supplier, answered(order_data(quantity=2, fulfilled_quantity=two) | {"quantity": two}))

    assert (answer.quantity, answer.fulfilled_quantity, len(answer.cards)) == (2, 2, 2)


def test_fulfilled_order_without_a_count_has_all_its_cards(supplier: SupplierDouble):
    answer = ask_and_get(supplier, answered(order_data(fulfilled_quantity=None)))

    assert (answer.fulfilled_quantity, len(answer.cards)) == (None, 2)


@pytest.mark.parametrize("cards", [b"null", b"[]"])
def test_refund_may_say_null_for_no_cards(supplier: SupplierDouble, cards: bytes):
    body = answered(order_data("REFUNDED")).content.replace(b'"cards": []', b'"cards": ' + cards)

    assert ask_and_get(supplier, httpx.Response(200, content=body)).cards == ()


AMOUNTS: list[tuple[str, str | None]] = [
    ("490", "490"),
    ("490.5", "490.5"),
    ('"490"', "490"),
    ('"490.00"', "490.00"),
    ('" 490 "', "490"),
    ("4.9e2", "490"),
    ("0", "0"),
    ("null", None),
    ("-1", None),
    ('"-1"', None),
    ('""', None),
    ('"490 DZD"', None),
    ('"490,00"', None),
    ('"1.490,00"', None),
    ('"\u0664\u0669\u0660"', None),
    ("true", None),
    ("NaN", None),
    ("Infinity", None),
    ("[490]", None),
    ('{"amount": 490}', None),
    ("1e400", None),
    ("9" * 39, None),
    ("0." + "1" * 21, None),
]


@pytest.mark.parametrize(("written", "read"), AMOUNTS)
@pytest.mark.parametrize("field", ["fulfilled_amount", "price_per_card"])
def test_unreadable_amount_holds_no_card_back(supplier: SupplierDouble, field: str, written: str, read: str | None):
    body = answered(order_data(**{field: "?"})).content.replace(b'"?"', written.encode())

    answer = ask_and_get(supplier, httpx.Response(200, content=body))

    assert getattr(answer, field) == (None if read is None else Decimal(read))
    assert len(answer.cards) == 2


def test_amounts_may_be_absent(supplier: SupplierDouble):
    answer = ask_and_get(supplier, answered(order_data(fulfilled_amount=None, price_per_card=None)))

    assert (answer.fulfilled_amount, answer.price_per_card, len(answer.cards)) == (None, None, 2)


@each_view
@pytest.mark.parametrize("success", [True, "true", "True", 1, "1", None])
def test_success_may_be_spelled_differently_or_missing(
    supplier: SupplierDouble, view: type[OrderProgress], success: Any
):
    with_it, without = {"success": success, "data": order_data()}, {"data": order_data()}

    for body in (with_it, without):
        assert isinstance(ask_and_get(supplier, httpx.Response(200, content=json.dumps(body)), view), view)


@each_view
@pytest.mark.parametrize("status", [201, 202, 203])
def test_order_is_read_with_any_status_of_success(supplier: SupplierDouble, view: type[OrderProgress], status: int):
    assert isinstance(ask_and_get(supplier, httpx.Response(status, content=answered().content), view), view)


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@each_view
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_byte_order_mark_and_wider_encodings_are_read(
    supplier: SupplierDouble, view: type[OrderProgress], encoding: str
):
    body = json.dumps({"success": True, "data": order_data()}, ensure_ascii=False).encode(encoding)

    assert isinstance(ask_and_get(supplier, httpx.Response(200, content=body), view), view)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_error_envelope_is_read_behind_a_byte_order_mark_too(supplier: SupplierDouble, encoding: str):
    body = refused(401, "INVALID_ACCESS_TOKEN").content.decode().encode(encoding)

    assert ask_and_get(supplier, httpx.Response(401, content=body)).kind is KEY_REFUSED


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (403, {"success": False, "error": "IP_BLOCKED"}, FailureKind.ADDRESS_BLOCKED, "IP_BLOCKED"),
        (400, {"success": False, "error": "Invalid access token"}, KEY_REFUSED, "INVALID_ACCESS_TOKEN"),
        (403, {"success": False, "code": "SOMETHING_NEW"}, REFUSED, "SOMETHING_NEW"),
        (403, {"success": False, "error": {"code": 1004}}, REFUSED, "1004"),
        (403, {"success": False, "error": {"message": "no"}}, REFUSED, "UNREADABLE_CODE"),
        (403, {"success": False}, REFUSED, "UNREADABLE_CODE"),
        (403, {"success": "false", "error": {"code": "SOMETHING_NEW"}}, REFUSED, "SOMETHING_NEW"),
        (404, {"error": {"code": "NOT_FOUND"}}, FailureKind.ORDER_UNKNOWN, "NOT_FOUND"),
        (200, {"error": {"code": "NOT_FOUND"}}, FailureKind.ORDER_UNKNOWN, "NOT_FOUND"),
        (200, {"success": False, "error": "Key out of stock"}, REFUSED, "KEY_OUT_OF_STOCK"),
        (404, {"message": "Cannot GET", "error": "Not Found", "statusCode": 404}, BUSY, None),
        (401, {"message": "Unauthorized"}, BUSY, None),
        (403, {"error": {"code": 403, "message": "Forbidden"}}, BUSY, None),
        (403, ["not", "an", "object"], BUSY, None),
    ],
)
def test_error_envelope_is_read_in_its_variants(
    supplier: SupplierDouble, status: int, body: Any, kind: FailureKind, code: str | None
):
    failure = ask_and_get(supplier, httpx.Response(status, json=body))

    assert (failure.kind, failure.code) == (kind, code)


@each_view
def test_what_the_documents_do_not_name_is_ignored(supplier: SupplierDouble, view: type[OrderProgress]):
    answer = answered(order_data(addedLater={"a": 1}), meta={"timestamp": "t"}, requestId="req_1", more=[1])

    assert isinstance(ask_and_get(supplier, answer, view), view)


@each_view
@pytest.mark.parametrize("number", ["1e999999999999999999999", "-1e-999999999999999999999", "9" * 5_000])
def test_number_beyond_all_bounds_breaks_no_answer(supplier: SupplierDouble, view: type[OrderProgress], number: str):
    body = f'{{"price": {number}, {answered(order_data()).text[1:]}'

    assert isinstance(ask_and_get(supplier, httpx.Response(200, text=body), view), view)


def test_error_code_beside_a_number_beyond_all_bounds_counts(supplier: SupplierDouble):
    body = '{"success":false,"n":1e999999999999999999999,"error":{"code":"INVALID_ACCESS_TOKEN"}}'

    assert ask_and_get(supplier, httpx.Response(401, text=body)).kind is KEY_REFUSED


def test_error_while_reading_is_a_failure_of_that_order(supplier: SupplierDouble, monkeypatch: pytest.MonkeyPatch):
    def fail(_body: bytes) -> None:
        raise KeyError("SECRET-CARD")

    monkeypatch.setattr("giftcards.adapters.oneclickdz.supplier.read_json", fail)
    failure = ask_and_get(supplier, answered(order_data()))

    assert failure.kind is FailureKind.CONTRACT_BROKEN
    assert "SECRET-CARD" not in failure.message


def test_message_about_thousands_of_broken_fields_is_short(supplier: SupplierDouble):
    cards = [{"value": {}, "serial": {}} for _ in range(5_000)]
    failure = ask_and_get(supplier, answered(order_data(quantity=5_000) | {"cards": cards}), SettledOrder)

    assert failure.kind is FailureKind.CONTRACT_BROKEN
    assert len(failure.message) < 1_000


# --------------------------------------------------------------- error table


@each_view
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ERR_VALIDATION", FailureKind.ORDER_REJECTED),
        (400, "INVALID_ORDER_ID", FailureKind.ORDER_REJECTED),
        (401, "MISSING_ACCESS_TOKEN", KEY_REFUSED),
        (401, "INVALID_ACCESS_TOKEN", KEY_REFUSED),
        (401, "ERR_AUTH", KEY_REFUSED),
        (401, "AUTH_UNAVAILABLE", BUSY),
        (403, "IP_BLOCKED", FailureKind.ADDRESS_BLOCKED),
        (403, "IP_NOT_ALLOWED", FailureKind.ACCESS_DENIED),
        (403, "API_DISABLED", FailureKind.ACCESS_DENIED),
        (403, "IP_NOT_WHITELISTED", REFUSED),
        (403, "API_SUSPENDED", REFUSED),
        (403, "TOKEN_EXPIRED", REFUSED),
        (400, "INVALID_API_KEY", REFUSED),
        (422, "PROVIDER_API_ERROR", REFUSED),
        (200, "PROVIDER_API_ERROR", REFUSED),
        (503, "PROVIDER_API_ERROR", BUSY),
        (403, "SOMETHING_NEW", REFUSED),
        (403, "KEY_OUT_OF_STOCK", REFUSED),
        (403, "SHIP_TO_COUNTRY", REFUSED),
        (403, "NO_BALANCE", REFUSED),
        (403, "INSUFFICIENT_BALANCE", REFUSED),
        (403, "DUPLICATED_REF", REFUSED),
        *((status, "SOMETHING_NEW", REFUSED) for status in (200, 302, 402, 405, 406, 409, 410, 415, 422, 423, 451)),
        *((status, "SOMETHING_NEW", BUSY) for status in (408, 425)),
        (401, "SOMETHING_NEW", KEY_REFUSED),
        (404, "SOMETHING_NEW", FailureKind.ORDER_UNKNOWN),
        (429, "IP_TOO_MANY_REQUESTS", FailureKind.RATE_LIMITED),
        *((status, "INVALID_ACCESS_TOKEN", KEY_REFUSED) for status in (200, 400, 403, 404, 422, 500)),
        *((status, "IP_BLOCKED", FailureKind.ADDRESS_BLOCKED) for status in (200, 400, 401, 429, 503)),
        *((status, "RATE_LIMIT_EXCEEDED", FailureKind.RATE_LIMITED) for status in (200, 400, 403, 503)),
        (404, "NOT_FOUND", FailureKind.ORDER_UNKNOWN),
        (429, "RATE_LIMIT_EXCEEDED", FailureKind.RATE_LIMITED),
        (500, "INTERNAL_ERROR", BUSY),
        (500, "INTERNAL_SERVER_ERROR", BUSY),
        (503, "SERVICE_UNAVAILABLE", BUSY),
        (503, "AUTH_UNAVAILABLE", BUSY),
        (504, "SOMETHING_NEW", BUSY),
        (503, "API_OVERLOADED", BUSY),
        (418, "SOMETHING_NEW", REFUSED),
        (200, "NOT_FOUND", FailureKind.ORDER_UNKNOWN),
        (200, "INTERNAL_ERROR", BUSY),
    ],
)
def test_enveloped_error_means_what_the_documents_say(
    supplier: SupplierDouble, view: type[OrderProgress], status: int, code: str, kind: FailureKind
):
    failure = ask_and_get(supplier, refused(status, code), view)

    assert (failure.kind, failure.code, failure.status) == (kind, code, status)
    assert f"{status} {code}" in failure.message


@pytest.mark.parametrize(
    ("written", "read"),
    [
        *(
            (code, "IP_BLOCKED")
            for code in ("IP-BLOCKED", "ip_blocked", "Ip Blocked", "ipBlocked", "ip.blocked", "IPBlocked")
        ),
        *((code, "DUPLICATED_REF") for code in ("DUPLICATED-REF", " duplicated ref ", "DUPLICATEDREF")),
        ("something-new", "SOMETHING_NEW"),
        ("somethingNew", "SOMETHING_NEW"),
        ("orders/closed:err.404", "ORDERS_CLOSED_ERR_404"),
        ("1004", "1004"),
        ("E-1004", "E_1004"),
    ],
)
def test_code_is_read_in_any_case_and_separators(supplier: SupplierDouble, written: str, read: str):
    failure = ask_and_get(supplier, refused(403, written))

    assert failure.code == read
    assert f"403 {read}" in failure.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, BUSY),
        (301, BUSY),
        (400, BUSY),
        (401, BUSY),
        (403, BUSY),
        (404, BUSY),  # a wrong URL or a deployment, not an unknown order
        (405, BUSY),
        (429, FailureKind.RATE_LIMITED),
        (500, BUSY),
        (502, BUSY),
        (599, BUSY),
    ],
)
@pytest.mark.parametrize("body", ["router", "html", "empty", "cut"])
def test_error_outside_the_envelope_is_not_about_the_order(
    supplier: SupplierDouble, status: int, kind: FailureKind, body: str
):
    enveloped = refused(status, "NOT_FOUND").content
    answer = {
        "router": unenveloped(status),
        "html": httpx.Response(status, html=HTML),
        "empty": httpx.Response(status),
        "cut": httpx.Response(status, content=enveloped[: len(enveloped) // 2]),
    }[body]

    failure = ask_and_get(supplier, answer)

    assert (failure.kind, failure.code, failure.status) == (kind, None, status)


@pytest.mark.parametrize(
    "code",
    [
        card_data(1)[0]["value"],
        "WXYZ-ABCD-QRST-MNOP",
        "SANDBOX-CARD-WXYZ-ABCD-QRST-MNOP",
        "wxyz abcd qrst",
        "AB12CD34",
        "A1B2-C3D4",
        "12345678",
        "1234-5678",
        "1234-5678-9012",
        "x" * 16,
        "A_" * 24 + "B",
        "",
        "-",
        "A\nB",
        "É_CODE",
    ],
)
def test_error_code_that_is_none_is_not_repeated(supplier: SupplierDouble, code: str):
    failure = ask_and_get(supplier, refused(500, code))

    assert failure.code not in {code, code.upper()}
    assert "500 UNREADABLE_CODE" in failure.message


# ------------------------------------------------------------ broken contract


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """Give a FULFILLED order of two cards with some fields changed, and those changed to None left out."""
    return {name: value for name, value in (order_data() | changes).items() if value is not None}


TWICE = [FIRST, FIRST]
BROKEN_FOR_BOTH: dict[str, dict[str, Any]] = {
    "unknown status": {"status": "CANCELLED"},
    "status a sentence": {"status": "FULFILLED!"},
    "status missing": {"status": None},
    "status no text": {"status": 5},
    "order id missing": {"_id": None},
    "order id a number": {"_id": 6901616},
    "order id a fraction": {"_id": 1.5},
    "order id an object": {"_id": {"$oid": ORDER_ID}},
    "order id with a blank": {"_id": f"{ORDER_ID} "},
    "order id empty": {"_id": ""},
    "order id of another order": {"_id": "6901616fe9e88196b4eb64b4"},
    "order id in another case": {"_id": ORDER_ID.upper()},
}
BROKEN_WHEN_SETTLED: dict[str, dict[str, Any]] = {
    "quantity missing": {"quantity": None},
    "quantity zero": {"quantity": 0},
    "quantity negative": {"quantity": -1},
    "quantity a word": {"quantity": "two"},
    "quantity a fraction": {"quantity": 2.5},
    "quantity a text of a fraction": {"quantity": "2.5"},
    "quantity in Arabic digits": {"quantity": "\u0662"},
    "quantity without end": {"quantity": float("nan")},
    "quantity a truth": {"quantity": True},
    "fulfilled, count missing, a card too few": {"fulfilled_quantity": None, "cards": [FIRST]},
    "fulfilled, count missing, a card too many": {"fulfilled_quantity": None, "cards": card_data(3)},
    "fulfilled, fewer counted": {"fulfilled_quantity": 1, "cards": [FIRST]},
    "fulfilled, more counted": {"fulfilled_quantity": 3, "cards": card_data(3)},
    "fulfilled, a card too few": {"cards": [FIRST]},
    "fulfilled, a card too many": {"cards": card_data(3)},
    "fulfilled, cards missing": {"cards": None},
    "fulfilled, no cards": {"cards": []},
    "partial, all counted": {"status": "PARTIALLY_FILLED"},
    "partial, none counted": {"status": "PARTIALLY_FILLED", "fulfilled_quantity": 0, "cards": []},
    "partial, count missing": {"status": "PARTIALLY_FILLED", "fulfilled_quantity": None, "cards": [FIRST]},
    "partial, a card too many": {"status": "PARTIALLY_FILLED", "fulfilled_quantity": 1},
    "partial, a card too few": {"status": "PARTIALLY_FILLED", "fulfilled_quantity": 1, "cards": []},
    "refunded, yet counted": {"status": "REFUNDED"},
    "refunded, yet cards": {"status": "REFUNDED", "fulfilled_quantity": 0},
    "refunded, yet cards and no count": {"status": "REFUNDED", "fulfilled_quantity": None},
    "a card twice": {"cards": TWICE},
    "a card twice, once without its serial": {"cards": [FIRST, FIRST | {"serial": None}]},
    "a card twice, without serials": {"cards": [{"value": FIRST["value"]}, {"value": f" {FIRST['value']}"}]},
    "value empty": {"cards": [FIRST, SECOND | {"value": ""}]},
    "value null": {"cards": [FIRST, SECOND | {"value": None}]},
    "value missing": {"cards": [FIRST, {"serial": SECOND["serial"]}]},
    "value a fraction": {"cards": [FIRST, SECOND | {"value": 5.5}]},
    "value negative": {"cards": [FIRST, SECOND | {"value": -5}]},
    "value a truth": {"cards": [FIRST, SECOND | {"value": True}]},
    "value too long": {"cards": [FIRST, SECOND | {"value": "x" * (MAX_CARD_TEXT + 1)}]},
    "serial too long": {"cards": [FIRST, SECOND | {"serial": "x" * (MAX_CARD_TEXT + 1)}]},
    "serial a list": {"cards": [FIRST, SECOND | {"serial": [SECOND["serial"]]}]},
    "value a list": {"cards": [FIRST, SECOND | {"value": [SECOND["value"]]}]},
    "a card that is its value": {"cards": [FIRST, SECOND["value"]]},
    "cards an object": {"cards": FIRST},
    "cards a text": {"cards": FIRST["value"]},
    "count a word": {"fulfilled_quantity": "all"},
    "count a fraction": {"fulfilled_quantity": 1.5},
    "count negative": {"fulfilled_quantity": -2},
    "count an object": {"fulfilled_quantity": {}},
}


@each_view
@pytest.mark.parametrize("name", BROKEN_FOR_BOTH)
def test_answer_against_the_documents_is_a_broken_contract(
    supplier: SupplierDouble, view: type[OrderProgress], name: str
):
    failure = ask_and_get(supplier, answered(changed(BROKEN_FOR_BOTH[name])), view)

    assert failure.kind is FailureKind.CONTRACT_BROKEN


@pytest.mark.parametrize("name", BROKEN_WHEN_SETTLED)
def test_contradictory_settled_order_is_a_broken_contract(supplier: SupplierDouble, name: str):
    failure = ask_and_get(supplier, answered(changed(BROKEN_WHEN_SETTLED[name])))

    assert failure.kind is FailureKind.CONTRACT_BROKEN


def test_broken_contract_names_the_paths_of_its_fields(supplier: SupplierDouble):
    data = changed({"status": "CANCELLED", "cards": [FIRST, SECOND | {"value": ""}]})

    assert "data.cards.1.value, data.status" in ask_and_get(supplier, answered(data)).message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fulfilled_quantity": 1}, "fulfilled_quantity .* status"),
        ({"cards": [FIRST]}, "number of cards .* fulfilled_quantity"),
        ({"cards": TWICE}, "card .* twice"),
    ],
)
def test_contradiction_is_explained(supplier: SupplierDouble, changes: dict[str, Any], reason: str):
    assert re.search(reason, ask_and_get(supplier, answered(changed(changes))).message)


@each_view
@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        "{}",
        "5",
        '"text"',
        '{"success":true}',
        '{"success":true,"data":null}',
        '{"success":true,"data":[]}',
    ]
    + [json.dumps({"success": success, "data": order_data()}) for success in (False, 0, "false", "yes", [], 2)]
    + ['{"success":false,"error":{}}', '{"success":false}', '{"error":{}}', '{"error":{"code":403}}'],
)
def test_json_without_the_success_envelope_is_a_broken_contract(
    supplier: SupplierDouble, view: type[OrderProgress], body: str
):
    failure = ask_and_get(supplier, httpx.Response(200, content=body), view)

    assert failure.kind is FailureKind.CONTRACT_BROKEN


@each_view
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        HTML.encode(),
        answered().content[:-1],
        answered().content[: len(answered().content) // 2],
        answered().content + b"}",
        b"[" * 100_000,
    ],
    ids=["empty", "blank", "html", "one short", "cut", "one long", "deep"],
)
def test_success_without_json_is_not_about_the_order(supplier: SupplierDouble, view: type[OrderProgress], body: bytes):
    assert ask_and_get(supplier, httpx.Response(200, content=body), view).kind is FailureKind.BUSY


@each_view
@pytest.mark.parametrize("text", [b"\xff", b"\\ud800", b"\t", b"\x00"], ids=["no utf-8", "half a pair", "tab", "null"])
def test_invalid_json_text_elsewhere_is_tolerated(supplier: SupplierDouble, view: type[OrderProgress], text: bytes):
    body = answered().content.replace(b'"success"', b'"note":"' + text + b'","success"', 1)

    assert isinstance(ask_and_get(supplier, httpx.Response(200, content=body), view), view)


@pytest.mark.parametrize("text", [b"\xff", b"\\ud800"], ids=["no utf-8", "half a pair"])
@pytest.mark.parametrize("field", ["value", "serial"])
def test_card_with_undecodable_text_breaks_the_contract(supplier: SupplierDouble, text: bytes, field: str):
    body = answered(order_data(cards=[FIRST, SECOND | {field: "?"}])).content.replace(b"?", b"x" + text)

    failure = ask_and_get(supplier, httpx.Response(200, content=body))

    assert failure.kind is FailureKind.CONTRACT_BROKEN
    assert f"data.cards.1.{field}" in failure.message


@given(cut=st.integers(0, len(answered().content) - 1))
def test_answer_cut_anywhere_is_never_taken_for_an_answer(cut: int):
    supplier = SupplierDouble()

    assert ask_and_get(supplier, httpx.Response(200, content=answered().content[:cut])).kind is FailureKind.BUSY


# --------------------------------------------------------------- retry-after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("1.5", 1.5),
        ("-5", 0),
        ("86400", 86_400),
        ("2592000", MAX_LENGTH),
        ("2592001", None),
        ("1767225600", None),
        ("1e400", None),
        ("inf", None),
        ("nan", None),
        ("-nan", None),
        ("", None),
        ("soon", None),
        ("120 seconds", None),
        ("Sat, 14 Mar 2026 09:36:53 GMT", 600),
        ("Sat, 14 Mar 2026 10:36:53 +0100", 600),
        ("Sat, 14 Mar 2026 09:26:52 GMT", 0),
        ("Sat, 14 Mar 9999 09:26:52 GMT", None),
        ("Sat, 99 Mar 2026 09:26:52 GMT", None),
        ("Sat, 14 Mar 99999 09:26:52 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, seconds: float | None):
    assert retry_after_seconds(value, NOW) == seconds


@given(
    st.text(st.characters(max_codepoint=0xFF), max_size=60)
    | st.builds("{}, {:02} {} {} {:02}:{:02}:{:02} {}".format, *[st.sampled_from(["Mon", "Xyz"])],
                st.integers(-1, 32), st.sampled_from(["Jan", "Feb", "Foo"]), st.integers(-1, 12_000),
                st.integers(-1, 25), st.integers(-1, 61), st.integers(-1, 61),
                st.sampled_from(["GMT", "+0000", "-9999", "+99999999", "", "XYZ"]))
)  # fmt: skip
def test_any_retry_after_is_a_possible_wait_or_none(value: str):
    seconds = retry_after_seconds(value, NOW)

    assert seconds is None or 0 <= seconds <= MAX_LENGTH


@pytest.mark.parametrize(("status", "code"), [(429, "RATE_LIMIT_EXCEEDED"), (503, "SERVICE_UNAVAILABLE")])
def test_failure_has_the_retry_after(supplier: SupplierDouble, status: int, code: str):
    assert ask_and_get(supplier, refused(status, code, Retry_After="77")).retry_after_seconds == 77
    assert ask_and_get(supplier, refused(status, code, Retry_After="soon")).retry_after_seconds is None
    assert ask_and_get(supplier, refused(status, code)).retry_after_seconds is None


def test_retry_after_is_heeded_without_the_envelope_too(supplier: SupplierDouble):
    proxied = httpx.Response(429, html=HTML, headers={"Retry-After": "30"})

    assert ask_and_get(supplier, proxied).retry_after_seconds == 30


# ------------------------------------------------------------------- network


@each_view
@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.ReadTimeout,
        httpx.WriteTimeout,
        httpx.PoolTimeout,
        httpx.ReadError,
        httpx.WriteError,
        httpx.CloseError,
        httpx.RemoteProtocolError,
        httpx.LocalProtocolError,
        httpx.DecodingError,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
        httpx.TooManyRedirects,
    ],
)
def test_network_failure_is_busy_and_shows_its_name_only(
    supplier: SupplierDouble, view: type[OrderProgress], error: type[httpx.RequestError]
):
    failure = ask_and_get(supplier, error(f"{API_KEY} {card_data(1)}"), view)

    assert failure == SupplierFailure(FailureKind.BUSY, failure.message)
    assert error.__name__ in failure.message


def test_connection_broken_within_the_response_is_busy(supplier: SupplierDouble):
    async def broken() -> AsyncIterator[bytes]:
        yield answered().content[:100]
        raise httpx.ReadError("reset")

    assert ask_and_get(supplier, httpx.Response(200, content=broken())).kind is FailureKind.BUSY


def test_body_in_another_encoding_is_busy(supplier: SupplierDouble):
    async def garbled() -> AsyncIterator[bytes]:
        yield answered().content

    answer = httpx.Response(200, content=garbled(), headers={"Content-Encoding": "gzip"})

    assert ask_and_get(supplier, answer).kind is FailureKind.BUSY


def test_answer_larger_than_any_order_is_not_read_to_its_end(supplier: SupplierDouble):
    pieces_read = 0

    async def far_too_long() -> AsyncIterator[bytes]:
        nonlocal pieces_read
        for _ in range(20):
            pieces_read += 1
            yield b" " * 1024 * 1024

    failure = ask_and_get(supplier, httpx.Response(200, content=far_too_long()))

    assert failure.kind is FailureKind.BUSY
    assert pieces_read == MAX_ANSWER_BYTES / 1024 / 1024 + 1


def test_order_of_5000_cards_is_read(supplier: SupplierDouble):
    answer = ask_and_get(supplier, answered(order_data("FULFILLED", 5_000)))

    assert len(answer.cards) == 5_000


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, BUSY),
        (403, BUSY),
        (429, FailureKind.RATE_LIMITED),
        (404, BUSY),
        (400, BUSY),
        (500, BUSY),
    ],
)
def test_status_counts_although_its_body_never_comes(supplier: SupplierDouble, status: int, kind: FailureKind):
    async def broken() -> AsyncIterator[bytes]:
        yield refused(status, "NOT_FOUND").content[:20]
        raise httpx.ReadError("reset")

    answer = httpx.Response(status, content=broken(), headers={"Retry-After": "30"})

    failure = ask_and_get(supplier, answer)

    assert failure == SupplierFailure(kind, failure.message, retry_after_seconds=30, status=status)


# ------------------------------------------------------------- on a real wire

Behaviour = Callable[[socket.socket, threading.Event], None]


def is_too_late(result: Any) -> bool:
    return result.kind is BUSY and "0.3 seconds" in result.message


def on_the_wire(response: httpx.Response) -> bytes:
    head = f"HTTP/1.1 {response.status_code} -\r\nContent-Length: {len(response.content)}\r\nX-Of: the supplier\r\n\r\n"
    return head.encode() + response.content


class Wire:
    """A server on this machine: each connection behaves as the next of the behaviours, and the last of them goes on."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._behaviours = list(behaviours)
        self._is_over = threading.Event()
        self._sockets: list[socket.socket] = []
        self.connections: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def _accept(self) -> None:
        while not self._is_over.is_set():
            connection, _ = self._listening.accept()
            behaviour = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
            self._sockets.append(connection)
            self.connections.append(threading.Thread(target=self._behave, args=(behaviour, connection)))
            self.connections[-1].start()

    def _behave(self, behaviour: Behaviour, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the other side may hang up
            behaviour(connection, self._is_over)

    def stop(self) -> None:
        """End every thread."""
        self._is_over.set()
        with socket.create_connection(self._listening.getsockname()):
            self._accepting.join()
        for connection in self._sockets:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.connections:
            thread.join()
        self._listening.close()


def dripping(content: bytes, from_byte: int, seconds_a_byte: float) -> Behaviour:
    """Send a part at once and the rest byte by byte."""

    def drip(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(content[:from_byte])
        for index in range(from_byte, len(content)):
            if is_over.wait(seconds_a_byte):
                return
            connection.sendall(content[index : index + 1])

    return drip


def silent(connection: socket.socket, is_over: threading.Event) -> None:
    connection.recv(65_536)
    is_over.wait()


def answering(connection: socket.socket, _is_over: threading.Event) -> None:
    while connection.recv(65_536):
        connection.sendall(on_the_wire(answered()))


def hanging_up(connection: socket.socket, _is_over: threading.Event) -> None:
    connection.recv(65_536)
    connection.sendall(on_the_wire(answered()))


HEAD = on_the_wire(answered()).index(b"\r\n\r\n") + 4


@pytest.fixture
def serve(on_loopback: None) -> Iterator[Callable[..., Wire]]:
    wires: list[Wire] = []

    def serve(*behaviours: Behaviour) -> Wire:
        wires.append(Wire(*behaviours))
        return wires[-1]

    yield serve
    for wire in wires:
        wire.stop()


def calling(wire: Wire, total_seconds: float = 0.3) -> Callable[[], Any]:
    """Give a function that asks for the order, always through the same client."""
    supplier = Supplier(wire.url, new_client(), total_seconds=total_seconds)
    return lambda: supplier.check_order(ORDER_ID, SecretStr(API_KEY), SettledOrder)


@pytest.mark.parametrize("from_byte", [0, HEAD - 20, HEAD, HEAD + 100], ids=["status", "headers", "body", "its middle"])
def test_dripping_response_times_out(serve: Callable[..., Wire], from_byte: int):
    ask_now = calling(serve(dripping(on_the_wire(answered()), from_byte, 0.02)))
    began = time.monotonic()

    assert is_too_late(ask_now())

    assert 0.3 <= time.monotonic() - began < 3


def test_dripping_response_in_time_is_read(serve: Callable[..., Wire]):
    wire = serve(dripping(on_the_wire(answered()), 0, 0.0001))

    assert isinstance(calling(wire, TOTAL_TIMEOUT_SECONDS)(), SettledOrder)


def test_total_time_counts_from_the_start_of_the_call(serve: Callable[..., Wire]):
    content = on_the_wire(answered())

    def each_part_in_time(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(65_536)
        for part in (content[:HEAD], content[HEAD:]):
            if is_over.wait(0.2):
                return
            connection.sendall(part)

    assert is_too_late(calling(serve(each_part_in_time))())


@pytest.mark.parametrize(("status", "kind"), [(401, BUSY), (403, BUSY), (500, BUSY)])
def test_status_counts_although_its_body_drips(serve: Callable[..., Wire], status: int, kind: FailureKind):
    content = on_the_wire(refused(status, "ERR_AUTH"))

    failure = calling(serve(dripping(content, content.index(b"\r\n\r\n") + 4, 0.02)))()

    assert failure == SupplierFailure(kind, failure.message, status=status)


def test_total_timeout_leaves_time_for_the_function():
    timeouts = [
        template()["Resources"][name]["Properties"]["Timeout"]
        for name in ("CheckStatusFunction", "DeliverCardsFunction")
    ]

    assert min(timeouts) >= 2 * TOTAL_TIMEOUT_SECONDS


@pytest.mark.parametrize("spoiled", [silent, dripping(on_the_wire(answered()), HEAD, 0.02)])
def test_timed_out_calls_do_not_affect_the_next(serve: Callable[..., Wire], spoiled: Behaviour):
    # Given calls that were given up
    wire = serve(*[spoiled] * 3, answering)
    ask_now = calling(wire)
    assert all(is_too_late(ask_now()) for _ in range(3))

    # When the supplier answers again, then the next calls get their own answers, on a new connection
    assert isinstance(ask_now(), SettledOrder)
    assert isinstance(ask_now(), SettledOrder)
    assert len(wire.connections) == 4


def test_calls_share_a_connection(serve: Callable[..., Wire]):
    wire = serve(answering)
    ask_now = calling(wire, TOTAL_TIMEOUT_SECONDS)

    assert all(isinstance(ask_now(), SettledOrder) for _ in range(5))

    assert len(wire.connections) == 1


def test_closed_idle_connection_is_not_reused(serve: Callable[..., Wire]):
    wire = serve(hanging_up)
    ask_now = calling(wire, TOTAL_TIMEOUT_SECONDS)

    for number in range(1, 4):
        assert isinstance(ask_now(), SettledOrder)
        wire.connections[-1].join()
        assert len(wire.connections) == number


def test_connection_of_a_too_large_response_is_not_reused(serve: Callable[..., Wire]):
    def far_too_large(connection: socket.socket, _is_over: threading.Event) -> None:
        connection.recv(65_536)
        length = MAX_ANSWER_BYTES + 10_000_000
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + b" " * length)

    wire = serve(far_too_large, answering)
    ask_now = calling(wire, TOTAL_TIMEOUT_SECONDS)

    assert ask_now().kind is BUSY
    assert isinstance(ask_now(), SettledOrder)


def test_unreachable_supplier_is_busy(on_loopback: None):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"

    failure = Supplier(url, new_client()).check_order(ORDER_ID, SecretStr(API_KEY), SettledOrder)

    assert failure.kind is BUSY
    assert "ConnectError" in failure.message


def test_slow_name_resolution_times_out(
    on_loopback: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    is_over = threading.Event()
    request.addfinalizer(is_over.set)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: is_over.wait())

    failure = Supplier(BASE_URL, new_client(), total_seconds=0.3).check_order(
        ORDER_ID, SecretStr(API_KEY), SettledOrder
    )

    assert is_too_late(failure)
