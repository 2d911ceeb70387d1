"""The contract on the order bus: one model for each detail-type.

Other programs rely on the names and meanings of the fields. No event ever contains a card.
"""

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import AwareDatetime, Field

from giftcards.contracts.base import Contract, Identifier, Money
from giftcards.contracts.statuses import FinalStatus, OpenStatus, SupplierStatus
from giftcards.rules.mails import BounceKind, MailFailure

SOURCE = "giftcards"
"""The ``source`` of every event that this service publishes."""


class HeldReason(StrEnum):
    """Why an order needs an operator. A hold keeps everything, and the order can be resumed."""

    DEADLINE_PASSED = "DEADLINE_PASSED"
    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    SUPPLIER_CONTRACT_BROKEN = "SUPPLIER_CONTRACT_BROKEN"
    INVALID_ORDER = "INVALID_ORDER"
    UNEXPECTED_ERROR = "UNEXPECTED_ERROR"


class OrderPlaced(Contract):
    """In: a shop has placed and paid an order. It can be published many times; the order is fulfilled once."""

    detail_type: ClassVar[str] = "OrderPlaced"

    order_id: Identifier = Field(description="The supplier's order id")
    user_id: Identifier = Field(description="The user who owns the cards")
    placed_at: AwareDatetime | None = Field(default=None, description="When the order was placed, ISO 8601")


class OutgoingEvent(Contract):
    """Base of outgoing events."""

    detail_type: ClassVar[str]

    schema_version: Literal["1"] = Field(default="1", description="Changes when a field changes its meaning")
    occurred_at: AwareDatetime = Field(description="When it happened, ISO 8601 in UTC")


class OrderEvent(OutgoingEvent):
    """Base of outgoing events about a valid order."""

    order_id: Identifier = Field(description="The supplier's order id")
    user_id: Identifier = Field(description="The user who owns the cards")


class CardsDelivered(OrderEvent):
    """Out: the order is FULFILLED and all its cards are stored, or as many as an operator accepted."""

    detail_type: ClassVar[str] = "CardsDelivered"

    delivery_id: str = Field(description="The same on every repeat of this event")
    quantity: int = Field(ge=1, description="Cards ordered")
    fulfilled_quantity: int = Field(ge=1, description="Cards delivered")
    fulfilled_amount: Money | None = Field(
        default=None, description="Price of the delivered cards, DZD; absent if the supplier sends none"
    )
    price_per_card: Money | None = Field(
        default=None, description="Price of one card, DZD; absent if the supplier sends none"
    )


class CardsPartiallyDelivered(CardsDelivered):
    """Out: the order is PARTIALLY_FILLED; the cards that arrived are stored, the rest is refunded to you."""

    detail_type: ClassVar[str] = "CardsPartiallyDelivered"

    refunded_quantity: int = Field(
        ge=1, description="Cards that the supplier refunded to you; you owe them to the customer"
    )


class OrderRefunded(OrderEvent):
    """Out: the order is REFUNDED in full; there is nothing to deliver."""

    detail_type: ClassVar[str] = "OrderRefunded"

    quantity: int = Field(ge=1, description="Cards ordered")


class OrderDelayed(OrderEvent):
    """Out: the order is still pending ``DelayedAfterSeconds`` after the claim; once for an order."""

    detail_type: ClassVar[str] = "OrderDelayed"

    pending_seconds: int = Field(ge=0, description="Seconds since the claim")


class OrderDisputed(OrderEvent):
    """Out: OrderPlaced named this user, but the order belongs to another user. It stays with that user."""

    detail_type: ClassVar[str] = "OrderDisputed"

    user_id: Identifier = Field(description="The user that OrderPlaced named, not the owner of the order")
    message: str = Field(description="One sentence for a person")


class OrderRepeated(OrderEvent):
    """Out: OrderPlaced was received again for an order that is in progress or done. Nothing has changed."""

    detail_type: ClassVar[str] = "OrderRepeated"


