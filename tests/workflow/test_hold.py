"""An order that needs an operator is held and published, and its execution fails."""

from itertools import repeat

import pytest

from giftcards.contracts.events import HeldReason
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.workflow import Outcome, StepRequest
from workflow.answers import DEADLINE_PASSED, PENDING, SETTLED, Answer, Closed, Raised, result
from workflow.engine import Fault
from workflow.harness import CLAIMED, HELD, ORDER, Workflow

HOLDS = sorted(set(Outcome) & set(HeldReason))
THROTTLED = Fault("ProvisionedThroughputExceededException")
ANSWER_LOST = Fault("InternalServerError", took_effect=True)


@pytest.mark.parametrize("outcome", HOLDS)
@pytest.mark.parametrize("step", ["CheckStatus", "DeliverCards"])
def test_held_order_keeps_its_fields_and_has_a_reason(workflow: Workflow, outcome: Outcome, step: str) -> None:
    answer = result(outcome, message='Said "so", with a \\ in it.')

    run = (
        workflow.run(ORDER, check=[PENDING, answer])
        if step == "CheckStatus"
        else workflow.run(ORDER, check=[PENDING, SETTLED], deliver=[answer])
    )

    row = run.order_row
    assert row is not None
    assert row.keys() == CLAIMED | HELD | {"checks"}
    assert (row["status"], row["openStatus"]) == ("HELD", "HELD")
    assert (row["heldReason"], row["heldMessage"]) == (outcome, 'Said "so", with a \\ in it.')
    assert row["heldAt"] >= row["claimedAt"]
    assert (row["orderId"], row["userId"], row["executionArn"]) == ("order-1", "user-1", run.execution_arn)
    assert workflow.orders_in("open-orders", "openStatus", "HELD") == ["order-1"]
    assert workflow.orders_in("open-orders", "openStatus", "HANDLING") == []


def test_held_order_has_its_number_of_checks(workflow: Workflow) -> None:
    assert workflow.run(ORDER, check=[PENDING, PENDING, DEADLINE_PASSED]).order_row["checks"] == 3


def test_checks_add_up_over_hold_and_resume(workflow: Workflow) -> None:
    workflow.run(ORDER, check=[PENDING, PENDING, DEADLINE_PASSED])

    again = workflow.run(ORDER, check=[PENDING, DEADLINE_PASSED])
    closed = workflow.run(ORDER, check=[PENDING, SETTLED], deliver=[Closed()])

    assert again.order_row["checks"] == 5
    assert [request.checks for request in closed.check_requests] == [0, 1]  # each execution has its own history
    assert closed.order_row["checks"] == 7


def test_checks_are_counted_once_after_a_lost_hold_answer(workflow: Workflow) -> None:
    workflow.run(ORDER, check=[DEADLINE_PASSED])

    again = workflow.run(ORDER, check=[PENDING, DEADLINE_PASSED], faults={"HoldOrder": [ANSWER_LOST] * 2})

    assert again.order_row["checks"] == 3


@pytest.mark.parametrize("outcome", HOLDS)
def test_held_order_is_published(workflow: Workflow, outcome: Outcome) -> None:
    run = workflow.run(ORDER, check=[result(outcome, message="Said so.")])

    assert run.event_types == ["OrderHeld"]
    held = run.only("OrderHeld")
    assert held.pop("occurredAt")
    assert held == {
        "schemaVersion": "1",
        "orderId": "order-1",
        "userId": "user-1",
        "reason": outcome,
        "message": "Said so.",
    }


@pytest.mark.parametrize("outcome", HOLDS)
def test_execution_of_a_held_order_fails_with_the_reason(workflow: Workflow, outcome: Outcome) -> None:
    run = workflow.run(ORDER, check=[result(outcome, message="Said so.")])

    assert (run.status, run.error, run.cause) == ("FAILED", outcome, "Said so.")
    assert run.states[-3:] == ["HoldOrder", "PublishHold", "OrderHeld"]


@pytest.mark.parametrize("status", [status for status in OrderStatus if status.is_final])
def test_hold_does_not_overwrite_a_closed_order(workflow: Workflow, status: OrderStatus) -> None:
    run = workflow.run(ORDER, check=[SETTLED], deliver=repeat(Closed(status, then=Raised("Broken"))))

    row = run.order_row
    assert row is not None
    assert row["status"] == status
    assert not HELD & row.keys()
    assert run.status == "FAILED"
    assert run.pauses_at("HoldOrder") == []


