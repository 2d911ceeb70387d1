"""Every order that the supplier can answer with is read."""

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest

from giftcards.contracts.statuses import SUPPLIER_STATUSES, OrderStatus
from giftcards.contracts.supplier import OrderProgress, SettledOrder
from giftcards.rules.supplier_failure import FailureKind
from support.examples import ORDER_ID
from support.secrets import card_data, plaintext
from support.supplier import SupplierDouble, answered, order_data, refused
from support.supplier_calls import BUSY, FIRST, KEY_REFUSED, REFUSED, ask_and_get, each_view

pytestmark = pytest.mark.usefixtures("no_leak")


@each_view
@pytest.mark.parametrize("status", SUPPLIER_STATUSES)
def test_every_status_is_read(supplier: SupplierDouble, view: type[OrderProgress], status: OrderStatus):
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

    assert progress.model_dump() == {"order_id": ORDER_ID, "status": OrderStatus.FULFILLED}


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
