"""Malformed, truncated and random documents: no parser crashes, and no error shows their content."""

import copy
import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import rows
from giftcards.adapters.oneclickdz.supplier import interpret
from giftcards.contracts.events import OrderPlaced
from giftcards.contracts.supplier import OrderProgress, SettledOrder
from giftcards.contracts.workflow import StepRequest
from giftcards.rules.orders import Order
from giftcards.rules.supplier_failure import SupplierFailure
from giftcards.use_cases.reveal_cards import RevealRequest
from support.examples import NOW, ORDER_ID
from support.secrets import MARK, leaks, plaintext
from support.supplier import order_data

EXAMPLES = settings(max_examples=200)
SECRET = f"{MARK}-in-any-field-{MARK}"
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just(SECRET),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.just("cards"), inner, max_size=3)
    ),
    max_leaves=6,
)
answers = st.sampled_from(["HANDLING", "FULFILLED", "PARTIALLY_FILLED", "REFUNDED"]).map(
    lambda status: {"success": True, "data": order_data(status, 3), "requestId": "req_1"}
)
errors = st.just(
    {"success": False, "error": {"code": "RATE_LIMIT_EXCEEDED", "message": SECRET, "details": {"key": SECRET}}}
)


def _places(document: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [here, *(place for key, value in inside for place in _places(value, (*here, key)))]


@st.composite
def bent(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """Remove, replace or repeat parts of a valid document."""
    document = copy.deepcopy(draw(documents))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_places(document)))
        if not place:
            document = draw(anything) if draw(st.booleans()) else document
            continue
        holder = document
        for key in place[:-1]:
            holder = holder[key]
        match draw(st.sampled_from(["drop", "replace", "repeat"])):
            case "drop":
                del holder[place[-1]]
            case "replace":
                holder[place[-1]] = draw(anything)
            case "repeat" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[place[-1]]))
    return document


@pytest.mark.parametrize("view", [OrderProgress, SettledOrder])
@EXAMPLES
@given(document=bent(answers | errors), status=st.sampled_from([200, 200, 400, 401, 403, 404, 429, 500, 503]))
def test_any_malformed_response_shows_no_secret(view: type[OrderProgress], document: Any, status: int):
    result = interpret(status, httpx.Headers(), json.dumps(document).encode(), view)

    assert isinstance(result, view | SupplierFailure)
    assert not leaks(repr(result), str(result))
    if isinstance(result, SettledOrder) and result.status.is_final:
        different = {json.dumps(plaintext(card)) for card in result.cards}
        assert len(different) == len(result.cards) == (result.fulfilled_quantity or 0)


@EXAMPLES
@given(data=st.data(), document=answers)
def test_any_damaged_bytes_show_no_secret(data: st.DataObject, document: Any):
    body = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))]

    result = interpret(200, httpx.Headers(), bytes(body), SettledOrder)

    assert isinstance(result, SettledOrder | SupplierFailure)
    assert not leaks(repr(result), str(result))


ROW = rows.held(rows.claimed(quantity=2))
STEP = {
    "orderId": ORDER_ID,
    "userId": "user-1",
    "claimedAt": NOW.isoformat(),
    "checks": 1,
    "failures": 0,
    "delayAnnounced": False,
}
PLACED = {"orderId": ORDER_ID, "userId": "user-1", "placedAt": NOW.isoformat()}
ASKED = {"orderId": ORDER_ID, "userId": "user-1", "requestedBy": "shop", "reason": "first look"}


@pytest.mark.parametrize(
    ("model", "document"),
    [(OrderPlaced, PLACED), (Order, ROW), (StepRequest, STEP), (RevealRequest, ASKED)],
    ids=["event", "order row", "step", "reveal"],
)
@EXAMPLES
@given(data=st.data())
def test_any_malformed_document_is_never_quoted(model: type[Any], document: dict[str, Any], data: st.DataObject):
    given_document = data.draw(bent(st.just(document)))

    refusal = ""
    try:
        model.model_validate(given_document)
    except ValidationError as error:
        refusal = f"{error} {error!r} {[problem['msg'] for problem in error.errors(include_input=False)]}"
    assert not leaks(refusal)
