"""A slow order is published as delayed once."""

from itertools import repeat

import pytest

from giftcards.contracts.workflow import Outcome
from workflow.answers import DEADLINE_PASSED, PENDING, PENDING_LATE, SETTLED, Closed, result
from workflow.engine import Fault
from workflow.harness import CLAIMED, DELIVERED, ORDER, Workflow


def test_delayed_order_is_published_and_continues(workflow: Workflow) -> None:
    run = workflow.run(ORDER, check=[PENDING, PENDING_LATE, PENDING, SETTLED], deliver=[Closed()])

    assert run.status == "SUCCEEDED"
    assert run.event_types == ["OrderDelayed", "CardsDelivered"]
    delayed = run.only("OrderDelayed")
    assert delayed.pop("occurredAt")
    assert delayed == {"schemaVersion": "1", "orderId": "order-1", "userId": "user-1", "pendingSeconds": 612}
    assert run.waits == [5, 23, 23, 23]


def test_slow_delivery_is_published_as_delayed(workflow: Workflow) -> None:
    late = result(Outcome.SUPPLIER_BUSY, age_seconds=700, announce_delay=True)

    run = workflow.run(ORDER, check=[SETTLED] * 3, deliver=[result(Outcome.SUPPLIER_BUSY), late, Closed()])

    assert run.event_types == ["OrderDelayed", "CardsDelivered"]
    assert run.only("OrderDelayed")["pendingSeconds"] == 700
    assert [request.delay_announced for request in run.deliver_requests] == [False, False, True]


def test_delay_is_recorded_with_the_order(workflow: Workflow) -> None:
    run = workflow.run(ORDER, check=[PENDING_LATE, SETTLED], deliver=[Closed()])

    assert run.order_row is not None
    assert run.order_row.keys() == (CLAIMED | DELIVERED | {"delayedAt"}) - {"openStatus"}


def test_functions_receive_that_the_delay_is_published(workflow: Workflow) -> None:
    run = workflow.run(ORDER, check=[PENDING, PENDING_LATE, PENDING, SETTLED], deliver=[Closed()])

    assert [request.delay_announced for request in run.check_requests] == [False, False, True, True]
    assert [request.delay_announced for request in run.deliver_requests] == [True]


def test_resumed_order_keeps_its_published_delay(workflow: Workflow) -> None:
    workflow.run(ORDER, check=[PENDING_LATE, DEADLINE_PASSED])

    again = workflow.run(ORDER, check=[PENDING, SETTLED], deliver=[Closed()])

    assert [request.delay_announced for request in again.check_requests + again.deliver_requests] == [True] * 3
    assert again.event_types == ["CardsDelivered"]


def test_resumed_order_keeps_its_unpublished_delay(workflow: Workflow) -> None:
    workflow.run(ORDER, check=[DEADLINE_PASSED])

    again = workflow.run(ORDER, check=[PENDING_LATE, SETTLED], deliver=[Closed()])

    assert [request.delay_announced for request in again.check_requests] == [False, True]
    assert again.event_types == ["OrderDelayed", "CardsDelivered"]


@pytest.mark.parametrize("error", ["InternalException", "ThrottlingException", "FailedEntry", "Timeout"])
def test_publishing_is_retried_after_a_short_failure(workflow: Workflow, error: str) -> None:
    run = workflow.run(
        ORDER, check=[PENDING_LATE, SETTLED], deliver=[Closed()], faults={"PublishDelay": [Fault(error)] * 3}
    )

    assert run.event_types == ["OrderDelayed", "CardsDelivered"]
    assert run.pauses == [("PublishDelay", 1), ("PublishDelay", 2), ("PublishDelay", 4)]


@pytest.mark.parametrize("error", ["InternalException", "FailedEntry", "Timeout"])
def test_delay_that_cannot_be_published_holds_no_order(workflow: Workflow, error: str) -> None:
    run = workflow.run(
        ORDER, check=[PENDING_LATE, SETTLED], deliver=[Closed()], faults={"PublishDelay": repeat(Fault(error))}
    )

    assert run.status == "SUCCEEDED"
    assert run.event_types == ["CardsDelivered"]
    assert run.order_row is not None
    assert "delayedAt" not in run.order_row


def test_unpublished_delay_is_published_after_the_next_check(workflow: Workflow) -> None:
    first_time = [Fault("InternalException")] * 11

    run = workflow.run(
        ORDER, check=[PENDING_LATE, PENDING_LATE, SETTLED], deliver=[Closed()], faults={"PublishDelay": first_time}
    )

    assert [request.delay_announced for request in run.check_requests] == [False, False, True]
    assert run.event_types == ["OrderDelayed", "CardsDelivered"]


@pytest.mark.parametrize("error", ["ProvisionedThroughputExceededException", "Timeout"])
def test_delay_that_cannot_be_recorded_is_published_once(workflow: Workflow, error: str) -> None:
    run = workflow.run(
        ORDER, check=[PENDING_LATE, PENDING, SETTLED], deliver=[Closed()], faults={"RecordDelay": repeat(Fault(error))}
    )

    assert run.status == "SUCCEEDED"
    assert run.event_types == ["OrderDelayed", "CardsDelivered"]
    assert [request.delay_announced for request in run.check_requests] == [False, True, True]


@pytest.mark.parametrize("now_has", [{"status": "FULFILLED"}, {"status": "HELD"}, {"executionArn": "arn:another"}])
def test_delay_is_recorded_only_in_an_open_order_of_this_execution(workflow: Workflow, now_has: dict[str, str]) -> None:
    def change() -> None:
        row = workflow.order_row("order-1")
        assert row is not None
        workflow.put_row(row | now_has)

    workflow.between("RecordDelay", change)

    run = workflow.run(ORDER, check=[PENDING_LATE, DEADLINE_PASSED])

    assert run.pauses == []
    assert run.order_row is not None
    assert "delayedAt" not in run.order_row


def test_delay_of_an_order_that_is_gone_writes_no_row(workflow: Workflow) -> None:
    def delete(_request: object) -> object:
        workflow.delete_row("order-1")
        return PENDING_LATE

    run = workflow.run(ORDER, check=[delete, DEADLINE_PASSED])

    assert workflow.rows() == []
    assert run.pauses == []
    assert (run.event_types, run.states[-1]) == (["OrderDelayed"], "ExecutionSuperseded")
