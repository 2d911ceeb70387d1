"""The order that most tests are about, and the request that the workflow makes for it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from giftcards.contracts.workflow import StepRequest
from giftcards.rules.next_step import PollPolicy
from giftcards.rules.schedule import PollSchedule

ROOT = Path(__file__).parents[2]
REGION = "eu-west-1"
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
ORDER_ID = "6901616fe9e88196b4eb64b3"
USER_ID = "user-4711"
ATTEMPT = "attempt-1"
EXECUTION = "arn:aws:states:eu-west-1:123456789012:execution:fulfil-order:1"
POLL_POLICY = PollPolicy(PollSchedule.parse("120:5,300:15,3600:60"), delayed_after_seconds=600)


def step_request(**changes: Any) -> StepRequest:
    """Make what the workflow calls CheckStatus and DeliverCards with: claimed 60 s ago, nothing out of the ordinary."""
    known: dict[str, Any] = {
        "order_id": ORDER_ID,
        "user_id": USER_ID,
        "execution": "event-1",
        "claimed_at": NOW - timedelta(seconds=60),
        "checks": 12,
        "failures": 0,
        "unanswered_since": NOW - timedelta(seconds=60),
        "unanswered_seconds": 0,
        "delay_announced": False,
    }
    return StepRequest(**known | changes)
