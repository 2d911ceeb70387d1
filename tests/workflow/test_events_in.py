"""What is taken from an OrderPlaced event, and what is refused."""

import re
from itertools import repeat
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from giftcards.contracts.events import OrderPlaced
from workflow.answers import DEADLINE_PASSED, PENDING_LATE, SETTLED, Closed
from workflow.harness import ORDER, Workflow

MISSING = object()

INVALID_IDS: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "empty": "",
    "too long": "x" * 129,
    "not ASCII": "ordér",
    "outside the basic plane": "\U0001f381",
    "space": "order 1",
    "leading space": " order",
    "newline": "order\n1",
    "trailing newline": "order\n",
    "control character": "order\x00",
    "delete": "order\x7f",
    "number": 1,
    "boolean": True,
    "list of one": ["order-1"],
    "list of two": ["order-1", "order-2"],
    "list in a list": [["order-1"]],
    "object": {"S": "order-1"},
}
INVALID_DETAILS: dict[str, Any] = {
    "text": "order-1",
    "list": ["order-1", "user-1"],
    "list of one good detail": [ORDER],
    "list of good details": [ORDER, ORDER],
    "number": 1,
    "boolean": True,
    "null": None,
    "empty": {},
}
VALID_IDS = {
    "shortest": "x",
    "longest": "x" * 128,
    "first and last character": "!~",
    "double quote": 'or"der"',
    "single quote": "or'der'",
    "backslash": "or\\der\\",
    "backslash and n": "or\\nder",
    "backslash and quote": "\\\"'",
    "percent": "100%",
    "hash": "ORDER#ORDER",
    "expression": "{%$orderId%}",
    "dollar": "$states.input",
    "substitution": "${CardTableName}",
    "braces": "{}[]()",
    "comment": "/*x*/",
    "slashes": "/a/b/",
    "assignment": "a:=1;b",
    "json": '{"S":"x"}',
    "null in text": "null",
    "number in text": "1e5",
    "every character": "".join(chr(code) for code in range(0x21, 0x7F)),
}


def assert_rejected(workflow: Workflow, detail: Any, announced_ids: dict[str, str]) -> None:
    run = workflow.run(detail)

    assert (run.status, run.error) == ("FAILED", "INVALID_ORDER")
    assert run.states == ["ReadOrder", "RejectOrder", "PublishHold", "OrderHeld"]
    assert workflow.rows() == []
    held = run.only("OrderHeld")
    assert held["reason"] == "INVALID_ORDER"
    assert held["message"] == run.cause
    assert "no valid orderId or userId" in held["message"]
    assert {key: value for key, value in held.items() if key in {"orderId", "userId"}} == announced_ids


def with_id(field: str, value: Any) -> dict[str, Any]:
    return {key: kept for key, kept in (ORDER | {field: value}).items() if kept is not MISSING}


@pytest.mark.parametrize("value", INVALID_IDS.values(), ids=INVALID_IDS)
def test_order_without_valid_order_id_is_rejected(workflow: Workflow, value: Any) -> None:
    assert_rejected(workflow, with_id("orderId", value), {"userId": "user-1"})


@pytest.mark.parametrize("value", INVALID_IDS.values(), ids=INVALID_IDS)
def test_order_without_valid_user_id_is_rejected(workflow: Workflow, value: Any) -> None:
    assert_rejected(workflow, with_id("userId", value), {"orderId": "order-1"})


@pytest.mark.parametrize("detail", INVALID_DETAILS.values(), ids=INVALID_DETAILS)
def test_event_without_an_order_is_rejected(workflow: Workflow, detail: Any) -> None:
    assert_rejected(workflow, detail, {})


@pytest.mark.parametrize("value", VALID_IDS.values(), ids=VALID_IDS)
def test_ids_of_any_visible_ascii_come_through_unchanged(workflow: Workflow, value: str) -> None:
    run = workflow.run({"orderId": value, "userId": value}, check=[SETTLED], deliver=[Closed()])

    assert run.status == "SUCCEEDED"
    row = run.order_row
    assert row is not None
    assert (row["pk"], row["orderId"], row["userId"]) == (f"ORDER#{value}", value, value)
    for request in run.check_requests + run.deliver_requests:
        assert (request.order_id, request.user_id) == (value, value)


@pytest.mark.parametrize("value", VALID_IDS.values(), ids=VALID_IDS)
def test_ids_of_any_visible_ascii_can_be_held_and_published(workflow: Workflow, value: str) -> None:
    run = workflow.run({"orderId": value, "userId": value}, check=[PENDING_LATE, DEADLINE_PASSED])

    assert run.error == "DEADLINE_PASSED"
    for announced in (run.only("OrderDelayed"), run.only("OrderHeld")):
        assert (announced["orderId"], announced["userId"]) == (value, value)