class OrderHeld(OutgoingEvent):
    """Out: the order needs an operator. Nothing is lost. Invalid ids are absent."""

    detail_type: ClassVar[str] = "OrderHeld"

    order_id: Identifier | None = Field(default=None, description="Absent if it is invalid")
    user_id: Identifier | None = Field(default=None, description="Absent if it is invalid")
    reason: HeldReason = Field(description="Why it is held")
    message: str = Field(description="One sentence for a person")


class OrderUnclaimed(OutgoingEvent):
    """Out: the supplier has an order without an OrderPlaced event. Only the shop knows its user."""

    detail_type: ClassVar[str] = "OrderUnclaimed"

    order_id: Identifier = Field(description="The supplier's order id")
    placed_at: AwareDatetime = Field(description="When it was placed, according to the supplier")
    quantity: int = Field(ge=1, description="Cards ordered")
    status: SupplierStatus = Field(description="Status at the supplier")


class OrderOverdue(OrderEvent):
    """Out: the order is final at the supplier and still open here."""

    detail_type: ClassVar[str] = "OrderOverdue"

    status: OpenStatus = Field(description="Status here")
    supplier_status: FinalStatus = Field(description="Status at the supplier")
    pending_seconds: int = Field(ge=0, description="Seconds since the claim")


class OrderMismatch(OutgoingEvent):
    """Out: the supplier's list and the stored order contradict each other."""

    detail_type: ClassVar[str] = "OrderMismatch"

    order_id: Identifier | None = Field(default=None, description="Absent if the supplier's list has none")
    user_id: Identifier | None = Field(default=None, description="Absent if it is not known")
    fields: tuple[str, ...] = Field(description="Fields that differ or cannot be read")
    message: str = Field(description="One sentence for a person")


class LinkMailSent(OrderEvent):
    """Out: Amazon SES has accepted the mail with the buyer's link. It can still bounce."""

    detail_type: ClassVar[str] = "LinkMailSent"

    delivery_id: str = Field(description="The same as in CardsDelivered")
    link_id: str = Field(description="Names the link; it does not open it")
    expires_at: AwareDatetime = Field(description="End of the link")


class LinkMailFailed(OrderEvent):
    """Out: no mail reaches the buyer. Create a link, or publish another RecipientSet (not after SUPPRESSED)."""

    detail_type: ClassVar[str] = "LinkMailFailed"

    reason: MailFailure = Field(description="Why no mail is sent")


class LinkMailBounced(OrderEvent):
    """Out: the mail did not arrive, or its recipient reported it as spam."""

    detail_type: ClassVar[str] = "LinkMailBounced"

    link_id: str = Field(description="Names the link; it does not open it")
    kind: BounceKind = Field(description="What the recipient's mail server answered")


class CardsViewed(OrderEvent):
    """Out, once for a link: its first view. This proves that the buyer has the cards."""

    detail_type: ClassVar[str] = "CardsViewed"

    link_id: str = Field(description="Names the link; it does not open it")
    count: int = Field(ge=1, description="Cards shown")


OUTGOING_EVENTS: tuple[type[OutgoingEvent], ...] = (
    CardsDelivered,
    CardsPartiallyDelivered,
    OrderRefunded,
    OrderDelayed,
    OrderDisputed,
    OrderRepeated,
    OrderHeld,
    OrderUnclaimed,
    OrderOverdue,
    OrderMismatch,
    LinkMailSent,
    LinkMailFailed,
    LinkMailBounced,
    CardsViewed,
)
WEBHOOK_EVENTS = (
    *("CardsDelivered", "CardsPartiallyDelivered", "OrderRefunded", "OrderDelayed", "OrderHeld", "OrderDisputed"),
    *("LinkMailSent", "LinkMailFailed", "LinkMailBounced", "CardsViewed"),
)
"""Events that the webhook posts to the shop; the others are for operators."""
