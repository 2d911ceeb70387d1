"""`giftcards resume`: which orders are resumed or accepted, and what is recorded."""

from typing import Any

import pytest

from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.events import HeldReason
from support.cloud import Cloud, client_error
from support.command_line import Giftcards
from support.examples import NOW, ORDER_ID, USER_ID
from support.secrets import MARK

CLOSED = {"quantity": 1, "fulfilledQuantity": 1, "deliveredAt": timestamp(NOW)}
PUBLISHED = CLOSED | {"announcedAt": timestamp(NOW)}
NOT_ACCEPTED = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}


def resumed(cloud: Cloud) -> list[str]:
    return [detail["orderId"] for detail in cloud.events_to_resume("giftcards.cli")]


# -------------------------------------------------------------------- resume


def test_held_order_is_resumed_for_its_user(cloud: Cloud, giftcards: Giftcards):
    cloud.claim(placedAt="2026-03-14T09:00:00.000Z")
    cloud.hold()

    result = giftcards("resume", ORDER_ID)

    assert (result.code, result.err) == (0, "")
    assert f"`giftcards show {ORDER_ID}`" in result.out
    detail = {"orderId": ORDER_ID, "userId": USER_ID, "placedAt": "2026-03-14T09:00:00Z"}
    assert cloud.events_to_resume("giftcards.cli") == [detail]
    assert cloud.writes() == ["PutEvents"]


@pytest.mark.parametrize(
    ("attributes", "state"),
    [
        ({}, "in progress"),
        ({"status": "FULFILLED"} | PUBLISHED, "delivered"),
        ({"status": "PARTIALLY_FILLED"} | PUBLISHED, "partially delivered"),
        ({"status": "REFUNDED"} | PUBLISHED, "refunded"),
    ],
)
def test_order_that_is_not_held_is_not_resumed(
    cloud: Cloud, giftcards: Giftcards, attributes: dict[str, Any], state: str
):
    cloud.claim(**attributes)

    result = giftcards("resume", ORDER_ID)

    assert (result.code, result.out) == (1, "")
    assert ORDER_ID in result.err
    assert state in result.err
    assert cloud.writes() == []


@pytest.mark.parametrize("order_id", ["unknown", "", "a b"])
def test_resume_does_not_create_an_order(cloud: Cloud, giftcards: Giftcards, order_id: str):
    result = giftcards("resume", order_id)

    assert (result.code, result.out) == (1, "")
    assert repr(order_id) in result.err
    assert cloud.writes() == []


def test_closed_order_without_its_event_is_resumed(cloud: Cloud, giftcards: Giftcards):
    cloud.claim(status="FULFILLED", **CLOSED)

    result = giftcards("resume", ORDER_ID)

    assert (result.code, result.err) == (0, "")
    assert "delivered" in result.out
    assert resumed(cloud) == [ORDER_ID]


@pytest.fixture
def some_held(cloud: Cloud) -> None:
    """Given three held orders, two of them at their deadline, and one in progress."""
    reasons = {"late-1": "DEADLINE_PASSED", "late-2": "DEADLINE_PASSED", "unknown": "ORDER_UNKNOWN"}
    for order_id, reason in reasons.items():
        cloud.claim(order_id, user_id=f"user-of-{order_id}")
        cloud.hold(order_id, reason)
    cloud.claim("open")


@pytest.mark.usefixtures("some_held")
@pytest.mark.parametrize(
    ("named", "orders"),
    [
        (["--held"], ["late-1", "late-2", "unknown"]),
        (["--reason", "DEADLINE_PASSED"], ["late-1", "late-2"]),
        (["--reason", "UNEXPECTED_ERROR"], []),
    ],
)
def test_held_orders_are_resumed_together(cloud: Cloud, giftcards: Giftcards, named: list[str], orders: list[str]):
    result = giftcards("resume", *named)

    assert (result.code, result.err) == (0, "")
    assert result.out.endswith(f": {len(orders)}\n")
    assert sorted(resumed(cloud)) == orders
    assert all(d["userId"] == f"user-of-{d['orderId']}" for d in cloud.events_to_resume("giftcards.cli"))


