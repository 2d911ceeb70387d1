"""An answer that breaks the supplier's documents is a broken contract."""

import json
import re
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from giftcards.contracts.supplier import MAX_CARD_TEXT, OrderProgress
from giftcards.rules.supplier_failure import FailureKind
from support.examples import ORDER_ID
from support.secrets import card_data
from support.supplier import SupplierDouble, answered, order_data
from support.supplier_calls import FIRST, HTML, SECOND, ask_and_get, each_view

pytestmark = pytest.mark.usefixtures("no_leak")


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """Return a FULFILLED order of two cards with changes; a change to None removes the field."""
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
