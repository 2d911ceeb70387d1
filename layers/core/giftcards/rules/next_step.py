"""What the workflow does with an order after a call to the supplier: the rule behind CheckStatus and DeliverCards."""

from dataclasses import dataclass
from datetime import datetime

from giftcards.contracts.supplier import OrderProgress
from giftcards.contracts.workflow import (
    AcceptedArrival,
    Doubt,
    NextStep,
    Outcome,
    RetryState,
    StepRequest,
    StepResult,
)
from giftcards.rules.schedule import (
    MAX_BACKOFF_SECONDS,
    MAX_CHECKS,
    YOUNG_SECONDS,
    PollSchedule,
    backoff_seconds,
    gate_wait_seconds,
    queue_wait_seconds,
    requested_wait_seconds,
)
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure

_HOLDS = {
    FailureKind.ORDER_UNKNOWN: Outcome.ORDER_UNKNOWN,
    FailureKind.ORDER_REJECTED: Outcome.INVALID_ORDER,
    FailureKind.ORDER_REFUSED: Outcome.SUPPLIER_CONTRACT_BROKEN,
    FailureKind.CONTRACT_BROKEN: Outcome.SUPPLIER_CONTRACT_BROKEN,
}
"""Doubtful answers, and the outcome if they persist."""
_WAITS = {
    FailureKind.KEY_REFUSED: Outcome.KEY_REFUSED,
    FailureKind.KEY_MISSING: Outcome.GATE_CLOSED,
    FailureKind.GATE_CLOSED: Outcome.GATE_CLOSED,
    FailureKind.QUEUED: Outcome.GATE_CLOSED,
}
MIN_DOUBT_SECONDS = 60
MIN_DOUBT_CHECKS = 3
"""When doubtful answers persist. Suppliers are known to settle an order a moment before they list its cards, and to
know an order only a moment after they accepted it."""
MIN_REFUSAL_SECONDS = 3_600
"""A refusal with an undocumented code may be transient: the order is held after an hour, or at an earlier deadline."""


@dataclass(frozen=True)
class PollPolicy:
    """The stack's PollSchedule and DelayedAfterSeconds."""

    schedule: PollSchedule
    delayed_after_seconds: int


def next_step(
    answer: OrderProgress | SupplierFailure, request: StepRequest, *, now: datetime, policy: PollPolicy, jitter: float
) -> StepResult:
    """Decide what the workflow does next with an order after a check.

    An order is held if the supplier answers about it and waiting does not help: it is still pending at its deadline, or
    doubtful answers persist. A failure that says nothing about the order only makes it wait, and this time does not
    count against the deadline. The one exception is an execution that has used up its history (``MAX_CHECKS``).

    Parameters
    ----------
    now
        Time of the answer.
    jitter
        A random number in [0, 1).
    """
    return _Step(answer, request, now, policy, jitter, at_delivery=False).result()


def next_step_of_delivery(
    answer: OrderProgress | SupplierFailure, request: StepRequest, *, now: datetime, policy: PollPolicy, jitter: float
) -> StepResult:
    """Decide the same after an answer that DeliverCards could not close the order with.

    The last check found the order settled, so a failure that says nothing about it makes it wait for its delivery,
    without another check.

    Parameters
    ----------
    now, jitter
        As for ``next_step``.
    """
    return _Step(answer, request, now, policy, jitter, at_delivery=True).result()


