"""What the supplier answers about an order, as its documents describe it.

Views of one document: ``OrderProgress`` and ``ListedOrder`` leave the cards where they are; ``SettledOrder`` takes
them, as secrets. Strict about whose cards they are and how many: what is missing or contradictory there is a broken
contract. Liberal about everything else: unknown fields are ignored, values are read in any spelling that has one
meaning, and an amount that cannot be read is left out.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from giftcards.events import Identifier
from giftcards.rules.supplier_values import amount_of, count_of, has_visible_character, text_of

MAX_CARD_TEXT = 2_048
"""Characters. Real codes have some dozen; 99 cards of this size still fit into one transaction (4 MB)."""
MAX_ACCEPTED_CARD_TEXT = 4 * MAX_CARD_TEXT
"""Characters of a card that a person has accepted."""
Count = Annotated[int, BeforeValidator(count_of)]
CardsOrdered = Annotated[int, Field(ge=1), BeforeValidator(count_of)]
Amount = Annotated[Decimal | None, PlainValidator(amount_of)]


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


_STATUSES = {status.replace("_", ""): status for status in SupplierStatus}


def _status_of(value: Any) -> Any:
    """Read a status whatever its case and separators."""
    return _STATUSES.get(re.sub(r"[\s_.-]+", "", value).upper(), value) if isinstance(value, str) else value


Status = Annotated[SupplierStatus, BeforeValidator(_status_of)]


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
    """How far an order is, without its cards and counts."""

    order_id: Annotated[str, StringConstraints(min_length=1), BeforeValidator(text_of)] = Field(alias="_id")
    status: Status


class Card(_Answer):
    """One card. Both fields are secret: the value is the money, the serial (if any) the second credential."""

    value: SecretStr
    serial: SecretStr | None = None


def _card_text(value: Any) -> Any:
    text = text_of(value)
    if isinstance(text, str) and not _is_unicode(text):
        raise ValueError("a card has text that is not valid Unicode")
    return text


def _card_value(value: Any) -> Any:
    text = _card_text(value)
    if isinstance(text, str) and not has_visible_character(text):
        raise ValueError("a card's value has no visible character")
    return text


def _card_serial(value: Any) -> Any:
    """Read a serial; products that have only a code come with null, an empty text or blanks."""
    text = _card_text(value)
    return None if isinstance(text, str) and not has_visible_character(text) else text


def _is_unicode(text: str) -> bool:
    """Say whether a text can be stored: not with half a surrogate pair, nor with bytes that were no UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


class SuppliedCard(Card):
    """A card that can be delivered without an operator's decision."""

    value: Annotated[SecretStr, Field(max_length=MAX_CARD_TEXT), BeforeValidator(_card_value)]
    serial: Annotated[SecretStr | None, Field(max_length=MAX_CARD_TEXT), BeforeValidator(_card_serial)] = None


class CountedOrder(OrderProgress):
    """An order with its counts and amounts. Pending orders have no counts or amounts yet.

    Attributes
    ----------
    fulfilled_amount, price_per_card
        DZD. None where the supplier sends none that can be read; nothing depends on them.
    """

    quantity: CardsOrdered
    fulfilled_quantity: Count | None = None
    fulfilled_amount: Amount = None
    price_per_card: Amount = None

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        match self.status:
            case SupplierStatus.HANDLING:
                return self
            case SupplierStatus.FULFILLED:
                agree = self.cards_due == self.quantity
            case SupplierStatus.PARTIALLY_FILLED:
                agree = 0 < self.cards_due < self.quantity
            case SupplierStatus.REFUNDED:
                agree = self.cards_due == 0
        if not agree:
            raise ContradictionError("fulfilled_quantity contradicts the status", "fulfilled_quantity", "status")
        return self

    @property
    def cards_due(self) -> int:
        """How many cards belong to the order. Without ``fulfilled_quantity``, FULFILLED says that it is all of them."""
        if self.fulfilled_quantity is None:
            return self.quantity if self.status is SupplierStatus.FULFILLED else 0
        return self.fulfilled_quantity


