"""The life cycle of an order: open, held, closed."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID, uuid5

from pydantic import AwareDatetime, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from giftcards.contracts.base import Contract, Identifier
from giftcards.contracts.events import (
    CardsDelivered,
    CardsPartiallyDelivered,
    HeldReason,
    OrderEvent,
    OrderPlaced,
    OrderRefunded,
)
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.supplier import AcceptedOrder, SettledOrder

_DELIVERIES = UUID("6f1a5f0e-6a0b-5d0b-9c3f-0d6a8a5b7c11")
CLOSING_FIELDS = frozenset(
    {
        "status",
        "quantity",
        "fulfilled_quantity",
        "fulfilled_amount",
        "price_per_card",
        "refunded_quantity",
        "undelivered_cards",
        "checks",
        "delivery_id",
        "card_rows",
        "delivered_at",
        "cards_expire_at",
        "refunded_at",
    }
)
"""Fields of an order that its closing sets."""
FIELDS_OF_CLOSED_ORDERS = (CLOSING_FIELDS - {"status", "checks"}) | {"delivery_attempt", "announced_at"}
"""Fields that an open order does not have."""
CLOSING_EVENTS: Mapping[OrderStatus, type[OrderEvent]] = {
    OrderStatus.FULFILLED: CardsDelivered,
    OrderStatus.PARTIALLY_FILLED: CardsPartiallyDelivered,
    OrderStatus.REFUNDED: OrderRefunded,
}


def _none_if_invalid(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


LenientTime = Annotated[AwareDatetime | None, WrapValidator(_none_if_invalid)]
"""The shop's value. It must not make an order unreadable."""


class Acceptance(Contract):
    """An operator's decision to deliver the cards of a held order as they arrive.

    Attributes
    ----------
    by
        ARN of the operator.
    cards
        Number of cards that arrived; 0 accepts a refund.
    ordered
        Number of cards ordered, if the supplier does not say.
    """

    by: str
    reason: str
    at: AwareDatetime
    cards: Annotated[int, Field(ge=0)]
    ordered: Annotated[int | None, Field(ge=1)] = None


class Order(Contract):
    """The order row.

    The workflow writes it on claim, hold and delay, DeliverCards when it closes the order, and SweepOrders when the
    order's execution is gone.

    Attributes
    ----------
    execution_arn
        None from the sweep until the workflow resumes the order.
    accept_cards
        The next hold removes it; a closed order keeps it.
    checks
        Answers of CheckStatus in all executions that held or closed the order; an execution that was lost is not
        counted.
    refunded_quantity
        Stated by the supplier for a PARTIALLY_FILLED order whose cards were accepted. None for any other order, where
        it is ``quantity - fulfilled_quantity``.
    undelivered_cards
        Cards that arrived and are not delivered.
    card_rows
        Index of the first card in each of its card rows. None if it has no cards, or if an earlier release closed it
        and wrote a row for each card.
    delivery_attempt
        The delivery that closed the order in such a release, and is inside each of these cards; None for the oldest.
    """

    order_id: Identifier
    user_id: Identifier
    status: OrderStatus
    claimed_at: AwareDatetime
    execution_arn: str | None = None
    placed_at: LenientTime = None
    delayed_at: AwareDatetime | None = None
    held_at: AwareDatetime | None = None
    held_reason: HeldReason | None = None
    held_message: str | None = None
    quantity: int | None = None
    fulfilled_quantity: int | None = None
    fulfilled_amount: Decimal | None = None
    price_per_card: Decimal | None = None
    refunded_quantity: int | None = None
    undelivered_cards: int | None = None
    checks: int | None = None
    delivery_id: str | None = None
    card_rows: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    delivery_attempt: str | None = None
    delivered_at: AwareDatetime | None = None
    cards_expire_at: AwareDatetime | None = None
    refunded_at: AwareDatetime | None = None
    announced_at: AwareDatetime | None = None
    swept_at: AwareDatetime | None = None
    accept_cards: Annotated[Acceptance | None, WrapValidator(_none_if_invalid)] = None

    @property
    def missing_amounts(self) -> tuple[str, ...]:
        """Which amounts a delivered order lacks, because the supplier sent none that can be read."""
        amounts = {"fulfilledAmount": self.fulfilled_amount, "pricePerCard": self.price_per_card}
        return tuple(name for name, amount in amounts.items() if amount is None) if self.status.is_delivered else ()

    @property
    def irregularities(self) -> str:
        """What a person should know about a closed order, in sentences; empty if nothing is irregular."""
        missing = (
            f" The supplier sent no readable {' and '.join(self.missing_amounts)}." if self.missing_amounts else ""
        )
        is_accepted = self.accept_cards is not None and self.accept_cards.cards == self.fulfilled_quantity
        accepted = " An operator accepted it as it arrived." if is_accepted else ""
        left = f" Cards that arrived and were not delivered: {self.undelivered_cards}."
        return missing + accepted + (left if self.undelivered_cards else "")

    @property
    def ordered_at(self) -> datetime:
        """Start of the user's wait: when the shop says that the order was placed, or else the claim."""
        return self.placed_at or self.claimed_at

    @property
    def closed_at(self) -> datetime | None:
        """When it was delivered or refunded."""
        return self.delivered_at or self.refunded_at