def test_hold_does_not_overwrite_another_executions_order(workflow: Workflow) -> None:
    def taken_over(_request: StepRequest) -> Answer:
        row = workflow.order_row("order-1")
        assert row is not None
        workflow.put_row(row | {"executionArn": "arn:another"})
        return DEADLINE_PASSED

    run = workflow.run(ORDER, check=[taken_over])

    assert run.status == "FAILED"
    row = run.order_row
    assert row is not None
    assert (row["status"], row["executionArn"]) == ("HANDLING", "arn:another")
    assert not HELD & row.keys()


def test_hold_writes_no_row_for_an_order_that_is_gone(workflow: Workflow) -> None:
    def delete(_request: StepRequest) -> Answer:
        workflow.delete_row("order-1")
        return DEADLINE_PASSED

    workflow.run(ORDER, check=[delete])

    assert workflow.rows() == []


@pytest.mark.parametrize("error", ["ProvisionedThroughputExceededException", "ThrottlingException", "Timeout"])
def test_transient_failure_of_a_hold_is_retried(workflow: Workflow, error: str) -> None:
    run = workflow.run(ORDER, check=[DEADLINE_PASSED], faults={"HoldOrder": [Fault(error)] * 3})

    assert run.order_row is not None
    assert run.order_row["status"] == "HELD"
    assert run.pauses == [("HoldOrder", 1), ("HoldOrder", 2), ("HoldOrder", 4)]


def test_hold_with_a_lost_answer_is_published_once(workflow: Workflow) -> None:
    run = workflow.run(ORDER, check=[DEADLINE_PASSED], faults={"HoldOrder": [ANSWER_LOST]})

    assert run.error == "DEADLINE_PASSED"
    assert run.order_row is not None
    assert run.order_row["heldReason"] == "DEADLINE_PASSED"
    assert run.event_types == ["OrderHeld"]


@pytest.mark.parametrize("error", ["ProvisionedThroughputExceededException", "AccessDeniedException", "Timeout"])
def test_hold_that_cannot_be_written_leaves_the_order_open(workflow: Workflow, error: str) -> None:
    run = workflow.run(ORDER, check=[DEADLINE_PASSED], faults={"HoldOrder": repeat(Fault(error))})

    assert (run.status, run.error, run.event_types) == ("FAILED", "DEADLINE_PASSED", [])
    assert run.order_row is not None
    assert (run.order_row["openStatus"], run.order_row["executionArn"]) == ("HANDLING", run.execution_arn)
    assert run.pauses_at("HoldOrder") == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[300] * 191]


@pytest.mark.parametrize("error", ["InternalException", "FailedEntry", "Timeout"])
def test_publishing_is_retried_after_a_short_failure(workflow: Workflow, error: str) -> None:
    run = workflow.run(ORDER, check=[DEADLINE_PASSED], faults={"PublishHold": [Fault(error)] * 3})

    assert run.event_types == ["OrderHeld"]
    assert run.pauses == [("PublishHold", 1), ("PublishHold", 2), ("PublishHold", 4)]


@pytest.mark.parametrize("error", ["InternalException", "FailedEntry", "Timeout"])
def test_hold_that_cannot_be_published_fails_with_the_reason(workflow: Workflow, error: str) -> None:
    run = workflow.run(ORDER, check=[DEADLINE_PASSED], faults={"PublishHold": repeat(Fault(error))})

    assert (run.status, run.error, run.cause) == ("FAILED", "DEADLINE_PASSED", DEADLINE_PASSED.message)
    assert run.published == []
    assert run.order_row is not None
    assert run.order_row["status"] == "HELD"
    assert run.pauses_at("PublishHold") == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_order_held_for_one_reason_can_be_held_for_another_later(workflow: Workflow) -> None:
    workflow.run(ORDER, check=[DEADLINE_PASSED])

    again = workflow.run(ORDER, check=[result(Outcome.ORDER_UNKNOWN, message="No such order.")])

    assert again.order_row is not None
    assert (again.order_row["heldReason"], again.order_row["heldMessage"]) == ("ORDER_UNKNOWN", "No such order.")
    assert again.error == "ORDER_UNKNOWN"