def _none_is_empty(value: Any) -> Any:
    return () if value is None else value


class SettledOrder(CountedOrder):
    """An order with its cards. Pending orders have none yet."""

    cards: Annotated[tuple[SuppliedCard, ...], BeforeValidator(_none_is_empty)] = ()

    @model_validator(mode="after")
    def _cards_agree(self) -> Self:
        if self.status is SupplierStatus.HANDLING:
            return self
        if len(self.cards) != self.cards_due:
            raise ValueError("the number of cards contradicts fulfilled_quantity")
        if _has_repeats(self.cards):
            raise ValueError("a card appears twice")
        return self


class AcceptedOrder(SettledOrder):
    """A settled order whose cards a person has accepted as they arrived, whatever their number and values.

    Nothing else can be accepted: not another order's cards, not an unknown status, and there must be a card. Its
    status and counts are those of the cards that arrived.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _accept(cls, data: Any, handler: ModelWrapValidatorHandler["AcceptedOrder"]) -> "AcceptedOrder":
        try:
            return handler(data)
        except ValidationError:
            try:
                arrived = _ArrivedOrder.model_validate(data)
            except ValidationError:
                arrived = None
            if arrived is None or not arrived.status.is_final or not arrived.cards:
                raise
        count = len(arrived.cards)
        quantity = arrived.quantity or count
        status = SupplierStatus.FULFILLED if count >= quantity else SupplierStatus.PARTIALLY_FILLED
        return cls.model_construct(
            **dict(arrived) | {"status": status, "quantity": quantity, "fulfilled_quantity": count}
        )


def _serial_or_none(value: Any) -> SecretStr | None:
    text = text_of(value)
    is_serial = isinstance(text, str) and _is_unicode(text) and has_visible_character(text)
    return SecretStr(text) if is_serial and len(text) <= MAX_ACCEPTED_CARD_TEXT else None


class _AcceptedCard(Card):
    value: Annotated[SecretStr, Field(min_length=1, max_length=MAX_ACCEPTED_CARD_TEXT), BeforeValidator(_card_text)]
    serial: Annotated[SecretStr | None, PlainValidator(_serial_or_none)] = None


def _arrived_cards(value: Any) -> tuple[_AcceptedCard, ...]:
    cards = []
    for card in value if isinstance(value, list) else ():
        with suppress(ValidationError):
            cards.append(_AcceptedCard.model_validate(card))
    return tuple(cards)


def _quantity_or_none(value: Any) -> int | None:
    try:
        return count_of(value)
    except ValueError:
        return None


class _ArrivedOrder(OrderProgress):
    quantity: Annotated[int | None, PlainValidator(_quantity_or_none)] = None
    fulfilled_amount: Amount = None
    price_per_card: Amount = None
    cards: Annotated[tuple[_AcceptedCard, ...], PlainValidator(_arrived_cards)] = ()


def _has_repeats(cards: Sequence[Card]) -> bool:
    """Say whether a card appears twice. Where a serial is missing, nothing tells two equal values apart."""
    serials_by_value: dict[str, list[str | None]] = {}
    for card in cards:
        serial = None if card.serial is None else card.serial.get_secret_value()
        serials_by_value.setdefault(card.value.get_secret_value().strip(), []).append(serial)
    return any(
        len(serials) > 1 and (None in serials or len(set(serials)) < len(serials))
        for serials in serials_by_value.values()
    )


ListedId = Annotated[Identifier, BeforeValidator(text_of)]


class ListedOrder(CountedOrder):
    """An order of the supplier's list, which holds its cards in clear: they are not taken."""

    order_id: ListedId = Field(alias="_id")
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
    order_id: ListedId = Field(alias="_id")


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

    page: Annotated[int, Field(ge=1), BeforeValidator(count_of)]
    page_size: Annotated[int, Field(ge=1), BeforeValidator(count_of)] = Field(alias="pageSize")
    total_pages: Count = Field(alias="totalPages")
    total_results: Count = Field(alias="totalResults")


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
