"""Rows of the card table, as the service writes them."""

from datetime import datetime, timedelta
from typing import Any

from giftcards.adapters.timestamps import timestamp
from support.examples import EXECUTION, NOW, ORDER_ID, USER_ID

Row = dict[str, Any]


def claimed(
    order_id: str = ORDER_ID, user_id: str = USER_ID, claimed_at: datetime | None = None, **attributes: Any
) -> Row:
    """Return the row that ClaimOrder writes, 60 s ago unless a time is given."""
    return {
        "pk": f"ORDER#{order_id}",
        "sk": "ORDER",
        "orderId": order_id,
        "userId": user_id,
        "status": "HANDLING",
        "openStatus": "HANDLING",
        "claimedAt": timestamp(claimed_at or NOW - timedelta(seconds=60)),
        "executionArn": EXECUTION,
        **attributes,
    }


def held(row: Row, reason: str = "DEADLINE_PASSED", held_at: datetime = NOW) -> Row:
    """Return a row as HoldOrder changes it."""
    hold = {"heldReason": reason, "heldMessage": "m", "heldAt": timestamp(held_at)}
    return row | {"status": "HELD", "openStatus": "HELD", **hold}


def closed(row: Row, cards: int, closed_at: datetime = NOW, *, quantity: int | None = None, **attributes: Any) -> Row:
    """Return a row as DeliverCards closes it, with its event not published yet.

    Parameters
    ----------
    quantity
        Cards ordered; as many as delivered if None.
    """
    quantity = cards if quantity is None else quantity
    status = {0: "REFUNDED", quantity: "FULFILLED"}.get(cards, "PARTIALLY_FILLED")
    closing = {"refundedAt" if cards == 0 else "deliveredAt": timestamp(closed_at)}
    return row | {"status": status, "quantity": quantity, "fulfilledQuantity": cards, **closing, **attributes}


def published(row: Row, published_at: datetime = NOW) -> Row:
    """Return a closed row after its event is published: it leaves the index of open orders."""
    kept = {name: value for name, value in row.items() if name != "openStatus"}
    return kept | {"announcedAt": timestamp(published_at)}


def cards(order_id: str, first: int, ciphertext: bytes) -> Row:
    """Return the keys and the ciphertext of a card row, by the index of its first card."""
    return {"pk": f"ORDER#{order_id}", "sk": f"CARDS#{first:05d}", "ciphertext": ciphertext}
