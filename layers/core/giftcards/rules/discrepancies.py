"""Discrepancies between the supplier's list and the stored orders: a comparison of one order with its row."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from giftcards.contracts.base import Contract, Identifier, Number
from giftcards.contracts.events import OrderMismatch, OrderOverdue, OrderUnclaimed, OutgoingEvent
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.supplier import BrokenOrder, ListedOrder
from giftcards.rules.orders import Order
from giftcards.rules.schedule import MAX_BACKOFF_SECONDS

GRACE = timedelta(seconds=MAX_BACKOFF_SECONDS)
"""A younger order is no discrepancy yet: a shop may take this long to publish OrderPlaced, and after failures the
workflow waits at most this long between two checks."""

Details = dict[str, str | Number]
"""By field, a status, a number, or names of fields: never text from the supplier or the shop."""
Fact = str | int | Decimal | None


class DiscrepancyKind(StrEnum):
    """How an order differs."""

    UNCLAIMED = "UNCLAIMED"
    """The supplier has the order, and no OrderPlaced event was received for it."""
    OVERDUE = "OVERDUE"
    """Final at the supplier, open here."""
    MISMATCH = "MISMATCH"
    """Closed here with another result than at the supplier, or unreadable on one side."""


class Discrepancy(Contract):
    """One order that differs.

    Attributes
    ----------
    order_id
        None if the order in the supplier's list has no readable id.
    user_id
        None if it is not known.
    ours, theirs
        Values here and at the supplier that differ.
    fields
        Names of the fields that differ or cannot be read.
    since
        When it was placed (unclaimed), claimed (overdue) or closed (mismatch); None if unknown.
    message
        One sentence for an operator.
    """

    kind: DiscrepancyKind
    order_id: Identifier | None
    user_id: Identifier | None = None
    ours: Details = Field(default_factory=dict)
    theirs: Details = Field(default_factory=dict)
    fields: tuple[str, ...] = ()
    since: AwareDatetime | None = None
    message: str

    @property
    def details(self) -> dict[str, Any]:
        """What identifies the discrepancy: while it stays the same, the event is published once."""
        return {"ours": self.ours, "theirs": self.theirs, "fields": list(self.fields)}


def compare(listed: ListedOrder | BrokenOrder, order: Order | None, now: datetime) -> Discrepancy | None:
    """Compare an order of the supplier's list with its row; None if they agree, or may still agree later (``GRACE``).

    Parameters
    ----------
    order
        The row as it was read after the list; None if there is none.
    """
    if isinstance(listed, BrokenOrder):
        return _broken(listed, order)
    if order is None:
        return _unclaimed(listed, now)
    if order.status.is_final:
        return _mismatch(listed, order, now)
    return _overdue(listed, order, now)


def unreadable_row(order_id: str, fields: tuple[str, ...]) -> Discrepancy:
    """Make the discrepancy of an order whose row cannot be read because of these fields."""
    names = ", ".join(fields)
    return Discrepancy(
        kind=DiscrepancyKind.MISMATCH,
        order_id=order_id,
        ours={"unreadable": names},
        fields=fields,
        message=f"Our row of this order cannot be read: {names}.",
    )


def event_for(discrepancy: Discrepancy, now: datetime) -> OutgoingEvent:
    """Make the event of a discrepancy."""
    fields = discrepancy.model_dump(include={"order_id", "user_id", "fields", "message"}) | {"occurred_at": now}
    match discrepancy.kind:
        case DiscrepancyKind.UNCLAIMED:
            return OrderUnclaimed.model_validate(fields | discrepancy.theirs | {"placed_at": discrepancy.since})
        case DiscrepancyKind.OVERDUE:
            pending = now - (discrepancy.since or now)
            statuses = {"status": discrepancy.ours["status"], "supplier_status": discrepancy.theirs["status"]}
            return OrderOverdue.model_validate(fields | statuses | {"pending_seconds": int(pending.total_seconds())})
        case DiscrepancyKind.MISMATCH:
            return OrderMismatch.model_validate(fields)


def _broken(listed: BrokenOrder, order: Order | None) -> Discrepancy:
    names = ", ".join(listed.fields) or "it is no object"
    which = "This order" if listed.order_id else "An order without a readable id"
    return Discrepancy(
        kind=DiscrepancyKind.MISMATCH,
        order_id=listed.order_id,
        user_id=order and order.user_id,
        theirs={"broken": names},
        fields=listed.fields,
        message=f"{which} breaks the supplier's documentation in the supplier's list: {names}.",
    )


def _unclaimed(listed: ListedOrder, now: datetime) -> Discrepancy | None:
    if now - listed.placed_at <= GRACE:
        return None
    return Discrepancy(
        kind=DiscrepancyKind.UNCLAIMED,
        order_id=listed.order_id,
        theirs={"status": str(listed.status), "quantity": listed.quantity},
        since=listed.placed_at,
        message="The supplier has this order, but no OrderPlaced event was received for it.",
    )


def _overdue(listed: ListedOrder, order: Order, now: datetime) -> Discrepancy | None:
    if not listed.status.is_final or now - order.claimed_at <= GRACE:
        return None
    return Discrepancy(
        kind=DiscrepancyKind.OVERDUE,
        order_id=order.order_id,
        user_id=order.user_id,
        ours={"status": str(order.status)},
        theirs={"status": str(listed.status)},
        since=order.claimed_at,
        message=f"The supplier has settled this order: {listed.status}. Here it is still {order.status}.",
    )


def _mismatch(listed: ListedOrder, order: Order, now: datetime) -> Discrepancy | None:
    ours, theirs = _facts(order), _facts(listed)
    if listed.status is OrderStatus.HANDLING:
        # The supplier may have settled the order after it made this page.
        if order.closed_at is not None and now - order.closed_at <= GRACE:
            return None
        theirs = {"status": theirs["status"]}
    fields = tuple(name for name in theirs if ours[name] != theirs[name] and not _is_unknown(name, ours, theirs))
    if not fields:
        return None
    words = [f"{name} is {_shown(ours[name])} here and {_shown(theirs[name])} at the supplier" for name in fields]
    return Discrepancy(
        kind=DiscrepancyKind.MISMATCH,
        order_id=order.order_id,
        user_id=order.user_id,
        ours={name: value for name in fields if (value := ours[name]) is not None},
        theirs={name: value for name in fields if (value := theirs[name]) is not None},
        fields=fields,
        since=order.closed_at,
        message=f"This order is closed: {'; '.join(words)}.",
    )


def _facts(order: Order | ListedOrder) -> dict[str, Fact]:
    """Return what must be equal on both sides. The price of an order without cards does not matter."""
    return {
        "status": str(order.status),
        "quantity": order.quantity,
        "fulfilledQuantity": order.cards_due if isinstance(order, ListedOrder) else order.fulfilled_quantity or 0,
        "fulfilledAmount": order.fulfilled_amount,
        "pricePerCard": order.price_per_card if order.fulfilled_quantity else None,
    }


def _is_unknown(name: str, ours: Mapping[str, Fact], theirs: Mapping[str, Fact]) -> bool:
    """Return whether a side lacks this amount: the supplier may omit amounts, or send unreadable ones."""
    return name in {"fulfilledAmount", "pricePerCard"} and None in {ours[name], theirs[name]}


def _shown(value: Fact) -> str:
    return "missing" if value is None else str(value)
