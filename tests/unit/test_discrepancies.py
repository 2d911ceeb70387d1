"""Discrepancies between the supplier's list and our orders, and their events."""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.events import OrderMismatch, OrderOverdue, OrderUnclaimed
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.supplier import BrokenOrder, ListedOrder
from giftcards.rules.discrepancies import GRACE, Discrepancy, DiscrepancyKind, compare, event_for, unreadable_row
from giftcards.rules.orders import Order
from giftcards.rules.schedule import MAX_BACKOFF_SECONDS
from support.examples import NOW, ORDER_ID, USER_ID
from support.secrets import leaks
from support.supplier import order_data

LONG_AGO = NOW - timedelta(hours=5)
SECOND = timedelta(seconds=1)
NUMBERS = {
    "quantity": 2,
    "fulfilled_quantity": 2,
    "fulfilled_amount": Decimal(981),
    "price_per_card": Decimal("490.5"),
}
AMOUNTS = ["fulfilled_amount", "price_per_card"]


def listed(status: str = "FULFILLED", quantity: int = 2, placed_at: datetime = LONG_AGO, **changes: Any) -> ListedOrder:
    return ListedOrder.model_validate(order_data(status, quantity, **{"time": timestamp(placed_at)} | changes))


def ours(status: OrderStatus = OrderStatus.FULFILLED, **changes: Any) -> Order:
    """Return an order claimed and, if it is closed, closed long ago."""
    closed = {**NUMBERS, "delivered_at": LONG_AGO} if status.is_final else {}
    fields = {"order_id": ORDER_ID, "user_id": USER_ID, "claimed_at": LONG_AGO, "execution_arn": "arn"}
    return Order.model_validate({**fields, "status": status, **closed, **changes})


def refunded(**changes: Any) -> Order:
    nothing = {"fulfilled_quantity": 0, "fulfilled_amount": None, "price_per_card": None, "delivered_at": None}
    return ours(OrderStatus.REFUNDED, **nothing | {"refunded_at": LONG_AGO} | changes)


def found(supplier_says: ListedOrder | BrokenOrder, order: Order | None) -> Discrepancy:
    discrepancy = compare(supplier_says, order, NOW)
    assert discrepancy is not None
    assert not leaks(repr(discrepancy), discrepancy.model_dump(), discrepancy.model_dump_json())
    return discrepancy


def test_grace_is_the_longest_wait_of_the_workflow():
    assert GRACE.total_seconds() == MAX_BACKOFF_SECONDS == 900


# ----------------------------------------------------------------- unclaimed


@pytest.mark.parametrize("status", ["HANDLING", "FULFILLED", "PARTIALLY_FILLED", "REFUNDED"])
def test_unknown_order_is_unclaimed_at_any_status(status: str):
    discrepancy = found(listed(status, 4), None)

    assert (discrepancy.kind, discrepancy.order_id, discrepancy.user_id) == (DiscrepancyKind.UNCLAIMED, ORDER_ID, None)
    assert (discrepancy.ours, discrepancy.theirs) == ({}, {"status": status, "quantity": 4})
    assert discrepancy.since == LONG_AGO


@pytest.mark.parametrize(
    ("age", "is_unclaimed"), [(GRACE + SECOND, True), (GRACE, False), (timedelta(0), False), (-GRACE, False)]
)
def test_order_placed_just_now_is_no_discrepancy(age: timedelta, *, is_unclaimed: bool):
    assert (compare(listed(placed_at=NOW - age), None, NOW) is not None) is is_unclaimed


# ------------------------------------------------------------------- overdue


@pytest.mark.parametrize("status", [OrderStatus.HANDLING, OrderStatus.HELD])
@pytest.mark.parametrize("final", ["FULFILLED", "PARTIALLY_FILLED", "REFUNDED"])
def test_final_order_that_is_open_here_is_overdue(status: OrderStatus, final: str):
    discrepancy = found(listed(final), ours(status))

    assert (discrepancy.kind, discrepancy.user_id, discrepancy.since) == (DiscrepancyKind.OVERDUE, USER_ID, LONG_AGO)
    assert (discrepancy.ours, discrepancy.theirs) == ({"status": status}, {"status": final})


@pytest.mark.parametrize(("age", "is_overdue"), [(GRACE + SECOND, True), (GRACE, False), (timedelta(0), False)])
def test_order_that_was_just_claimed_may_still_be_delivered(age: timedelta, *, is_overdue: bool):
    order = ours(OrderStatus.HANDLING, claimed_at=NOW - age)

    assert (compare(listed(), order, NOW) is not None) is is_overdue