def test_resuming_without_held_orders_is_success(giftcards: Giftcards):
    result = giftcards("resume", "--held")

    assert (result.code, result.err) == (0, "")
    assert result.out.endswith(": 0\n")


@pytest.mark.usefixtures("some_held")
def test_invalid_row_does_not_keep_other_orders_held(cloud: Cloud, giftcards: Giftcards):
    cloud.put(cloud.card_table, cloud.order_row("late-1") | {"userId": f"{MARK} {MARK}"})

    result = giftcards("resume", "--held")

    assert result.code == 1
    assert result.err.endswith(": 1 (late-1: userId)\n")
    assert sorted(resumed(cloud)) == ["late-2", "unknown"]


@pytest.mark.parametrize(
    "named",
    [[], [ORDER_ID, "--held"], ["--held", "--reason", "ORDER_UNKNOWN"], [ORDER_ID, "--reason", "ORDER_UNKNOWN"]],
)
def test_resume_requires_exactly_one_selection(cloud: Cloud, giftcards: Giftcards, named: list[str]):
    result = giftcards("resume", *named)

    assert (result.code, result.out) == (2, "")
    assert all(name in result.err for name in ("ORDER_ID", "--held", "--reason"))
    assert cloud.calls == []


def test_unknown_reason_lists_the_valid_ones(giftcards: Giftcards):
    result = giftcards("resume", "--reason", "BAD_LUCK")

    assert (result.code, result.out) == (2, "")
    assert all(reason in result.err for reason in HeldReason)


@pytest.mark.usefixtures("some_held")
@pytest.mark.parametrize(
    ("operation", "outcome", "code"),
    [
        ("PutEvents", NOT_ACCEPTED, "InternalFailure"),
        ("PutEvents", client_error("PutEvents", "AccessDenied"), "AccessDenied"),
        ("Query", client_error("Query", "AccessDenied"), "AccessDenied"),
    ],
)
def test_aws_error_is_one_line_with_its_code(
    cloud: Cloud, giftcards: Giftcards, operation: str, outcome: Any, code: str
):
    cloud.at_next(operation, outcome)

    result = giftcards("resume", "--held")

    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert code in result.err


# -------------------------------------------------------------- accept cards

WHY = ("--accept-cards", "--cards", "2", "--reason", " seen in the console ")