@pytest.mark.parametrize("value", [*VALID_IDS.values(), *INVALID_IDS.values()], ids=[*VALID_IDS, *INVALID_IDS])
def test_workflow_and_contract_agree_on_what_an_id_is(value: Any) -> None:
    detail = with_id("orderId", value)
    if value in VALID_IDS.values():
        OrderPlaced.model_validate(detail)
    else:
        with pytest.raises(ValueError, match="orderId"):
            OrderPlaced.model_validate(detail)


@pytest.mark.parametrize(
    "placed_at",
    ["2026-07-01T10:00:00Z", "2026-07-01T10:00:00.123456Z", "2026-07-01T12:00:00+02:00", "2026-07-01T10:00:00-0330"],
)
def test_time_of_placing_is_kept(workflow: Workflow, placed_at: str) -> None:
    run = workflow.run(ORDER | {"placedAt": placed_at}, check=[SETTLED], deliver=[Closed()])

    assert run.order_row is not None
    assert run.order_row["placedAt"] == placed_at


@pytest.mark.parametrize(
    "placed_at",
    [
        None,
        "",
        "yesterday",
        "2026-07-01",
        "2026-07-01T10:00:00",
        "2026-07-01T" + "0" * 40 + "Z",
        1782900000,
        ["2026"],
        {},
    ],
    ids=repr,
)
def test_time_of_placing_that_is_none_is_ignored(workflow: Workflow, placed_at: Any) -> None:
    run = workflow.run(ORDER | {"placedAt": placed_at}, check=[SETTLED], deliver=[Closed()])

    assert run.status == "SUCCEEDED"
    assert run.order_row is not None
    assert "placedAt" not in run.order_row


@pytest.mark.parametrize(
    "placed_at",
    [
        "2026-02-30T10:00:00Z",
        "2026-13-01T10:00:00Z",
        "2026-07-01T25:00:00Z",
        "2026-07-01T::Z",
        "0000-01-01T00:00:00Z",
        "2026-07-01T10:00:00Z\n",
    ],
    ids=repr,
)
def test_impossible_placed_at_does_not_prevent_delivery(workflow: Workflow, placed_at: str) -> None:
    run = workflow.run(ORDER | {"placedAt": placed_at}, check=[SETTLED], deliver=repeat(Closed()))

    assert run.status == "SUCCEEDED"


def test_everything_else_in_the_event_is_ignored(workflow: Workflow) -> None:
    more = {"status": "FULFILLED", "claimedAt": "1999", "cards": ["x"], "pk": "y", "amount": 12.5}

    run = workflow.run(ORDER | more, check=[SETTLED], deliver=[Closed()])

    assert run.status == "SUCCEEDED"
    assert run.order_row is not None
    assert "cards" not in run.order_row
    assert run.order_row["claimedAt"] != "1999"


texts = st.text(max_size=12) | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F), max_size=130)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*ORDER, "S", ""]), inner, max_size=2),
    max_leaves=5,
)
ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
bent = st.builds(
    lambda text, odd, at: text[:at] + odd + text[at:],
    ids,
    st.sampled_from([" ", "\n", "\x7f", "\u00e9", "x" * 128]),
    st.integers(0, 128),
)
details = st.fixed_dictionaries(
    {"orderId": ids | bent | values, "userId": ids | bent | values}, optional={"placedAt": values}
)


def orders(workflow: Workflow) -> list[tuple[str, str]]:
    return [(row["orderId"], row["userId"]) for row in workflow.rows() if row["sk"] == "ORDER"]


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(detail=details | values)
def test_any_detail_is_accepted_or_refused_by_its_ids(workflow: Workflow, detail: Any) -> None:
    named = [detail.get(name) if isinstance(detail, dict) else None for name in ("orderId", "userId")]
    is_order = all(isinstance(name, str) and re.fullmatch(r"[!-~]{1,128}", name) for name in named)
    for order_id, _ in orders(workflow):
        workflow.delete_row(order_id)

    run = workflow.run(detail, check=repeat(SETTLED), deliver=repeat(Closed()))

    if is_order:
        assert (run.status, run.event_types) == ("SUCCEEDED", ["CardsDelivered"])
        assert orders(workflow) == [tuple(named)]
    else:
        assert (run.error, run.event_types, run.check_requests) == ("INVALID_ORDER", ["OrderHeld"], [])
        assert orders(workflow) == []