@dataclass(frozen=True)
class _Step:
    answer: OrderProgress | SupplierFailure
    request: StepRequest
    now: datetime
    policy: PollPolicy
    jitter: float
    at_delivery: bool

    def result(self) -> StepResult:
        if isinstance(self.answer, SupplierFailure):
            return self.after_failure(self.answer)
        return self.after_settlement(self.answer) if self.answer.status.is_final else self.after_pending()

    @property
    def before(self) -> RetryState:
        return self.request.retry_state

    @property
    def doubt(self) -> Doubt | None:
        doubt = _doubt_after(self.answer, self.before, self.now)
        if doubt is None or not self.at_delivery:
            return doubt
        return doubt.model_copy(update={"at_delivery": True})

    @property
    def age(self) -> float:
        return max(0.0, (self.now - self.request.claimed_at).total_seconds())

    @property
    def unanswered_since(self) -> datetime:
        is_unanswered = self.before.failures or self.before.queued
        return (is_unanswered and self.before.unanswered_since) or self.now

    @property
    def unanswered_until_now(self) -> int:
        """Total seconds without an answer, if this answer ends the series of failures."""
        return self.before.unanswered_seconds + max(0, int((self.now - self.unanswered_since).total_seconds()))

    def after_settlement(self, answer: OrderProgress) -> StepResult:
        # Keeps the failures: a delivery that keeps failing after good checks has to back off too.
        message = f"The supplier has settled the order: {answer.status}."
        return self._result(Outcome.SETTLED, message, failures=self.before.failures)

    def after_pending(self) -> StepResult:
        unanswered = self.unanswered_until_now
        wait = self._scheduled(unanswered)
        if self.request.checks >= MAX_CHECKS:
            return self._used_up(unanswered)
        if wait is None:
            message = f"Still pending at the supplier after {int(self.age - unanswered)} seconds."
            return self._result(Outcome.DEADLINE_PASSED, message, unanswered_seconds=unanswered)
        message = "The supplier is still handling the order."
        return self._result(Outcome.PENDING, message, wait=wait, unanswered_seconds=unanswered)

    def after_failure(self, failure: SupplierFailure) -> StepResult:
        is_refused = failure.kind is FailureKind.ORDER_REFUSED
        doubt = self.doubt
        if doubt is not None and failure.kind in _HOLDS:
            if self.request.checks >= MAX_CHECKS or self._persists(doubt):
                lasted = int((self.now - doubt.since).total_seconds())
                row = f" Doubtful answers in a row: {doubt.count}, in {lasted} seconds." if lasted else ""
                return self._result(_HOLDS[failure.kind], failure.message + row)
            if not is_refused:
                return self._after_doubt(failure)
        if self.request.checks >= MAX_CHECKS:
            return self._used_up(self.before.unanswered_seconds)
        return self._after_failure(failure)

    def _after_doubt(self, failure: SupplierFailure) -> StepResult:
        unanswered = self.unanswered_until_now
        last_interval = self.policy.schedule.steps[-1][1]
        wait = max(self._scheduled(unanswered) or last_interval, self._requested_wait(failure))
        return self._result(Outcome.SUPPLIER_BUSY, failure.message, wait=wait, unanswered_seconds=unanswered)

    def _after_failure(self, failure: SupplierFailure) -> StepResult:
        if failure.kind is FailureKind.QUEUED:  # nothing is wrong
            return self._result(
                Outcome.GATE_CLOSED,
                failure.message,
                wait=queue_wait_seconds(self.before.queued + 1, self.jitter),
                failures=self.before.failures,
                queued=self.before.queued + 1,
                retry_delivery=self.at_delivery,
            )
        failures = self.before.failures + 1
        outcome = _WAITS.get(failure.kind, Outcome.SUPPLIER_BUSY)
        return self._result(
            outcome,
            failure.message,
            wait=self._wait_after(failure, failures, is_blocked=outcome is Outcome.GATE_CLOSED),
            failures=failures,
            retry_delivery=self.at_delivery and failure.kind not in _HOLDS,
        )

    def _wait_after(self, failure: SupplierFailure, failures: int, *, is_blocked: bool) -> int:
        if is_blocked:
            return gate_wait_seconds(failures, self.age, failure.retry_after_seconds or 0, self.jitter)
        # The schedule is for pending orders. After an outage it would delay those that are settled.
        is_scheduled = not self.at_delivery and self.age >= YOUNG_SECONDS
        scheduled = (is_scheduled and self._scheduled(self.before.unanswered_seconds)) or 1
        return max(scheduled, backoff_seconds(failures, self.age, self.jitter), self._requested_wait(failure))

    def _used_up(self, unanswered: int) -> StepResult:
        message = f"Not settled, after more than {self.request.checks} checks."
        return self._result(Outcome.DEADLINE_PASSED, message, unanswered_seconds=unanswered)

    def _persists(self, doubt: Doubt) -> bool:
        is_refused = doubt.kind is FailureKind.ORDER_REFUSED
        waits_longer = is_refused and self.age < self.policy.schedule.deadline_seconds
        least = MIN_REFUSAL_SECONDS if waits_longer else MIN_DOUBT_SECONDS
        return (self.now - doubt.since).total_seconds() >= least and doubt.count >= MIN_DOUBT_CHECKS

    def _scheduled(self, unanswered: int) -> int | None:
        return self.policy.schedule.next_wait(max(0.0, self.age - unanswered), self.jitter)

    def _requested_wait(self, failure: SupplierFailure) -> int:
        """Return the wait in seconds that the supplier requests.

        It is capped: the gate enforces a longer Retry-After for all orders.
        """
        requested = min(failure.retry_after_seconds or 0, MAX_BACKOFF_SECONDS)
        return requested_wait_seconds(requested, self.jitter) if requested else 0

    def _result(
        self, outcome: Outcome, message: str, *, wait: int = 1, retry_delivery: bool = False, **counts: int
    ) -> StepResult:
        is_late = self.age >= self.policy.delayed_after_seconds
        return StepResult(
            outcome=outcome,
            message=message,
            age_seconds=int(self.age),
            wait_seconds=wait,
            announce_delay=outcome.next is NextStep.WAIT and is_late and not self.request.delay_announced,
            retry_delivery=retry_delivery,
            retry_state=RetryState(
                unanswered_since=self.unanswered_since,
                doubt=self.doubt,
                accepted=_accepted_after(self.answer, self.before),
                **{"unanswered_seconds": self.before.unanswered_seconds} | counts,
            ),
        )


def _doubt_after(answer: OrderProgress | SupplierFailure, state: RetryState, now: datetime) -> Doubt | None:
    """Continue the series of doubtful answers, or end it.

    A good answer ends it. But CheckStatus only sees the status: that does not settle a doubt of DeliverCards.
    """
    before = state.doubt
    if isinstance(answer, SupplierFailure):
        if answer.kind not in _HOLDS:
            return before
        if before is None:
            return Doubt(kind=answer.kind, since=now, count=1)
        return before.model_copy(update={"kind": answer.kind, "count": before.count + 1})
    is_open = before is not None and before.at_delivery and answer.status.is_final
    return before if is_open else None


def _accepted_after(answer: OrderProgress | SupplierFailure, state: RetryState) -> AcceptedArrival | None:
    """Continue the series of answers with the accepted cards, unless the supplier says something else."""
    is_same = answer.kind not in _HOLDS if isinstance(answer, SupplierFailure) else answer.status.is_final
    return state.accepted if is_same else None
