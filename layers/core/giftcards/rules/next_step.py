"""What to do with an order after asking about it: the rule behind CheckStatus and DeliverCards."""

import math
from dataclasses import dataclass
from datetime import datetime

from giftcards.contracts.supplier import OrderProgress
from giftcards.contracts.workflow import AcceptedArrival, Doubt, Outcome, RetryState, StepRequest, StepResult
from giftcards.rules.schedule import (
    MAX_BACKOFF_SECONDS,
    MAX_CHECKS,
    PollSchedule,
    backoff_seconds,
    gate_wait_seconds,
    queue_wait_seconds,
)
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure

_HOLDS = {
    FailureKind.ORDER_UNKNOWN: Outcome.ORDER_UNKNOWN,
    FailureKind.ORDER_REJECTED: Outcome.INVALID_ORDER,
    FailureKind.ORDER_REFUSED: Outcome.SUPPLIER_CONTRACT_BROKEN,
    FailureKind.CONTRACT_BROKEN: Outcome.SUPPLIER_CONTRACT_BROKEN,
}
"""Doubtful answers, and what an order is held as if they persist."""
_WAITS = {
    FailureKind.KEY_REFUSED: Outcome.KEY_REFUSED,
    FailureKind.KEY_MISSING: Outcome.GATE_CLOSED,
    FailureKind.GATE_CLOSED: Outcome.GATE_CLOSED,
    FailureKind.QUEUED: Outcome.GATE_CLOSED,
}
MIN_DOUBT_SECONDS = 60
MIN_DOUBT_CHECKS = 3
"""What persists: suppliers are known to settle an order a moment before they list its cards, and to know an order a
moment after they have taken it."""
MIN_REFUSAL_SECONDS = 3_600
"""A refusal with an undocumented code may be transient; it is held after an hour, or at the deadline if that is
earlier."""
RETRY_AFTER_SPREAD = 0.2
MIN_SPREAD_SECONDS = 10
"""Orders that wait for the same moment come back spread over this share of their wait, or over so many seconds, and
never early: when a gate opens, they do not all call in the same second."""


@dataclass(frozen=True)
class PollPolicy:
    """How long to wait for an order: the stack's PollSchedule and DelayedAfterSeconds."""

    schedule: PollSchedule
    delayed_after_seconds: int


def next_step(
    answer: OrderProgress | SupplierFailure, request: StepRequest, *, now: datetime, policy: PollPolicy, jitter: float
) -> StepResult:
    """Decide what the workflow does next with an order.

    An order is held when the supplier answers about it and no waiting helps: it is still pending at its deadline, or
    doubtful answers persist. Trouble that says nothing about the order never ends it: it only makes it wait, and this
    time does not count against the deadline. The one exception is an execution that has used up its history
    (``MAX_CHECKS``).

    Parameters
    ----------
    answer
        What the supplier said, or why it said nothing about the order.
    request
        What the workflow knows of the order.
    now
        The time of the answer.
    patience
        Poll schedule and delay.
    jitter
        A random number in [0, 1).
    """
    retry_state = RetryState(doubt=_doubt_after(answer, request, now), accepted=_accepted_after(answer, request))
    step = _Step(request, now, policy, jitter, retry_state)
    if isinstance(answer, SupplierFailure):
        return step.after_trouble(answer)
    return step.after_settlement(answer) if answer.status.is_final else step.after_pending()


def doubted_at_delivery(result: StepResult) -> StepResult:
    """Mark the doubt as one of DeliverCards, which sees more of an answer than CheckStatus: see ``_doubt_after``."""
    doubt = result.retry_state.doubt
    if doubt is None:
        return result
    marked = doubt.model_copy(update={"at_delivery": True})
    return result.model_copy(update={"retry_state": result.retry_state.model_copy(update={"doubt": marked})})


