"""What to do with an order after asking about it: the rule behind CheckStatus and DeliverCards."""

import math
from dataclasses import dataclass
from datetime import datetime

from giftcards.rules.schedule import (
    LONGEST_BACKOFF_SECONDS,
    MAX_CHECKS,
    PollSchedule,
    backoff_seconds,
    gate_wait_seconds,
    queue_wait_seconds,
)
from giftcards.rules.trouble import Trouble, TroubleKind
from giftcards.supplier_contract import OrderProgress
from giftcards.workflow import Outcome, StepRequest, StepResult

_HOLDS = {
    TroubleKind.ORDER_UNKNOWN: Outcome.ORDER_UNKNOWN,
    TroubleKind.ORDER_REJECTED: Outcome.INVALID_ORDER,
    TroubleKind.CONTRACT_BROKEN: Outcome.SUPPLIER_CONTRACT_BROKEN,
}
_WAITS = {
    TroubleKind.KEY_REFUSED: Outcome.KEY_REFUSED,
    TroubleKind.KEY_MISSING: Outcome.GATE_CLOSED,
    TroubleKind.GATE_CLOSED: Outcome.GATE_CLOSED,
    TroubleKind.QUEUED: Outcome.GATE_CLOSED,
}
RETRY_AFTER_SPREAD = 0.2
SHORTEST_SPREAD_SECONDS = 10
"""Orders that wait for the same moment come back spread over this share of their wait, or over so many seconds, and
never early: when a gate opens, they do not all call in the same second."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for an order: the stack's PollSchedule and DelayedAfterSeconds."""

    schedule: PollSchedule
    delayed_after_seconds: int


def next_step(
    answer: OrderProgress | Trouble, request: StepRequest, *, now: datetime, patience: Patience, jitter: float
) -> StepResult:
    """Decide what the workflow does next with an order.

    An order is only held at its deadline when the supplier has been asked and says that it is still
    pending: trouble with the supplier never ends an order, it only makes it wait. Nor does the time count
    in which the supplier did not say how the order is. The one exception is an execution that has used up
    its history (``MAX_CHECKS``).

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
    age = max(0.0, (now - request.claimed_at).total_seconds())
    unanswered_since = (request.failures and request.unanswered_since) or now
    unanswered = request.unanswered_seconds
    if isinstance(answer, OrderProgress) and not answer.status.is_final:
        unanswered += max(0, int((now - unanswered_since).total_seconds()))

    def result(outcome: Outcome, message: str, *, wait: int = 1, failures: int = 0) -> StepResult:
        waits = outcome in {Outcome.PENDING, Outcome.SUPPLIER_BUSY, Outcome.KEY_REFUSED, Outcome.GATE_CLOSED}
        return StepResult(
            outcome=outcome,
            message=message,
            age_seconds=int(age),
            wait_seconds=wait,
            failures=failures,
            unanswered_since=unanswered_since,
            unanswered_seconds=unanswered,
            announce_delay=waits and age >= patience.delayed_after_seconds and not request.delay_announced,
        )

    if isinstance(answer, OrderProgress) and answer.status.is_final:
        # The failures are carried on: a delivery that keeps failing after good checks has to back off too.
        return result(
            Outcome.SETTLED, f"The supplier has settled the order: {answer.status}.", failures=request.failures
        )
    if isinstance(answer, Trouble) and answer.kind in _HOLDS:
        return result(_HOLDS[answer.kind], answer.message)
    if request.checks >= MAX_CHECKS:
        return result(Outcome.DEADLINE_PASSED, f"Not settled, after more than {request.checks} checks.")

    answered = max(0.0, age - unanswered)
    scheduled = patience.schedule.next_wait(answered, jitter)
    if isinstance(answer, Trouble):
        failures = request.failures + 1
        outcome = _WAITS.get(answer.kind, Outcome.SUPPLIER_BUSY)
        backoff = (gate_wait_seconds if outcome is Outcome.GATE_CLOSED else backoff_seconds)(failures, jitter)
        # The gate keeps a longer Retry-After for all orders: an order need not sleep through it to honour it.
        asked = min(answer.retry_after_seconds or 0, LONGEST_BACKOFF_SECONDS)
        if asked:
            asked += max(RETRY_AFTER_SPREAD * asked, SHORTEST_SPREAD_SECONDS) * jitter
        wait = max(scheduled or 1, backoff, math.ceil(asked))
        if answer.kind is TroubleKind.QUEUED:  # nothing is wrong: come back soon, and not all at once
            wait = queue_wait_seconds(failures, jitter)
        return result(outcome, answer.message, wait=wait, failures=failures)
    if scheduled is None:
        return result(Outcome.DEADLINE_PASSED, f"Still pending at the supplier after {int(answered)} seconds.")
    return result(Outcome.PENDING, "The supplier is still handling the order.", wait=scheduled)
