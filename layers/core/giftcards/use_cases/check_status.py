"""CheckStatus: get an order's status from the supplier, and decide the workflow's next step."""

from dataclasses import dataclass
from datetime import datetime

from giftcards.contracts.supplier import OrderProgress
from giftcards.contracts.workflow import Outcome, StepRequest, StepResult
from giftcards.metrics import Meter, Metric
from giftcards.rules.next_step import PollPolicy, next_step
from giftcards.use_cases.gated_supplier import GatedSupplier


@dataclass(frozen=True)
class StatusCheck:
    """Checks orders."""

    supplier: GatedSupplier
    policy: PollPolicy
    measure: Meter

    def check(self, request: StepRequest, *, now: datetime, jitter: float) -> StepResult:
        """Check an order once, without parsing its cards."""
        answer = self.supplier.ask(request.order_id, OrderProgress)
        result = next_step(answer, request, now=now, policy=self.policy, jitter=jitter)
        if request.checks == 0:
            self.measure(Metric.ORDER_CLAIMED, 1)
        if result.outcome is Outcome.SETTLED:
            self.measure(Metric.DETECTION_LAG, (now - (result.unanswered_since or now)).total_seconds())
        return result
