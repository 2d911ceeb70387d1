"""What the supplier answers about an order, as its documents describe it.

Two views of one document: ``OrderProgress`` leaves the cards where they are, for whoever only has to
know how far the order is; ``SettledOrder`` takes them, as secrets. Unknown fields are ignored, missing
or contradicting ones are a broken contract.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

LONGEST_CARD_SECRET = 2_048
"""Characters. Real codes have some dozen; 99 cards of this size still fit into one transaction (4 MB)."""
CardSecret = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST_CARD_SECRET)]
Amount = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class SupplierStatus(StrEnum):
    """The supplier's words for how far an order is. The last three are final."""

    HANDLING = "HANDLING"
    FULFILLED = "FULFILLED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    REFUNDED = "REFUNDED"

    @property
    def is_final(self) -> bool:
        """Whether the supplier is done with the order."""
        return self is not SupplierStatus.HANDLING


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="ignore")


class OrderProgress(_Answer):
    """How far an order is, without its cards."""

    order_id: Annotated[str, StringConstraints(min_length=1)] = Field(alias="_id")
    status: SupplierStatus
    quantity: int = Field(ge=1, strict=True)


class Card(_Answer):
    """One card. Both fields are secret: the value is the money, the serial the second credential."""

    value: CardSecret
    serial: CardSecret


class SettledOrder(OrderProgress):
    """An order with what it came to. Pending orders have no counts, amounts or cards yet."""

    fulfilled_quantity: int | None = Field(default=None, ge=0, strict=True)
    fulfilled_amount: Amount | None = None
    price_per_card: Amount | None = None
    cards: tuple[Card, ...] = ()

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        match self.status:
            case SupplierStatus.HANDLING:
                return self
            case SupplierStatus.FULFILLED:
                agree = self.fulfilled_quantity == self.quantity
            case SupplierStatus.PARTIALLY_FILLED:
                agree = 0 < (self.fulfilled_quantity or 0) < self.quantity
            case SupplierStatus.REFUNDED:
                agree = not self.fulfilled_quantity
        if not agree:
            raise ValueError("fulfilled_quantity contradicts the status")
        if len(self.cards) != (self.fulfilled_quantity or 0):
            raise ValueError("the number of cards contradicts fulfilled_quantity")
        if len({(card.value.get_secret_value(), card.serial.get_secret_value()) for card in self.cards}) != len(
            self.cards
        ):
            raise ValueError("a card appears twice")
        if self.cards and (self.fulfilled_amount is None or self.price_per_card is None):
            raise ValueError("fulfilled_amount or price_per_card is missing")
        return self
