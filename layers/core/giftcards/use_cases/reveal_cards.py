"""RevealCards: decrypt the cards of one order for its user, after writing an audit record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from giftcards.adapters.audit_table import AuditRecord, AuditTable
from giftcards.adapters.card_cipher import CardCipher, CardUnreadableError, KeyUnavailableError
from giftcards.adapters.order_table import OrderTable, UnreadableOrderError
from giftcards.contracts.base import Contract, Identifier
from giftcards.contracts.supplier import Card
from giftcards.contracts.workflow import Level
from giftcards.metrics import Meter, Metric
from giftcards.rules.orders import Order


class RevealRequest(Contract):
    """Input of RevealCards."""

    order_id: Identifier
    user_id: Identifier
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
    RevealOutcome.NOT_FOUND: "This user has no order of this id.",
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
            Which cards, from 1; None decrypts all.
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
            order, ciphertexts = self.orders.get_with_cards(request.order_id, now=now)
        except UnreadableOrderError as error:
            return Revealed(RevealOutcome.CARDS_UNREADABLE, detail=str(error))
        if order is None or order.user_id != request.user_id:
            return Revealed(RevealOutcome.NOT_FOUND)
        if not order.status.is_delivered:
            return Revealed(RevealOutcome.NOT_DELIVERED)
        if order.cards_expire_at is not None and order.cards_expire_at <= now:
            return Revealed(RevealOutcome.CARDS_EXPIRED)
        revealed = self._decrypt(order, ciphertexts, indexes)
        if revealed.outcome is RevealOutcome.CARDS_UNREADABLE:
            # The query may have overlapped the closing transaction, which is no tampering.
            revealed = self._decrypt(order, self.orders.get_cards_again(order, now=now), indexes)
        return revealed

    def _decrypt(self, order: Order, ciphertexts: Mapping[int, bytes], indexes: range | None) -> Revealed:
        # The order row has the number of cards: a failed attempt can have left more.
        due = range(1, (order.fulfilled_quantity or 0) + 1)
        if not set(due) <= ciphertexts.keys():
            return Revealed(RevealOutcome.CARDS_UNREADABLE, detail="card rows are missing")
        stored = {index: ciphertexts[index] for index in due if indexes is None or index in indexes}
        try:
            cards = self.cipher.decrypt(order.order_id, order.user_id, order.delivery_attempt, stored)
        except CardUnreadableError as error:
            return Revealed(RevealOutcome.CARDS_UNREADABLE, detail=str(error))
        except KeyUnavailableError as error:
            return Revealed(RevealOutcome.KEY_UNAVAILABLE, detail=str(error))
        return Revealed(RevealOutcome.REVEALED, cards=cards)
