"""Scripted results of the functions, built with the real functions' model."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.workflow import Outcome, RetryState, StepRequest, StepResult


@dataclass(frozen=True)
class Raised:
    """The function raises an exception with this class name and text."""

    error: str
    text: str = "it broke"


@dataclass(frozen=True)
class Malformed:
    """The function returns something that is not a StepResult."""

    payload: Any


@dataclass(frozen=True)
class Closed:
    """The real DeliverCards closes the order; only the supplier and the cipher are replaced.

    Attributes
    ----------
    status
        The supplier's final status: two cards, one of two, or none.
    publishes
        Whether the bus accepts the event. If not, DeliverCards raises after it closed the order.
    then
        The result, if it is not CLOSED.
    """

    status: OrderStatus = OrderStatus.FULFILLED
    publishes: bool = True
    then: Raised | None = None


Answer = StepResult | Raised | Malformed | Closed
Answering = Answer | Callable[[StepRequest], Answer]
"""An answer, or a function that returns one for a request."""


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
    """Return a result of either function."""
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
