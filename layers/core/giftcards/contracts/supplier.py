"""What the supplier answers about an order, as its documents describe it.

Views of one document: ``OrderProgress`` and ``ListedOrder`` leave the cards where they are; ``SettledOrder`` takes
them, as secrets. Strict about whose cards they are and how many: what is missing or contradictory there is a broken
contract. Liberal about everything else: unknown fields are ignored, values are read in any spelling that has one
meaning, and an amount that cannot be read is left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Self, assert_never

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
from pydantic_core import InitErrorDetails, PydanticCustomError

from giftcards.contracts.base import Identifier, invalid_fields
from giftcards.contracts.statuses import SUPPLIER_STATUSES, OrderStatus, SupplierStatus
from giftcards.rules.supplier_values import amount_of, count_of, has_visible_character, text_of

MAX_CARD_TEXT = 2_048
"""Characters. Real codes have some dozen; 160 cards of this size fit into one transaction, however they are escaped."""
MAX_ACCEPTED_CARD_TEXT = 4 * MAX_CARD_TEXT
"""Characters of a card that a person has accepted."""
Count = Annotated[int, BeforeValidator(count_of)]
CardsOrdered = Annotated[int, Field(ge=1), BeforeValidator(count_of)]
Amount = Annotated[Decimal | None, PlainValidator(amount_of)]


_STATUSES = {status.replace("_", ""): status for status in SUPPLIER_STATUSES}


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
    model_config = ConfigDict(defer_build=True, frozen=True, hide_input_in_errors=True, extra="ignore")


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
            case OrderStatus.HANDLING:
                return self
            case OrderStatus.FULFILLED:
                agree = self.cards_due == self.quantity
            case OrderStatus.PARTIALLY_FILLED:
                agree = 0 < self.cards_due < self.quantity
            case OrderStatus.REFUNDED:
                agree = self.cards_due == 0
            case _:
                assert_never(self.status)
        if not agree:
            raise ContradictionError("fulfilled_quantity contradicts the status", "fulfilled_quantity", "status")
        return self

    @property
    def cards_due(self) -> int:
        """How many cards belong to the order. Without ``fulfilled_quantity``, FULFILLED says that it is all of them."""
        if self.fulfilled_quantity is None:
            return self.quantity if self.status is OrderStatus.FULFILLED else 0
        return self.fulfilled_quantity


def _none_is_empty(value: Any) -> Any:
    return () if value is None else value


class SettledOrder(CountedOrder):
    """An order with its cards. Pending orders have none yet."""

    cards: Annotated[tuple[SuppliedCard, ...], BeforeValidator(_none_is_empty)] = ()

    @model_validator(mode="after")
    def _cards_agree(self) -> Self:
        if self.status is OrderStatus.HANDLING:
            return self
        if len(self.cards) != self.cards_due:
            raise ValueError("the number of cards contradicts fulfilled_quantity")
        if _repeats(self.cards):
            raise ValueError("a card appears twice")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _name_what_arrived(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # Defined last: pydantic nests model validators in this order, so it sees what the others raise.
        try:
            return handler(_without_count_of_a_refund(data))
        except ValidationError as error:
            raise _with_arrival(error, data) from None


def _without_count_of_a_refund(data: Any) -> Any:
    """Leave ``fulfilled_quantity`` out of a refund without cards: stale or odd, it changes nothing."""
    is_refund = isinstance(data, dict) and _status_of(data.get("status")) is OrderStatus.REFUNDED
    return data | {"fulfilled_quantity": None} if is_refund and data.get("cards") in (None, []) else data


def _with_arrival(error: ValidationError, data: Any) -> ValidationError:
    """Add to the error what a person needs to know before accepting the order."""
    try:
        arrived = _Arrival.model_validate(data)
    except ValidationError:
        return error
    if not arrived.status.is_final:
        return error
    problems = error.errors(include_url=False, include_input=False)
    lines: list[InitErrorDetails] = [
        {"type": problem["type"], "loc": problem["loc"], "input": None, "ctx": problem.get("ctx", {})}
        for problem in problems
    ]
    arrival = PydanticCustomError("value_error", "{arrived}", {"arrived": arrived.acceptable})
    lines.append({"type": arrival, "loc": problems[0]["loc"], "input": None})
    return ValidationError.from_exception_data(error.title, lines, hide_input=True)


def _serial_or_none(value: Any) -> SecretStr | None:
    text = text_of(value)
    is_serial = isinstance(text, str) and _is_unicode(text) and has_visible_character(text)
    return SecretStr(text) if is_serial and len(text) <= MAX_ACCEPTED_CARD_TEXT else None


class AcceptableCard(Card):
    """A card that a person may accept. It can be longer than a supplied one, and its serial unreadable."""

    value: Annotated[SecretStr, Field(max_length=MAX_ACCEPTED_CARD_TEXT), BeforeValidator(_card_value)]
    serial: Annotated[SecretStr | None, PlainValidator(_serial_or_none)] = None


def _arrived_cards(value: Any) -> tuple[AcceptableCard | None, ...]:
    return tuple(map(_card_or_none, value)) if isinstance(value, list) else ()


def _card_or_none(value: Any) -> AcceptableCard | None:
    try:
        return AcceptableCard.model_validate(value)
    except ValidationError:
        return None


def _count_or_none(value: Any) -> int | None:
    try:
        return count_of(value)
    except ValueError:
        return None


_LenientCount = Annotated[int | None, PlainValidator(_count_or_none)]
MAX_POSITIONS = 10
"""Positions of unreadable or repeated cards that a message names."""


class _Arrival(OrderProgress):
    """An order as it arrives, whatever its counts and cards.

    Attributes
    ----------
    quantity, fulfilled_quantity
        None where they cannot be read.
    arrived
        The cards in their order; None for one without a readable value.
    """

    quantity: _LenientCount = None
    fulfilled_quantity: _LenientCount = None
    fulfilled_amount: Amount = None
    price_per_card: Amount = None
    arrived: Annotated[tuple[AcceptableCard | None, ...], PlainValidator(_arrived_cards)] = Field(
        default=(), alias="cards"
    )

    @property
    def deliverable(self) -> tuple[AcceptableCard, ...]:
        """The readable cards, the first of each repeat. The cards of a refunded order are not sold."""
        if self.status is OrderStatus.REFUNDED:
            return ()
        repeats = set(_repeats(self.arrived))
        return tuple(
            card for number, card in enumerate(self.arrived, start=1) if card is not None and number not in repeats
        )

    @property
    def acceptable(self) -> str:
        """How many cards a person may accept, and which of those that arrived are left out. Never a value."""
        is_surplus = 0 < (self.quantity or 0) < len(self.deliverable)
        text = f"cards that can be accepted: {0 if is_surplus else len(self.deliverable)} of {len(self.arrived)}"
        unreadable = [number for number, card in enumerate(self.arrived, start=1) if card is None]
        text += _named_positions("no readable value", unreadable)
        text += _named_positions("repeats of earlier cards", _repeats(self.arrived))
        text += f"; more than were ordered: {self.quantity}" if is_surplus else ""
        return text + ("; the order is refunded" if self.status is OrderStatus.REFUNDED else "")


def _named_positions(problem: str, numbers: Sequence[int]) -> str:
    if not numbers:
        return ""
    more = [f"{len(numbers) - MAX_POSITIONS} more"] if len(numbers) > MAX_POSITIONS else []
    return f"; {problem}: number {', '.join([*map(str, numbers[:MAX_POSITIONS]), *more])}"


def _settled_or_none(value: Any) -> SettledOrder | None:
    try:
        return SettledOrder.model_validate(value)
    except ValidationError:
        return None


class ArrivedOrder(_Arrival):
    """An order whose cards a person has accepted, as it arrives.

    Attributes
    ----------
    settled
        The same answer where nothing in it is in doubt; None where something is.
    """

    settled: Annotated[SettledOrder | None, PlainValidator(_settled_or_none)] = None

    @model_validator(mode="before")
    @classmethod
    def _read_twice(cls, data: Any) -> Any:
        return data | {"settled": data} if isinstance(data, dict) else data


class AcceptedOrder(SettledOrder):
    """A settled order with the cards that a person has accepted; made by ``rules/acceptance.py``, never parsed.

    Attributes
    ----------
    refunded_quantity
        Cards that the supplier states it refunded; None where it states none.
    undelivered_cards
        Cards that arrived and are not delivered, because they cannot be read, repeat others or the order is refunded.
    """

    refunded_quantity: int | None = None
    undelivered_cards: int = 0


def _repeats(cards: Sequence[Card | None]) -> list[int]:
    """Number the cards from 1 and return those that repeat an earlier one.

    Where a serial is missing, nothing tells two equal values apart.
    """
    serials_by_value: dict[str, set[str | None]] = {}
    repeats: list[int] = []
    for number, card in enumerate(cards, start=1):
        if card is None:
            continue
        serial = None if card.serial is None else card.serial.get_secret_value()
        earlier = serials_by_value.setdefault(card.value.get_secret_value().strip(), set())
        if earlier and (serial is None or not earlier.isdisjoint({serial, None})):
            repeats.append(number)
        else:
            earlier.add(serial)
    return repeats


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
    """Read one order separately, so that a broken one does not hide the others."""
    try:
        return ListedOrder.model_validate(item)
    except ValidationError as error:
        fields = _broken_fields(error)
    try:
        return BrokenOrder(_Named.model_validate(item).order_id, fields)
    except ValidationError:
        return BrokenOrder(None, fields)


def _broken_fields(error: ValidationError) -> tuple[str, ...]:
    causes = [problem.get("ctx", {}).get("error") for problem in error.errors(include_url=False, include_input=False)]
    contradicting = {field for cause in causes if isinstance(cause, ContradictionError) for field in cause.fields}
    return tuple(sorted({*invalid_fields(error), *contradicting}))


class _ListedStatus(_Answer):
    order_id: ListedId = Field(alias="_id")
    status: Status


def _listed_status(item: Any) -> _ListedStatus | None:
    try:
        return _ListedStatus.model_validate(item)
    except ValidationError:
        return None


MAX_STATUSES = 1_000
"""Statuses of a page that are used; the supplier documents 100."""


class StatusPage(_Answer):
    """A page of the supplier's list, of which only the statuses matter: whatever its pagination says.

    Attributes
    ----------
    items
        In the list's order; None for one whose id or status cannot be read.
    """

    items: tuple[Annotated[_ListedStatus | None, PlainValidator(_listed_status)], ...]

    @property
    def statuses(self) -> dict[str, SupplierStatus]:
        """Statuses by order id, without orders that appear with several."""
        found: dict[str, set[SupplierStatus]] = {}
        for item in filter(None, self.items[:MAX_STATUSES]):
            found.setdefault(item.order_id, set()).add(item.status)
        return {order_id: statuses.pop() for order_id, statuses in found.items() if len(statuses) == 1}


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
        """Reject a page that could hide orders."""
        numbers = self.pagination
        pages = -(-numbers.total_results // numbers.page_size)
        if numbers.total_pages not in {pages, max(1, pages)}:
            raise ValueError("totalPages contradicts totalResults and pageSize")
        rest = max(0, numbers.total_results - (numbers.page - 1) * numbers.page_size)
        if len(self.items) != min(numbers.page_size, rest):
            raise ValueError("the number of items contradicts the pagination")
        return self