def delivery_id_of(order_id: str) -> str:
    """Return the id of an order's only delivery. It is the same each time, so that consumers can be idempotent."""
    return str(uuid5(_DELIVERIES, order_id))


def close(order: Order, settled: SettledOrder, now: datetime, *, checks: int) -> Order:
    """Close an open order with the supplier's result, at the millisecond that its row will have.

    Parameters
    ----------
    checks
        Of the execution that closes the order; the row has those of earlier executions.
    """
    is_refund = not settled.cards
    accepted = settled if isinstance(settled, AcceptedOrder) else None
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    return order.model_copy(
        update={
            "status": OrderStatus(settled.status),
            "quantity": settled.quantity,
            "fulfilled_quantity": len(settled.cards),
            "fulfilled_amount": settled.fulfilled_amount,
            "price_per_card": settled.price_per_card,
            "refunded_quantity": accepted and accepted.refunded_quantity,
            "undelivered_cards": (accepted and accepted.undelivered_cards) or None,
            "checks": (order.checks or 0) + checks,
            "delivery_id": None if is_refund else delivery_id_of(order.order_id),
            "card_rows": None,
            "delivery_attempt": None,
            "delivered_at": None if is_refund else now,
            "refunded_at": now if is_refund else None,
        }
    )


def with_card_expiry(closed: Order, card_retention: timedelta | None) -> Order:
    """Set the time when DynamoDB may delete a closed order's cards, a full second; None as retention keeps them."""
    if closed.delivered_at is None or card_retention is None:
        return closed
    return closed.model_copy(update={"cards_expire_at": (closed.delivered_at + card_retention).replace(microsecond=0)})


def time_to_delivery(order: Order) -> timedelta | None:
    """Return how long the user waited for the cards, at least 0; None if there are none."""
    if order.delivered_at is None:
        return None
    return max(timedelta(0), order.delivered_at - order.ordered_at)


def event_to_resume(order: Order) -> OrderPlaced:
    """Make the event that makes the workflow resume an order for its user."""
    return OrderPlaced(order_id=order.order_id, user_id=order.user_id, placed_at=order.placed_at)


def event_for(order: Order) -> OrderEvent:
    """Make the event of a closed order for the shop; it is the same each time."""
    if order.status not in CLOSING_EVENTS:
        raise ValueError(f"an order that is {order.status} has no event")
    fields = order.model_dump(exclude_none=True) | {"occurred_at": order.closed_at}
    if order.status is OrderStatus.PARTIALLY_FILLED and not order.refunded_quantity:
        fields["refunded_quantity"] = (order.quantity or 0) - (order.fulfilled_quantity or 0)
    return CLOSING_EVENTS[order.status].model_validate(fields)