@dataclass(frozen=True)
class _Step:
    request: StepRequest
    now: datetime
    policy: PollPolicy
    jitter: float
    retry_state: RetryState

    @property
    def doubt(self) -> Doubt | None:
        return self.retry_state.doubt

    @property
    def age(self) -> float:
        return max(0.0, (self.now - self.request.claimed_at).total_seconds())

    @property
    def unanswered_since(self) -> datetime:
        return (self.request.failures and self.request.unanswered_since) or self.now

    @property
    def unanswered_until_now(self) -> int:
        """Seconds without an answer, in all, if the answer of this step ends the row of failures."""
        return self.request.unanswered_seconds + max(0, int((self.now - self.unanswered_since).total_seconds()))

    def after_settlement(self, answer: OrderProgress) -> StepResult:
        # The failures are carried on: a delivery that keeps failing after good checks has to back off too.
        message = f"The supplier has settled the order: {answer.status}."
        return self._result(Outcome.SETTLED, message, failures=self.request.failures)

    def after_pending(self) -> StepResult:
        unanswered = self.unanswered_until_now
        wait = self._scheduled(unanswered)
        if self.request.checks >= MAX_CHECKS:
            return self._used_up(unanswered)
        if wait is None:
            message = f"Still pending at the supplier after {int(self.age - unanswered)} seconds."
            return self._result(Outcome.DEADLINE_PASSED, message, unanswered=unanswered)
        message = "The supplier is still handling the order."
        return self._result(Outcome.PENDING, message, wait=wait, unanswered=unanswered)

    def after_trouble(self, failure: SupplierFailure) -> StepResult:
        is_refused = failure.kind is FailureKind.ORDER_REFUSED
        if self.doubt is not None and failure.kind in _HOLDS:
            if self.request.checks >= MAX_CHECKS or self._persists(self.doubt):
                lasted = int((self.now - self.doubt.since).total_seconds())
                row = f" Doubtful answers in a row: {self.doubt.count}, in {lasted} seconds." if lasted else ""
                return self._result(_HOLDS[failure.kind], failure.message + row)
            if not is_refused:
                return self._after_doubt(failure)
        if self.request.checks >= MAX_CHECKS:
            return self._used_up(self.request.unanswered_seconds)
        return self._after_failure(failure)

    def _after_doubt(self, failure: SupplierFailure) -> StepResult:
        unanswered = self.unanswered_until_now
        at_the_deadline = self.policy.schedule.steps[-1][1]
        wait = max(self._scheduled(unanswered) or at_the_deadline, self._asked(failure))
        return self._result(Outcome.SUPPLIER_BUSY, failure.message, wait=wait, unanswered=unanswered)

    def _after_failure(self, failure: SupplierFailure) -> StepResult:
        failures = self.request.failures + 1
        outcome = _WAITS.get(failure.kind, Outcome.SUPPLIER_BUSY)
        backoff = (gate_wait_seconds if outcome is Outcome.GATE_CLOSED else backoff_seconds)(failures, self.jitter)
        wait = max(self._scheduled(self.request.unanswered_seconds) or 1, backoff, self._asked(failure))
        if failure.kind is FailureKind.QUEUED:  # nothing is wrong: come back soon, and not all at once
            wait = queue_wait_seconds(failures, self.jitter)
        return self._result(outcome, failure.message, wait=wait, failures=failures)

    def _used_up(self, unanswered: int) -> StepResult:
        message = f"Not settled, after more than {self.request.checks} checks."
        return self._result(Outcome.DEADLINE_PASSED, message, unanswered=unanswered)

    def _persists(self, doubt: Doubt) -> bool:
        is_refused = doubt.kind is FailureKind.ORDER_REFUSED
        if self.request.retry_state is None:  # a workflow of the former version carries nothing: it holds at once
            return not is_refused
        waits_longer = is_refused and self.age < self.policy.schedule.deadline_seconds
        least = MIN_REFUSAL_SECONDS if waits_longer else MIN_DOUBT_SECONDS
        return (self.now - doubt.since).total_seconds() >= least and doubt.count >= MIN_DOUBT_CHECKS

    def _scheduled(self, unanswered: int) -> int | None:
        return self.policy.schedule.next_wait(max(0.0, self.age - unanswered), self.jitter)

    def _asked(self, failure: SupplierFailure) -> int:
        """Seconds that the supplier or the gate asks for.

        The gate keeps a longer Retry-After for all orders: an order need not sleep through it to honour it.
        """
        asked = min(failure.retry_after_seconds or 0, MAX_BACKOFF_SECONDS)
        spread = max(RETRY_AFTER_SPREAD * asked, MIN_SPREAD_SECONDS) * self.jitter if asked else 0
        return math.ceil(asked + spread)

    def _result(
        self, outcome: Outcome, message: str, *, wait: int = 1, failures: int = 0, unanswered: int | None = None
    ) -> StepResult:
        waits = outcome in {Outcome.PENDING, Outcome.SUPPLIER_BUSY, Outcome.KEY_REFUSED, Outcome.GATE_CLOSED}
        is_late = self.age >= self.policy.delayed_after_seconds
        return StepResult(
            outcome=outcome,
            message=message,
            age_seconds=int(self.age),
            wait_seconds=wait,
            failures=failures,
            unanswered_since=self.unanswered_since,
            unanswered_seconds=self.request.unanswered_seconds if unanswered is None else unanswered,
            announce_delay=waits and is_late and not self.request.delay_announced,
            retry_state=self.retry_state,
        )


def _doubt_after(answer: OrderProgress | SupplierFailure, request: StepRequest, now: datetime) -> Doubt | None:
    """Carry on the row of doubtful answers, or end it.

    A good answer ends it. But CheckStatus sees the status alone: that is no answer to what DeliverCards has doubted.
    """
    before = request.retry_state.doubt if request.retry_state else None
    if isinstance(answer, SupplierFailure):
        if answer.kind not in _HOLDS:
            return before
        if before is None:
            return Doubt(kind=answer.kind, since=now, count=1)
        return before.model_copy(update={"kind": answer.kind, "count": before.count + 1})
    is_open = before is not None and before.at_delivery and answer.status.is_final
    return before if is_open else None


def _accepted_after(answer: OrderProgress | SupplierFailure, request: StepRequest) -> AcceptedArrival | None:
    """Carry on the accepted cards' row of answers, unless the supplier says something else about the order."""
    is_same = answer.kind not in _HOLDS if isinstance(answer, SupplierFailure) else answer.status.is_final
    return request.retry_state.accepted if request.retry_state and is_same else None
