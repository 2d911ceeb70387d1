"""The contract on the order bus: what comes in and what goes out, one model for each detail-type.

The field names and meanings are fixed; other programs rely on them. No event ever holds a card.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_camel

from giftcards.rules.mails import BounceKind, MailFailure

SOURCE = "giftcards"
"""The ``source`` of every event that this service publishes."""

Identifier = Annotated[str, StringConstraints(strict=True, pattern=r"^[\x21-\x7e]{1,128}$")]
"""An order or user id: 1 to 128 visible ASCII characters."""


def _json_number(amount: Decimal) -> int | float:
    return int(amount) if amount == amount.to_integral_value() else float(amount)


Number = Annotated[Decimal, PlainSerializer(_json_number, when_used="json")]
"""A number that JSON writes as a whole one where it is one."""

Money = Annotated[Number, Field(ge=0, allow_inf_nan=False)]
"""An amount in the supplier's currency (DZD). Can be 0 in the sandbox and can have decimals."""


class HeldReason(StrEnum):
    """Why an order needs a person. A hold keeps everything; the order can be taken up again."""

    DEADLINE_PASSED = "DEADLINE_PASSED"
    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    SUPPLIER_CONTRACT_BROKEN = "SUPPLIER_CONTRACT_BROKEN"
    INVALID_ORDER = "INVALID_ORDER"
    UNEXPECTED_ERROR = "UNEXPECTED_ERROR"


class Contract(BaseModel):
    """Base of everything that crosses a boundary as JSON: camelCase outside, frozen, errors without input."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, hide_input_in_errors=True, extra="ignore"
    )


class OrderPlaced(Contract):
    """In: a shop has placed and paid an order. May be announced many times; it is fulfilled once."""

    detail_type: ClassVar[str] = "OrderPlaced"

    order_id: Identifier = Field(description="The supplier's order id")
    user_id: Identifier = Field(description="The user whom the cards belong to")
    placed_at: AwareDatetime | None = Field(default=None, description="When the order was placed, ISO 8601")


class OutgoingEvent(Contract):
    """What every outgoing event has."""

    detail_type: ClassVar[str]

    schema_version: Literal["1"] = Field(default="1", description="Changes when a field changes its meaning")
    occurred_at: AwareDatetime = Field(description="When it happened, ISO 8601 in UTC")


class OrderEvent(OutgoingEvent):
    """What every outgoing event about a valid order has."""

    order_id: Identifier = Field(description="The supplier's order id")
    user_id: Identifier = Field(description="The user whom the cards belong to")


class CardsDelivered(OrderEvent):
    """Out: the order is FULFILLED and its cards are stored: all, unless a person has accepted fewer."""

    detail_type: ClassVar[str] = "CardsDelivered"

    delivery_id: str = Field(description="The same on every repeat of this event")
    quantity: int = Field(ge=1, description="Cards ordered")
    fulfilled_quantity: int = Field(ge=1, description="Cards delivered")
    fulfilled_amount: Money | None = Field(
        default=None, description="What the delivered cards cost, DZD; left out where the supplier sends none"
    )
    price_per_card: Money | None = Field(
        default=None, description="What one card cost, DZD; left out where the supplier sends none"
    )


class CardsPartiallyDelivered(CardsDelivered):
    """Out: the order is PARTIALLY_FILLED; the cards that came are stored, the rest is refunded to you."""

    detail_type: ClassVar[str] = "CardsPartiallyDelivered"

    refunded_quantity: int = Field(
        ge=1, description="Cards that the supplier refunded to you; you owe them to the customer"
    )


class OrderRefunded(OrderEvent):
    """Out: the order is REFUNDED in full; there is nothing to deliver."""

    detail_type: ClassVar[str] = "OrderRefunded"

    quantity: int = Field(ge=1, description="Cards ordered")


class OrderDelayed(OrderEvent):
    """Out, once for an order: still pending ``DelayedAfterSeconds`` after the claim."""

    detail_type: ClassVar[str] = "OrderDelayed"

    pending_seconds: int = Field(ge=0, description="Seconds since the claim")


class OrderDisputed(OrderEvent):
    """Out: the order was announced for this user, and belongs to another one, with whom it stays."""

    detail_type: ClassVar[str] = "OrderDisputed"

    user_id: Identifier = Field(description="The user for whom it was announced, not the one whom it belongs to")
    message: str = Field(description="One sentence for a person")


class OrderRepeated(OrderEvent):
    """Out: the order was announced again while it is in hand or done. Nothing has changed."""

    detail_type: ClassVar[str] = "OrderRepeated"


class OrderHeld(OutgoingEvent):
    """Out: the order needs a person. Nothing is lost. Invalid ids are left out."""

    detail_type: ClassVar[str] = "OrderHeld"

    order_id: Identifier | None = Field(default=None, description="Left out where it is invalid")
    user_id: Identifier | None = Field(default=None, description="Left out where it is invalid")
    reason: HeldReason = Field(description="Why it is held")
    message: str = Field(description="One sentence for a person")


class OrderUnclaimed(OutgoingEvent):
    """Out: the supplier has an order that nobody has announced. Whose it is, only the shop knows."""

    detail_type: ClassVar[str] = "OrderUnclaimed"

    order_id: Identifier = Field(description="The supplier's order id")
    placed_at: AwareDatetime = Field(description="When it was placed, as the supplier says")
    quantity: int = Field(ge=1, description="Cards ordered")
    status: Literal["HANDLING", "FULFILLED", "PARTIALLY_FILLED", "REFUNDED"] = Field(
        description="How far the order is at the supplier"
    )


class OrderOverdue(OrderEvent):
    """Out: the order is final at the supplier and still open here."""

    detail_type: ClassVar[str] = "OrderOverdue"

    status: Literal["HANDLING", "HELD"] = Field(description="How far the order is here")
    supplier_status: Literal["FULFILLED", "PARTIALLY_FILLED", "REFUNDED"] = Field(
        description="What the supplier settled it to"
    )
    pending_seconds: int = Field(ge=0, description="Seconds since the claim")


class OrderMismatch(OutgoingEvent):
    """Out: what the supplier's list says of an order and what is stored here contradict one another."""

    detail_type: ClassVar[str] = "OrderMismatch"

    order_id: Identifier | None = Field(default=None, description="Left out where the supplier's list has none")
    user_id: Identifier | None = Field(default=None, description="Left out where it is not known")
    fields: tuple[str, ...] = Field(description="Which fields differ or cannot be read")
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
"""Every event that goes out."""
