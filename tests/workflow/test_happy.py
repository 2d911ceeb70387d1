"""Orders that go well: wait, ask, deliver, close."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.workflow import Doubt, Outcome, StepRequest, StepResult
from giftcards.rules.schedule import PollSchedule
from giftcards.rules.supplier_failure import FailureKind
from workflow.answers import PENDING, SETTLED, Answer, Closed, Malformed, result
from workflow.engine import Engine
from workflow.harness import CLAIMED, ORDER, Workflow


def test_order_settled_at_the_first_check_is_delivered(workflow: Workflow) -> None:
    run = workflow.run(ORDER, check=[SETTLED], deliver=[Closed()])

    assert run.status == "SUCCEEDED"
    assert run.states == [
        "ReadOrder",
        "ClaimOrder",
        "WaitBeforeCheck",
        "CheckStatus",
        "Route",
        "DeliverCards",
        "Route",
        "OrderClosed",
    ]
    assert run.event_types == ["CardsDelivered"]
    assert run.pauses == []


def test_claim_is_written_before_the_first_check(workflow: Workflow) -> None:
    seen = []

    def look(_request: StepRequest) -> Answer:
        seen.append(workflow.order_row("order-1"))
        assert workflow.orders_in("open-orders", "openStatus", "HANDLING") == ["order-1"]
        assert workflow.orders_in("orders-by-user", "userId", "user-1") == ["order-1"]
        return SETTLED

    run = workflow.run(ORDER, check=[look], deliver=[Closed()])

    [row] = seen
    assert row is not None
    assert row.keys() == CLAIMED
    assert row | {"claimedAt": "now"} == {
        "pk": "ORDER#order-1",
        "sk": "ORDER",
        "orderId": "order-1",
        "userId": "user-1",
        "status": "HANDLING",
        "openStatus": "HANDLING",
        "claimedAt": "now",
        "executionArn": run.execution_arn,
    }


def test_pending_order_is_checked_until_it_is_settled(workflow: Workflow) -> None:
    run = workflow.run(ORDER, check=[PENDING] * 4 + [SETTLED], deliver=[Closed()])

    assert run.status == "SUCCEEDED"
    assert len(run.check_requests) == 5
    assert len(run.deliver_requests) == 1


def test_waits_the_first_interval_then_as_check_status_returns(workflow: Workflow) -> None:
    pending = [result(Outcome.PENDING, wait_seconds=seconds) for seconds in (5, 15, 3600)]

    run = workflow.run(ORDER, check=[*pending, SETTLED], deliver=[Closed()])

    assert run.waits == [5, 5, 15, 3600]
    assert run.states.index("WaitBeforeCheck") < run.states.index("CheckStatus")


@pytest.mark.parametrize(
    ("poll_schedule", "first_wait"), [("60:7", 7), ("120:11,300:15", 11), ("10:99999,20:1,30:2", 99999)]
)
def test_first_wait_is_the_first_interval_of_any_schedule(engine: Engine, poll_schedule: str, first_wait: int) -> None:
    run = Workflow(engine, poll_schedule=poll_schedule).run(ORDER, check=[SETTLED], deliver=[Closed()])

    assert run.waits == [first_wait]


def test_first_wait_is_spread_as_the_later_ones_are(engine: Engine) -> None:
    engine.random = 0.9
    run = Workflow(engine, poll_schedule="3600:100").run(ORDER, check=[SETTLED], deliver=[Closed()])

    assert run.waits == [PollSchedule.parse("3600:100").next_wait(0, engine.random)]


def test_waits_as_deliver_cards_returns(workflow: Workflow) -> None:
    busy = result(Outcome.SUPPLIER_BUSY, wait_seconds=77)

    run = workflow.run(ORDER, check=[SETTLED, SETTLED], deliver=[busy, Closed()])

    assert run.waits == [5, 77]
    assert run.status == "SUCCEEDED"


def test_checks_and_failures_are_carried_from_step_to_step(workflow: Workflow) -> None:
    check = [
        result(Outcome.PENDING),
        result(Outcome.SUPPLIER_BUSY, failures=1),
        result(Outcome.SUPPLIER_BUSY, failures=2),
        result(Outcome.SETTLED, failures=2),
        result(Outcome.SETTLED),
    ]

    run = workflow.run(ORDER, check=check, deliver=[result(Outcome.SUPPLIER_BUSY, failures=3), Closed()])

    assert [(request.checks, request.retry_state.failures) for request in run.check_requests] == [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 3),
    ]
    assert [(request.checks, request.retry_state.failures) for request in run.deliver_requests] == [(4, 2), (5, 0)]


def test_functions_receive_ids_and_claim_time(workflow: Workflow) -> None:
    run = workflow.run(ORDER, check=[PENDING, SETTLED], deliver=[Closed()])

    assert run.order_row is not None
    for request in run.check_requests + run.deliver_requests:
        assert (request.order_id, request.user_id) == ("order-1", "user-1")
        assert request.claimed_at == datetime.fromisoformat(run.order_row["claimedAt"])


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (OrderStatus.FULFILLED, "CardsDelivered"),
        (OrderStatus.PARTIALLY_FILLED, "CardsPartiallyDelivered"),
        (OrderStatus.REFUNDED, "OrderRefunded"),
    ],
)
def test_order_ends_as_what_deliver_cards_closed_it_as(workflow: Workflow, status: OrderStatus, event: str) -> None:
    run = workflow.run(ORDER, check=[SETTLED], deliver=[Closed(status)])

    assert run.status == "SUCCEEDED"
    assert run.order_row is not None
    assert run.order_row["status"] == status
    assert run.event_types == [event]
    assert workflow.orders_in("open-orders", "openStatus", "HANDLING") == []
    assert workflow.orders_in("orders-by-user", "userId", "user-1") == ["order-1"]


def test_workflow_publishes_nothing_for_a_delivered_order(workflow: Workflow) -> None:
    run = workflow.run(ORDER, check=[PENDING, SETTLED], deliver=[Closed()])

    assert not {"PublishDelay", "PublishHold"} & set(run.states)


def test_time_without_an_answer_is_passed_on_by_both_functions(workflow: Workflow) -> None:
    outages = [result(Outcome.PENDING, unanswered_seconds=seconds) for seconds in (60, 90)]

    run = workflow.run(ORDER, check=[outages[0], SETTLED, SETTLED], deliver=[outages[1], Closed()])

    assert [request.retry_state.unanswered_seconds for request in run.check_requests] == [0, 60, 90]
    assert [request.retry_state.unanswered_seconds for request in run.deliver_requests] == [0, 0]


def with_doubt(answer: StepResult, count: int) -> StepResult:
    doubt = Doubt(kind=FailureKind.CONTRACT_BROKEN, since=datetime(2026, 1, 1, tzinfo=UTC), count=count)
    return answer.model_copy(update={"retry_state": answer.retry_state.model_copy(update={"doubt": doubt})})


def doubts(requests: Sequence[StepRequest]) -> list[int]:
    states = [request.retry_state for request in requests]
    return [state.doubt.count if state.doubt else 0 for state in states]


def test_retry_state_is_passed_on_by_both_functions(workflow: Workflow) -> None:
    checks = [with_doubt(PENDING, 1), with_doubt(SETTLED, 2), with_doubt(SETTLED, 4)]

    run = workflow.run(ORDER, check=checks, deliver=[with_doubt(PENDING, 3), Closed()])

    assert doubts(run.check_requests) == [0, 1, 3]
    assert doubts(run.deliver_requests) == [2, 4]


def test_retry_state_outlives_an_answer_of_the_version_before(workflow: Workflow) -> None:
    before = Malformed(PENDING.model_dump(mode="json", by_alias=True, exclude={"retry_state"}))

    run = workflow.run(ORDER, check=[before, with_doubt(PENDING, 1), before, SETTLED], deliver=[Closed()])

    assert run.status == "SUCCEEDED"
    assert doubts(run.check_requests) == [0, 0, 1, 1]


def of_the_previous_release(answer: StepResult) -> Malformed:
    """Make the same answer of the previous release, which has no ``next`` and the counts beside the state."""
    payload = answer.model_dump(mode="json", by_alias=True, exclude={"next", "retry_state"})
    doubt = answer.retry_state.doubt
    return Malformed(payload | {"retryState": {"doubt": doubt and doubt.model_dump(mode="json", by_alias=True)}})


def test_workflow_works_with_functions_of_the_previous_release(workflow: Workflow) -> None:
    busy = with_doubt(result(Outcome.SUPPLIER_BUSY, failures=2, unanswered_seconds=60), 1)
    check = [of_the_previous_release(answer) for answer in (busy, SETTLED, SETTLED)]

    run = workflow.run(ORDER, check=check, deliver=[of_the_previous_release(PENDING), Closed()])

    assert run.status == "SUCCEEDED"
    states = [request.retry_state for request in run.check_requests]
    assert [(state.failures, state.unanswered_seconds) for state in states] == [(0, 0), (2, 60), (0, 0)]
    assert doubts(run.check_requests) == [0, 1, 0]