@pytest.mark.parametrize("status", [OrderStatus.HANDLING, OrderStatus.HELD])
def test_pending_order_that_is_open_here_is_no_discrepancy(status: OrderStatus):
    assert compare(listed("HANDLING"), ours(status), NOW) is None


# ------------------------------------------------------------------ mismatch


@pytest.mark.parametrize(
    ("supplier_says", "order"),
    [
        (listed(), ours()),
        (listed(fulfilled_amount=981.0, price_per_card=490.50), ours()),
        (
            listed("PARTIALLY_FILLED", 4),
            ours(OrderStatus.PARTIALLY_FILLED, quantity=4),
        ),
        (listed("REFUNDED"), refunded()),
        (listed("REFUNDED", fulfilled_quantity=None, fulfilled_amount=None, price_per_card=None), refunded()),
        (listed("REFUNDED"), refunded(fulfilled_amount=Decimal(0), price_per_card=Decimal(500))),
        (listed(fulfilled_amount=0, price_per_card=0), ours(fulfilled_amount=Decimal(0), price_per_card=Decimal(0))),
    ],
)
def test_order_that_matches_the_list_is_no_discrepancy(supplier_says: ListedOrder, order: Order):
    assert compare(supplier_says, order, NOW) is None


@pytest.mark.parametrize(
    ("changes", "fields", "here", "at_supplier"),
    [
        (
            {"fulfilled_amount": 5, "price_per_card": 2.5},
            ["fulfilledAmount", "pricePerCard"],
            [981, Decimal("490.5")],
            [5, 2.5],
        ),
        ({"fulfilled_amount": 990}, ["fulfilledAmount"], [981], [990]),
        ({"price_per_card": 0.5}, ["pricePerCard"], [Decimal("490.5")], [Decimal("0.5")]),
        ({"price_per_card": 490.51}, ["pricePerCard"], [Decimal("490.5")], [Decimal("490.51")]),
    ],
)
def test_numbers_that_differ_are_named_with_both_values(
    changes: dict[str, Any], fields: list[str], here: list[Any], at_supplier: list[Any]
):
    discrepancy = found(listed(**changes), ours())

    assert (discrepancy.kind, discrepancy.user_id) == (DiscrepancyKind.MISMATCH, USER_ID)
    assert list(discrepancy.fields) == fields
    assert discrepancy.ours == dict(zip(fields, here, strict=True))
    assert discrepancy.theirs == dict(zip(fields, at_supplier, strict=True))
    assert all(field in discrepancy.message for field in fields)


@pytest.mark.parametrize(
    ("listing", "order", "here", "at_supplier"),
    [
        (listed("REFUNDED"), ours(), "FULFILLED", "REFUNDED"),
        (listed(), refunded(), "REFUNDED", "FULFILLED"),
        (listed("PARTIALLY_FILLED", 4), ours(), "FULFILLED", "PARTIALLY_FILLED"),
        (listed("HANDLING"), ours(), "FULFILLED", "HANDLING"),
    ],
)
def test_status_that_differs_is_named_with_both_values(listing: ListedOrder, order: Order, here: str, at_supplier: str):
    discrepancy = found(listing, order)

    assert discrepancy.kind is DiscrepancyKind.MISMATCH
    assert (discrepancy.ours["status"], discrepancy.theirs["status"]) == (here, at_supplier)
    assert re.search(rf"status\b.*\b{here}\b.*\b{at_supplier}\b", discrepancy.message)


def test_counts_that_differ_are_named_with_both_values():
    discrepancy = found(listed(quantity=3, fulfilled_amount=981), ours())

    assert discrepancy.ours == {"quantity": 2, "fulfilledQuantity": 2}
    assert discrepancy.theirs == {"quantity": 3, "fulfilledQuantity": 3}


def test_order_pending_again_is_compared_by_status_only():
    assert found(listed("HANDLING", 5), ours()).fields == ("status",)


@pytest.mark.parametrize("closed", [{"delivered_at": NOW - GRACE}, {"delivered_at": None, "refunded_at": NOW - SECOND}])
def test_order_closed_after_its_page_is_no_discrepancy(closed: dict[str, Any]):
    assert compare(listed("HANDLING"), ours(**closed), NOW) is None


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("theirs", ["missing", "null", "text"])
def test_unknown_amount_is_no_discrepancy(amount: str, theirs: str):
    supplier_says = {"missing": {amount: None}, "null": {amount: "null"}, "text": {amount: "490 DZD"}}[theirs]

    assert compare(listed(**supplier_says), ours(), NOW) is None
    assert compare(listed(), ours(**{amount: None}), NOW) is None
    assert compare(listed(**supplier_says), ours(**{amount: None}), NOW) is None


