"""A long wait fits into an execution's history of 25,000 events."""

import pytest

from giftcards.contracts.workflow import Outcome
from giftcards.rules.schedule import MAX_BACKOFF_SECONDS, MAX_CHECKS, PollSchedule
from workflow.answers import PENDING, SETTLED, Closed, Raised, result
from workflow.harness import ORDER, Workflow, load_definition, load_template
from workflow.test_definition import CALLS_A_ROUND

HISTORY_EVENTS = 25_000  # https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
NOT_DELIVERED = result(Outcome.SUPPLIER_BUSY)
QUEUED = result(Outcome.GATE_CLOSED, retry_delivery=True)


def events_of_a_round(workflow: Workflow, *, delivering: bool) -> int:
    """Return the number of events of one more round of the loop."""
    rounds = [SETTLED if delivering else PENDING]
    failed = [NOT_DELIVERED] if delivering else []
    once = workflow.run(ORDER, check=[*rounds, SETTLED], deliver=[*failed, Closed()])
    twice = workflow.run(
        {"orderId": "order-2", "userId": "user-1"},
        check=[*rounds * 2, SETTLED],
        deliver=[*failed * 2, Closed()],
    )
    return twice.history_events - once.history_events


def test_repeated_delivery_writes_as_much_history_as_a_check(workflow: Workflow) -> None:
    once, twice = (
        workflow.run(ORDER | {"orderId": f"queued-{times}"}, check=[SETTLED], deliver=[*[QUEUED] * times, Closed()])
        for times in (1, 2)
    )

    assert twice.history_events - once.history_events == events_of_a_round(workflow, delivering=False)


def test_most_checks_leave_a_quarter_of_the_history(workflow: Workflow) -> None:
    assert events_of_a_round(workflow, delivering=False) * MAX_CHECKS <= HISTORY_EVENTS * 3 // 4


def test_most_checks_and_deliveries_fit_into_the_history(workflow: Workflow) -> None:
    assert events_of_a_round(workflow, delivering=True) * MAX_CHECKS <= HISTORY_EVENTS


@pytest.mark.parametrize("step", ["CheckStatus", "DeliverCards"])
def test_history_has_room_for_days_of_an_outage(workflow: Workflow, step: str) -> None:
    def events(rounds: int) -> int:
        outage = [Raised("AwsUnavailableError")] * CALLS_A_ROUND * rounds
        order = {"orderId": f"outage-{rounds}", "userId": "user-1"}
        if step == "CheckStatus":
            return workflow.run(order, check=[*outage, SETTLED], deliver=[Closed()]).history_events
        return workflow.run(order, check=[SETTLED], deliver=[*outage, Closed()]).history_events

    schedule = PollSchedule.parse(load_template()["Parameters"]["PollSchedule"]["Default"])
    left = HISTORY_EVENTS - schedule.checks * events_of_a_round(workflow, delivering=False)

    rounds = left // (events(2) - events(1))
    assert rounds * MAX_BACKOFF_SECONDS / 2 > 2 * 86_400  # jitter can halve each wait


def test_machine_timeout_exceeds_the_default_deadline() -> None:
    schedule = PollSchedule.parse(load_template()["Parameters"]["PollSchedule"]["Default"])

    assert load_definition()["TimeoutSeconds"] > 2 * schedule.deadline_seconds
