"""CheckStatus: get an order's status from the supplier, and decide the workflow's next step."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from giftcards.contracts.supplier import OrderProgress
from giftcards.contracts.workflow import Outcome, StepRequest, StepResult
from giftcards.metrics import Meter, Metric
from giftcards.rules.next_step import PollPolicy, next_step
from giftcards.rules.snapshot import TICK_SECONDS, aligned_wait
from giftcards.use_cases.gated_supplier import GatedSupplier
from giftcards.use_cases.shared_list import SharedList


@dataclass(frozen=True)
class StatusCheck:
    """Checks orders."""

    supplier: GatedSupplier
    shared_list: SharedList
    policy: PollPolicy
    clock: Callable[[], datetime]
    measure: Meter

    def check(self, request: StepRequest, *, now: datetime, jitter: float) -> StepResult:
        """Check an order once, without parsing its cards."""
        listed = self.shared_list.ask(request.order_id) if self._may_be_listed(request, now) else None
        answer = self.supplier.ask(request.order_id, OrderProgress) if listed is None else listed
        result = next_step(answer, request, now=now, policy=self.policy, jitter=jitter)
        if isinstance(listed, OrderProgress) and result.outcome is Outcome.PENDING:
            result = result.model_copy(update={"wait_seconds": aligned_wait(result.wait_seconds, self.clock())})
        if request.checks == 0:
            self.measure(Metric.ORDER_CLAIMED, 1)
        if result.outcome is Outcome.SETTLED:
            self.measure(Metric.DETECTION_LAG, (now - (result.unanswered_since or now)).total_seconds())
        return result

    def _may_be_listed(self, request: StepRequest, now: datetime) -> bool:
        """Return whether the shared list may answer: not for an order in doubt, or that is due before the next tick."""
        age = max(0.0, (now - request.claimed_at).total_seconds() - request.retry_state.unanswered_seconds)
        interval = self.policy.schedule.interval(age)
        return request.retry_state.doubt is None and interval is not None and interval >= TICK_SECONDS
