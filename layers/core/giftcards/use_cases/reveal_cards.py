"""RevealCards: decrypt the cards of one order for its user, after writing an audit record."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from giftcards.adapters.audit_table import AuditRecord, AuditTable
from giftcards.adapters.card_cipher import CardCipher, CardUnreadableError, KeyUnavailableError
from giftcards.adapters.order_table import OrderTable, UnreadableOrderError
from giftcards.contracts.base import Contract, Identifier
from giftcards.contracts.supplier import Card
from giftcards.contracts.workflow import Level
from giftcards.metrics import Meter, Metric
from giftcards.rules.orders import Order

MAX_ANSWER_BYTES = 5_000_000
"""Of the cards in an answer. A function's response can have 6 MB
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""


class RevealRequest(Contract):
    """Input of RevealCards.

    Attributes
    ----------
    from_index
        The first card to show, from 1: ``nextIndex`` of the answer before.
    """

    order_id: Identifier
    user_id: Identifier
    from_index: int = Field(default=1, ge=1)
    requested_by: str = Field(default="unknown", max_length=256)
    reason: str = Field(default="", max_length=512)


class RevealOutcome(StrEnum):
    """Result of a request to see cards."""

    REVEALED = "REVEALED"
    INVALID_REQUEST = "INVALID_REQUEST"
    NOT_FOUND = "NOT_FOUND"
    """No such order, or another user's order: the same outcome, so that orders cannot be probed."""
    NOT_DELIVERED = "NOT_DELIVERED"
    CARDS_EXPIRED = "CARDS_EXPIRED"
    CARDS_UNREADABLE = "CARDS_UNREADABLE"
    """A stored card is not the one that was stored: the table was changed."""
    KEY_UNAVAILABLE = "KEY_UNAVAILABLE"
    """KMS cannot decrypt now; the cards may be intact."""

    @property
    def level(self) -> Level:
        """Level of its log line: WARNING for a refusal, ERROR if an operator must act."""
        match self:
            case RevealOutcome.REVEALED:
                return "INFO"
            case RevealOutcome.CARDS_UNREADABLE | RevealOutcome.KEY_UNAVAILABLE:
                return "ERROR"
            case _:
                return "WARNING"


MESSAGES = {
    RevealOutcome.REVEALED: "",
    RevealOutcome.NOT_FOUND: "This user has no order with this id.",
    RevealOutcome.NOT_DELIVERED: "The order has not been delivered.",
    RevealOutcome.CARDS_EXPIRED: "The cards' retention has ended; they are deleted.",
    RevealOutcome.CARDS_UNREADABLE: "The stored cards cannot be decrypted or fail their checks. Tell the operator.",
    RevealOutcome.KEY_UNAVAILABLE: "The key of the cards cannot be used just now; the cards are kept. Try again.",
}


@dataclass(frozen=True)
class Revealed:
    """The answer: the cards by index where the outcome is REVEALED, none otherwise; ``detail`` is for the log."""

    outcome: RevealOutcome
    cards: dict[int, Card] = field(default_factory=dict)
    detail: str = field(default="", compare=False)

    def to_json(self) -> dict[str, Any]:
        """Write the answer of RevealCards, as many cards as fit: ``nextIndex`` is the first of the others, or null."""
        shown: list[dict[str, Any]] = []
        room = MAX_ANSWER_BYTES
        for index, card in sorted(self.cards.items()):
            written = card_as_json(index, card)
            room -= len(json.dumps(written)) + len(", ")
            if room < 0:
                break
            shown.append(written)
        rest = sorted(self.cards)[len(shown) :]
        return {
            "outcome": self.outcome,
            "message": MESSAGES[self.outcome],
            "cards": shown,
            "nextIndex": rest[0] if rest else None,
        }


def card_as_json(index: int, card: Card) -> dict[str, Any]:
    """Take a card out of its secret, for the answer to the caller who may see it."""
    serial = None if card.serial is None else card.serial.get_secret_value()
    return {"index": index, "value": card.value.get_secret_value(), "serial": serial}


@dataclass(frozen=True)
class CardReveal:
    """Shows cards to their user."""

    orders: OrderTable
    cipher: CardCipher
    audit: AuditTable
    measure: Meter

    def reveal(
        self, request: RevealRequest, *, request_id: str, now: datetime, indexes: range | None = None
    ) -> Revealed:
        """Decrypt an order's cards for its user. The audit record is written before anything is answered.

        Parameters
        ----------
        indexes
            Which cards, from 1; None decrypts all from ``request.from_index`` on.
        """
        revealed = self._reveal(request, now, indexes)
        self.audit.add(
            AuditRecord(
                order_id=request.order_id,
                user_id=request.user_id,
                requested_by=request.requested_by,
                request_id=request_id,
                reason=request.reason,
                outcome=revealed.outcome,
                at=now,
            )
        )
        shown = revealed.outcome is RevealOutcome.REVEALED
        self.measure(Metric.CARDS_REVEALED if shown else Metric.REVEAL_REFUSED, 1)
        if revealed.outcome is RevealOutcome.CARDS_UNREADABLE:
            self.measure(Metric.CARDS_UNREADABLE, 1)
        return revealed

    def _reveal(self, request: RevealRequest, now: datetime, indexes: range | None) -> Revealed:
        try:
            order = self.orders.get(request.order_id)
        except UnreadableOrderError as error:
            return Revealed(RevealOutcome.CARDS_UNREADABLE, detail=str(error))
        if order is None or order.user_id != request.user_id:
            return Revealed(RevealOutcome.NOT_FOUND)
        if not order.status.is_delivered:
            return Revealed(RevealOutcome.NOT_DELIVERED)
        if order.cards_expire_at is not None and order.cards_expire_at <= now:
            return Revealed(RevealOutcome.CARDS_EXPIRED)
        everything = range(request.from_index, (order.fulfilled_quantity or 0) + 1)
        return self._decrypt(order, everything if indexes is None else indexes, now)

    def _decrypt(self, order: Order, indexes: range, now: datetime) -> Revealed:
        ciphertexts = self.orders.get_ciphertexts(order, indexes, now=now)
        try:
            cards = self.cipher.decrypt(order, ciphertexts)
        except CardUnreadableError as error:
            return Revealed(RevealOutcome.CARDS_UNREADABLE, detail=str(error))
        except KeyUnavailableError as error:
            return Revealed(RevealOutcome.KEY_UNAVAILABLE, detail=str(error))
        if not all(index in cards for index in indexes):
            return Revealed(RevealOutcome.CARDS_UNREADABLE, detail="card rows are missing")
        return Revealed(RevealOutcome.REVEALED, cards={index: cards[index] for index in indexes})
