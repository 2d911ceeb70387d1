"""What differs between the supplier's list and our orders: a pure comparison of one order with its row."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from giftcards.contracts.events import (
    Contract,
    Identifier,
    Number,
    OrderMismatch,
    OrderOverdue,
    OrderUnclaimed,
    OutgoingEvent,
)
from giftcards.contracts.supplier import BrokenOrder, ListedOrder, SupplierStatus
from giftcards.rules.orders import Order
from giftcards.rules.schedule import MAX_BACKOFF_SECONDS

GRACE = timedelta(seconds=MAX_BACKOFF_SECONDS)
"""What is younger is no difference yet: so long may a shop take to announce an order, and so long does the
workflow leave a troubled order alone at most."""

Details = dict[str, str | Number]
"""By field, a status, a number, or names of fields: never what the supplier or the shop wrote into a text."""
Fact = str | int | Decimal | None


class DiscrepancyKind(StrEnum):
    """In what way an order differs."""

    UNCLAIMED = "UNCLAIMED"
    """The supplier has it, and nobody has announced it."""
    OVERDUE = "OVERDUE"
    """Final at the supplier, and open here."""
    MISMATCH = "MISMATCH"
    """Closed here as something else than at the supplier, or not readable on one of the two sides."""


class Discrepancy(Contract):
    """One order that differs.

    Attributes
    ----------
    kind
        In what way.
    order_id
        None where the supplier's list has an order without a readable id.
    user_id
        None where it is not known.
    ours, theirs
        What is said here, and what at the supplier, as far as it differs.
    fields
        Which fields differ or cannot be read.
    since
        From when its age counts: placed (unclaimed), claimed (overdue) or closed (mismatch); None where unknown.
    message
        One sentence for a person.
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
        """What makes it the difference that it is: while this stays the same, it is announced once."""
        return {"ours": self.ours, "theirs": self.theirs, "fields": list(self.fields)}


def compare(listed: ListedOrder | BrokenOrder, order: Order | None, now: datetime) -> Discrepancy | None:
    """Compare an order of the supplier's list with its row.

    Parameters
    ----------
    listed
        What the supplier says.
    order
        The row as it was read after the list; None where there is none.
    now
        The time.

    Returns
    -------
    Difference | None
        None where both say the same, or may still come to say it by themselves (``GRACE``).
    """
    if isinstance(listed, BrokenOrder):
        return _broken(listed, order)
    if order is None:
        return _unclaimed(listed, now)
    if order.status.is_closed:
        return _mismatch(listed, order, now)
    return _overdue(listed, order, now)


def unreadable_row(order_id: str, fields: tuple[str, ...]) -> Discrepancy:
    """Say that an order's row cannot be read.

    Parameters
    ----------
    order_id
        Whose row.
    fields
        Which of its attributes are wrong.
    """
    names = ", ".join(fields)
    return Discrepancy(
        kind=DiscrepancyKind.MISMATCH,
        order_id=order_id,
        ours={"unreadable": names},
        fields=fields,
        message=f"Our row of this order cannot be read: {names}.",
    )


def event_for(difference: Discrepancy, now: datetime) -> OutgoingEvent:
    """Make the event that tells of a difference."""
    known = difference.model_dump(include={"order_id", "user_id", "fields", "message"}) | {"occurred_at": now}
    match difference.kind:
        case DiscrepancyKind.UNCLAIMED:
            return OrderUnclaimed.model_validate(known | difference.theirs | {"placed_at": difference.since})
        case DiscrepancyKind.OVERDUE:
            pending = now - (difference.since or now)
            statuses = {"status": difference.ours["status"], "supplier_status": difference.theirs["status"]}
            return OrderOverdue.model_validate(known | statuses | {"pending_seconds": int(pending.total_seconds())})
        case DiscrepancyKind.MISMATCH:
            return OrderMismatch.model_validate(known)


def _broken(listed: BrokenOrder, order: Order | None) -> Discrepancy:
    names = ", ".join(listed.fields) or "it is no object"
    which = "This order" if listed.order_id else "An order without a readable id"
    return Discrepancy(
        kind=DiscrepancyKind.MISMATCH,
        order_id=listed.order_id,
        user_id=order and order.user_id,
        theirs={"broken": names},
        fields=listed.fields,
        message=f"{which} breaks the supplier's documents in the supplier's list: {names}.",
    )


def _unclaimed(listed: ListedOrder, now: datetime) -> Discrepancy | None:
    if now - listed.placed_at <= GRACE:
        return None
    return Discrepancy(
        kind=DiscrepancyKind.UNCLAIMED,
        order_id=listed.order_id,
        theirs={"status": str(listed.status), "quantity": listed.quantity},
        since=listed.placed_at,
        message="The supplier has this order, and nobody has announced it.",
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
    closed_at = order.delivered_at or order.refunded_at
    ours, theirs = _facts(order), _facts(listed)
    if listed.status is SupplierStatus.HANDLING:
        # The order can have been settled and closed after its page was made.
        if closed_at is not None and now - closed_at <= GRACE:
            return None
        theirs = {"status": theirs["status"]}
    fields = tuple(name for name in theirs if ours[name] != theirs[name] and not _is_unknown(name, ours, theirs))
    if not fields:
        return None
    words = [f"{name} is {_said(ours[name])} here and {_said(theirs[name])} at the supplier" for name in fields]
    return Discrepancy(
        kind=DiscrepancyKind.MISMATCH,
        order_id=order.order_id,
        user_id=order.user_id,
        ours={name: value for name in fields if (value := ours[name]) is not None},
        theirs={name: value for name in fields if (value := theirs[name]) is not None},
        fields=fields,
        since=closed_at,
        message=f"This order is closed: {'; '.join(words)}.",
    )


def _facts(order: Order | ListedOrder) -> dict[str, Fact]:
    """Give what has to be the same on both sides. A price of no cards says nothing."""
    return {
        "status": str(order.status),
        "quantity": order.quantity,
        "fulfilledQuantity": order.cards_due if isinstance(order, ListedOrder) else order.fulfilled_quantity or 0,
        "fulfilledAmount": order.fulfilled_amount,
        "pricePerCard": order.price_per_card if order.fulfilled_quantity else None,
    }


def _is_unknown(name: str, ours: Mapping[str, Fact], theirs: Mapping[str, Fact]) -> bool:
    """Say whether a side has no such amount. The supplier may leave amounts out, or send what cannot be read."""
    return name in {"fulfilledAmount", "pricePerCard"} and None in {ours[name], theirs[name]}


def _said(value: Fact) -> str:
    return "missing" if value is None else str(value)
