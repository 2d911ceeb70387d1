"""What the functions answer in these tests, made with the model that the real ones answer with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.workflow import Outcome, RetryState, StepRequest, StepResult


@dataclass(frozen=True)
class Raised:
    """The function raises: its exception's class name and text."""

    error: str
    text: str = "it broke"


@dataclass(frozen=True)
class Malformed:
    """The function answers something that is no StepResult."""

    payload: Any


@dataclass(frozen=True)
class Closed:
    """DeliverCards does what it does when the supplier has settled the order; only supplier and vault are not real.

    Attributes
    ----------
    status
        What the supplier has settled the order to: two cards, one of two, or none.
    announces
        Whether the bus takes the event. If not, DeliverCards raises, with the order closed.
    then
        What it comes to once all is done, where that is not the answer CLOSED.
    """

    status: OrderStatus = OrderStatus.FULFILLED
    announces: bool = True
    then: Raised | None = None


Answer = StepResult | Raised | Malformed | Closed
Answering = Answer | Callable[[StepRequest], Answer]
"""An answer, or what makes one from the request."""


def result(
    outcome: Outcome,
    *,
    message: str = "One sentence for a person.",
    age_seconds: int = 17,
    wait_seconds: int = 23,
    failures: int = 0,
    unanswered_seconds: int = 0,
    announce_delay: bool = False,
    retry_delivery: bool = False,
) -> StepResult:
    """Make the answer of either function."""
    return StepResult(
        outcome=outcome,
        message=message,
        age_seconds=age_seconds,
        wait_seconds=wait_seconds,
        announce_delay=announce_delay,
        retry_delivery=retry_delivery,
        retry_state=RetryState(
            failures=failures,
            unanswered_since=datetime(2026, 1, 1, tzinfo=UTC),
            unanswered_seconds=unanswered_seconds,
        ),
    )


SETTLED = result(Outcome.SETTLED)
PENDING = result(Outcome.PENDING)
PENDING_LATE = result(Outcome.PENDING, age_seconds=612, announce_delay=True)
DEADLINE_PASSED = result(Outcome.DEADLINE_PASSED, message="Still pending at the supplier after 86400 seconds.")