def test_acceptance_is_in_the_row_and_the_order_is_resumed(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")

    result = giftcards("resume", ORDER_ID, *WHY)

    assert (result.code, result.err) == (0, "")
    assert resumed(cloud) == [ORDER_ID]
    acceptance = cloud.order_row()["acceptCards"]
    assert acceptance["reason"] == "seen in the console"
    assert acceptance["by"].startswith("arn:aws:")
    assert acceptance["at"].endswith("Z")
    assert (acceptance["cards"], "ordered" in acceptance) == (2, False)
    assert cloud.writes() == ["PutItem", "UpdateItem", "PutEvents"]


def test_repeated_acceptance_is_in_the_audit_table_again(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")

    giftcards("resume", ORDER_ID, *WHY)
    giftcards("resume", ORDER_ID, "--accept-cards", "--cards", "2", "--reason", "again")

    records = cloud.rows(cloud.audit_table)
    assert {record["pk"] for record in records} == {f"ACCEPT#{ORDER_ID}"}
    assert sorted((record["reason"], record["cards"], record.get("ordered")) for record in records) == [
        ("again", 2, None),
        ("seen in the console", 2, None),
    ]
    assert cloud.order_row()["acceptCards"]["reason"] == "seen in the console"
    assert resumed(cloud) == [ORDER_ID, ORDER_ID]


@pytest.mark.parametrize("other", [("--cards", "1"), ("--cards", "2", "--ordered", "3")])
def test_second_operator_cannot_accept_other_numbers(cloud: Cloud, giftcards: Giftcards, other: tuple[str, ...]):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")
    giftcards("resume", ORDER_ID, *WHY)

    result = giftcards("resume", ORDER_ID, "--accept-cards", *other, "--reason", "other")

    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "arn:aws:" in result.err
    assert (cloud.order_row()["acceptCards"]["cards"], "ordered" in cloud.order_row()["acceptCards"]) == (2, False)
    assert len(cloud.rows(cloud.audit_table)) == 1


def test_two_operators_at_once_cannot_accept_two_numbers(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")
    cloud.at_next("UpdateItem", lambda: cloud.put(cloud.card_table, cloud.order_row() | {"acceptCards": {"cards": 1}}))

    result = giftcards("resume", ORDER_ID, *WHY)

    assert (result.code, result.err.count("\n")) == (1, 1)
    assert cloud.order_row()["acceptCards"] == {"cards": 1}
    assert resumed(cloud) == []


LATER = "2026-03-15T09:00:00.000Z"


def test_order_held_again_meanwhile_is_not_accepted(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")
    cloud.at_next("UpdateItem", lambda: cloud.put(cloud.card_table, cloud.order_row() | {"heldAt": LATER}))

    assert_not_accepted(cloud, giftcards)


def test_cards_are_not_accepted_without_an_audit_record(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")
    cloud.at_next("PutItem", client_error("PutItem", "AccessDeniedException"), table=cloud.audit_table)

    assert giftcards("resume", ORDER_ID, *WHY).code == 1

    assert "acceptCards" not in cloud.order_row()
    assert resumed(cloud) == []


@pytest.mark.parametrize("reason", sorted(set(HeldReason) - {HeldReason.SUPPLIER_CONTRACT_BROKEN}))
def test_order_held_for_another_reason_is_not_accepted(cloud: Cloud, giftcards: Giftcards, reason: str):
    cloud.claim()
    cloud.hold(reason=reason)

    assert_not_accepted(cloud, giftcards)


def test_order_that_is_not_held_is_not_accepted(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()

    assert_not_accepted(cloud, giftcards)


def test_order_that_is_resumed_meanwhile_is_not_accepted(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")
    cloud.at_next("UpdateItem", cloud.claim)

    assert_not_accepted(cloud, giftcards)


def assert_not_accepted(cloud: Cloud, giftcards: Giftcards) -> None:
    result = giftcards("resume", ORDER_ID, *WHY)

    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "nothing was accepted" in result.err
    assert "acceptCards" not in cloud.order_row()
    assert resumed(cloud) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--accept-cards",),
        (ORDER_ID, "--accept-cards"),
        (ORDER_ID, "--accept-cards", "--reason", "why"),
        (ORDER_ID, "--accept-cards", "--cards", "1"),
        (ORDER_ID, "--cards", "1"),
        (ORDER_ID, "--ordered", "1"),
        (ORDER_ID, "--accept-cards", "--cards", "1", "--reason", " "),
        (ORDER_ID, "--accept-cards", "--cards", "1", "--reason", "x" * 513),
        ("--accept-cards", "--cards", "1", "--reason", "why"),
        ("--held", "--accept-cards", "--cards", "1", "--reason", "why"),
        (ORDER_ID, "--held", "--accept-cards", "--cards", "1", "--reason", "why"),
        (ORDER_ID, "--reason", "why"),
        ("--reason", "why"),
    ],
)
def test_acceptance_requires_order_cards_and_reason(cloud: Cloud, giftcards: Giftcards, arguments: tuple[str, ...]):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")

    result = giftcards("resume", *arguments)

    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert cloud.writes() == []


def test_show_prints_the_acceptance(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")
    giftcards("resume", ORDER_ID, *WHY)

    assert "seen in the console" in giftcards("show", ORDER_ID).out
    assert "seen in the console" in giftcards("show", ORDER_ID, "--json").out
