"""What the supplier answers about an order, as its documents describe it.

Views of one document: ``OrderProgress`` and ``ListedOrder`` leave the cards where they are, for whoever only
has to know how far the order is or what it came to; ``SettledOrder`` takes them, as secrets. Unknown fields
are ignored, missing or contradicting ones are a broken contract.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from giftcards.events import Identifier

LONGEST_CARD_SECRET = 2_048
"""Characters. Real codes have some dozen; 99 cards of this size still fit into one transaction (4 MB)."""
CardSecret = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST_CARD_SECRET)]
LARGEST_COUNT = 1_000_000_000
"""Counts, and amounts, are such that DynamoDB holds them (38 digits): others could not be stored, nor a difference
in them remembered."""
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT, strict=True)]
CardsOrdered = Annotated[int, Field(ge=1, le=LARGEST_COUNT, strict=True)]
Amount = Annotated[Decimal, Field(ge=0, max_digits=38, decimal_places=20, allow_inf_nan=False)]


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


class ContradictionError(ValueError):
    """Fields contradict one another.

    Attributes
    ----------
    fields
        Which, by the supplier's names.
    """

    def __init__(self, message: str, *fields: str) -> None:
        super().__init__(message)
        self.fields = fields


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="ignore")


class OrderProgress(_Answer):
    """How far an order is, without its cards."""

    order_id: Annotated[str, StringConstraints(min_length=1)] = Field(alias="_id")
    status: SupplierStatus
    quantity: CardsOrdered


class Card(_Answer):
    """One card. Both fields are secret: the value is the money, the serial the second credential."""

    value: CardSecret
    serial: CardSecret


class CountedOrder(OrderProgress):
    """An order with what it came to in numbers. Pending orders have no counts or amounts yet."""

    fulfilled_quantity: Count | None = None
    fulfilled_amount: Amount | None = None
    price_per_card: Amount | None = None

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
            raise ContradictionError("fulfilled_quantity contradicts the status", "fulfilled_quantity", "status")
        if self.fulfilled_quantity and (self.fulfilled_amount is None or self.price_per_card is None):
            raise ContradictionError(
                "fulfilled_amount or price_per_card is missing", "fulfilled_amount", "price_per_card"
            )
        return self


class SettledOrder(CountedOrder):
    """An order with its cards. Pending orders have none yet."""

    cards: tuple[Card, ...] = ()

    @model_validator(mode="after")
    def _cards_agree(self) -> Self:
        if self.status is SupplierStatus.HANDLING:
            return self
        if len(self.cards) != (self.fulfilled_quantity or 0):
            raise ValueError("the number of cards contradicts fulfilled_quantity")
        if len({(card.value.get_secret_value(), card.serial.get_secret_value()) for card in self.cards}) != len(
            self.cards
        ):
            raise ValueError("a card appears twice")
        return self


class ListedOrder(CountedOrder):
    """An order of the supplier's list, which holds its cards in clear: they are not taken."""

    order_id: Identifier = Field(alias="_id")
    placed_at: AwareDatetime = Field(alias="time")


@dataclass(frozen=True)
class BrokenOrder:
    """An order of the supplier's list that breaks the supplier's documents.

    Attributes
    ----------
    order_id
        None where that is what cannot be read.
    fields
        Which fields, by the supplier's names; empty where it is no object at all.
    """

    order_id: str | None
    fields: tuple[str, ...]


class _Named(_Answer):
    order_id: Identifier = Field(alias="_id")


def _listed(item: Any) -> ListedOrder | BrokenOrder:
    """Read one order by itself, so that a broken one does not hide the others."""
    try:
        return ListedOrder.model_validate(item)
    except ValidationError as error:
        fields = _broken_fields(error)
    try:
        return BrokenOrder(_Named.model_validate(item).order_id, fields)
    except ValidationError:
        return BrokenOrder(None, fields)


def _broken_fields(error: ValidationError) -> tuple[str, ...]:
    fields: set[str] = set()
    for problem in error.errors(include_url=False, include_input=False):
        cause = problem.get("ctx", {}).get("error")
        fields.update(cause.fields if isinstance(cause, ContradictionError) else map(str, problem["loc"][:1]))
    return tuple(sorted(fields))


class Pagination(_Answer):
    """Which page of the list it is."""

    page: int = Field(ge=1, strict=True)
    page_size: int = Field(alias="pageSize", ge=1, strict=True)
    total_pages: int = Field(alias="totalPages", ge=0, strict=True)
    total_results: int = Field(alias="totalResults", ge=0, strict=True)


class OrderPage(_Answer):
    """A page of the supplier's list."""

    items: tuple[Annotated[ListedOrder | BrokenOrder, PlainValidator(_listed)], ...]
    pagination: Pagination

    @model_validator(mode="after")
    def _numbers_agree(self) -> Self:
        """Believe no page by which orders could be missed without a word."""
        numbers = self.pagination
        pages = -(-numbers.total_results // numbers.page_size)
        if numbers.total_pages not in {pages, max(1, pages)}:
            raise ValueError("totalPages contradicts totalResults and pageSize")
        rest = max(0, numbers.total_results - (numbers.page - 1) * numbers.page_size)
        if len(self.items) != min(numbers.page_size, rest):
            raise ValueError("the number of items contradicts the pagination")
        return self
