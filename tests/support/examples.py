"""The order of most tests, and the workflow's request for it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from giftcards.contracts.workflow import Doubt, RetryState, StepRequest
from giftcards.rules.next_step import PollPolicy
from giftcards.rules.schedule import PollSchedule
from giftcards.rules.supplier_failure import FailureKind

ROOT = Path(__file__).parents[2]
REGION = "eu-west-1"
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
ORDER_ID = "6901616fe9e88196b4eb64b3"
USER_ID = "user-4711"
EXECUTION = "arn:aws:states:eu-west-1:123456789012:execution:fulfil-order:1"
POLL_POLICY = PollPolicy(PollSchedule.parse("120:5,300:15,3600:60"), delayed_after_seconds=600)


DOUBTED = RetryState(
    unanswered_since=NOW - timedelta(seconds=60),
    doubt=Doubt(kind=FailureKind.CONTRACT_BROKEN, since=NOW - timedelta(seconds=60), count=2),
)
"""One more doubtful answer holds the order."""


def step_request(**changes: Any) -> StepRequest:
    """Return the input of CheckStatus and DeliverCards: claimed 60 s ago, and one more doubtful answer holds the order.

    Arguments can also be fields of ``retry_state``.
    """
    fields: dict[str, Any] = {
        "order_id": ORDER_ID,
        "user_id": USER_ID,
        "execution": "event-1",
        "claimed_at": NOW - timedelta(seconds=60),
        "checks": 12,
        "delay_announced": False,
        "retry_state": DOUBTED,
    }
    state = {name: changes.pop(name) for name in RetryState.model_fields if name in changes}
    request = StepRequest(**fields | changes)
    return request.model_copy(update={"retry_state": request.retry_state.model_copy(update=state)})
