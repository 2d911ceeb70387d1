"""CheckStatus: ask how far an order is, and say what the workflow does next."""

from dataclasses import dataclass
from datetime import datetime

from giftcards.gated_supplier import GatedSupplier
from giftcards.rules.next_step import Patience, next_step
from giftcards.supplier_contract import OrderProgress
from giftcards.workflow import StepRequest, StepResult


@dataclass(frozen=True)
class StatusCheck:
    """Checks orders.

    Attributes
    ----------
    supplier
        Whom to ask.
    patience
        How long to wait for an order.
    """

    supplier: GatedSupplier
    patience: Patience

    def check(self, request: StepRequest, *, now: datetime, jitter: float) -> StepResult:
        """Check an order once. Its cards, if the answer has any, are not parsed."""
        answer = self.supplier.ask(request.order_id, OrderProgress)
        return next_step(answer, request, now=now, patience=self.patience, jitter=jitter)