@pytest.mark.parametrize("missing", sorted(set(NUMBERS) - set(AMOUNTS)))
def test_closed_row_that_lacks_a_number_is_a_mismatch(missing: str):
    assert found(listed(), ours(**{missing: None})).kind is DiscrepancyKind.MISMATCH


def test_row_with_an_impossible_number_is_a_mismatch():
    assert found(listed(), ours(fulfilled_amount=Decimal(-5), quantity=-1)).fields == ("quantity", "fulfilledAmount")


@pytest.mark.parametrize("order", [None, ours(), ours(OrderStatus.HANDLING)])
def test_broken_listed_order_is_a_mismatch_of_its_fields(order: Order | None):
    discrepancy = found(BrokenOrder(ORDER_ID, ("quantity", "status")), order)

    assert (discrepancy.kind, discrepancy.order_id) == (DiscrepancyKind.MISMATCH, ORDER_ID)
    assert discrepancy.user_id == (order and USER_ID)
    assert discrepancy.fields == ("quantity", "status")
    assert "quantity, status" in discrepancy.message


@pytest.mark.parametrize("fields", [("_id",), ()])
def test_order_without_a_readable_id_is_a_mismatch_too(fields: tuple[str, ...]):
    discrepancy = found(BrokenOrder(None, fields), None)

    assert (discrepancy.kind, discrepancy.order_id, discrepancy.fields) == (DiscrepancyKind.MISMATCH, None, fields)
    assert all(field in discrepancy.message for field in fields)


def test_row_that_cannot_be_read_is_a_mismatch_by_its_fields():
    discrepancy = unreadable_row(ORDER_ID, ("claimedAt", "status"))

    assert (discrepancy.kind, discrepancy.fields) == (DiscrepancyKind.MISMATCH, ("claimedAt", "status"))
    assert "claimedAt, status" in discrepancy.message


# --------------------------------------------------------------------- event


def test_unclaimed_event_has_the_suppliers_values():
    event = event_for(found(listed("PARTIALLY_FILLED", 4), None), NOW)

    assert event == OrderUnclaimed(
        order_id=ORDER_ID, placed_at=LONG_AGO, quantity=4, status="PARTIALLY_FILLED", occurred_at=NOW
    )


def test_overdue_event_has_both_statuses_and_the_age():
    event = event_for(found(listed("REFUNDED"), ours(OrderStatus.HELD)), NOW)

    assert event == OrderOverdue(
        order_id=ORDER_ID,
        user_id=USER_ID,
        status="HELD",
        supplier_status="REFUNDED",
        pending_seconds=5 * 3600,
        occurred_at=NOW,
    )


def test_mismatch_event_names_its_fields():
    discrepancy = found(listed(fulfilled_amount=990.5), ours())

    event = event_for(discrepancy, NOW)

    assert event == OrderMismatch(
        order_id=ORDER_ID,
        user_id=USER_ID,
        fields=("fulfilledAmount",),
        message=discrepancy.message,
        occurred_at=NOW,
    )
    assert re.search(r"fulfilledAmount\b.*\b981\b.*\b990\.5\b", discrepancy.message)


def test_event_leaves_out_unknown_values():
    sent = event_for(found(BrokenOrder(None, ()), None), NOW).model_dump(by_alias=True, exclude_none=True)

    assert set(sent) == {"schemaVersion", "occurredAt", "fields", "message"}


# ----------------------------------------------------------------- repetition


def test_overdue_order_stays_the_same_discrepancy_with_age():
    order = ours(OrderStatus.HELD)
    later = compare(listed(), order, NOW + timedelta(hours=1))

    assert later is not None
    assert later.details == found(listed(), order).details


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (found(listed("HANDLING"), None), found(listed(), None)),
        (found(listed(), ours(OrderStatus.HANDLING)), found(listed(), ours(OrderStatus.HELD))),
        (found(listed(fulfilled_amount=990), ours()), found(listed(fulfilled_amount=991), ours())),
        (found(BrokenOrder(ORDER_ID, ("status",)), None), found(BrokenOrder(ORDER_ID, ("time",)), None)),
        (unreadable_row(ORDER_ID, ("status",)), found(BrokenOrder(ORDER_ID, ("status",)), None)),
    ],
)
def test_other_details_are_another_discrepancy(first: Discrepancy, other: Discrepancy):
    assert first.details != other.details
