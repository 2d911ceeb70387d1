"""An order is claimed once, however often it is placed; a held order is resumed."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import chain, repeat

import pytest

import rows
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.workflow import StepRequest
from workflow.answers import DEADLINE_PASSED, PENDING, SETTLED, Answer, Closed
from workflow.engine import Fault
from workflow.harness import CLAIMED, HELD, ORDER, Run, Workflow

ANOTHER_USER = ORDER | {"userId": "user-2"}
THROTTLED = Fault("ProvisionedThroughputExceededException")
ANSWER_LOST = Fault("InternalServerError", took_effect=True)


def assert_nothing_happened(again: Run, workflow: Workflow, before: list[dict[str, object]]) -> None:
    assert again.status == "SUCCEEDED"
    assert again.states[-1] == "AlreadyClaimed"
    assert workflow.rows() == before
    assert again.event_types == ["OrderRepeated"]
    assert again.only("OrderRepeated")["userId"] == ORDER["userId"]
    assert again.check_requests + again.deliver_requests == []
    assert again.pauses == []


def assert_disputed(again: Run, workflow: Workflow, before: list[dict[str, object]]) -> None:
    assert (again.status, again.error) == ("FAILED", "ORDER_DISPUTED")
    assert workflow.rows() == before
    assert again.event_types == ["OrderDisputed"]
    detail = again.only("OrderDisputed")
    assert (detail["orderId"], detail["userId"]) == ("order-1", "user-2")
    assert "user-1" not in again.published[0].detail["message"] + str(again.cause)
    assert again.check_requests + again.deliver_requests == []


FIRST = "arn:aws:states:eu-west-1:123456789012:execution:giftcards-fulfil-order:first"
OPEN_ROW = rows.claimed("order-1", "user-1", datetime(2026, 1, 1, tzinfo=UTC), executionArn=FIRST)


def test_repeat_of_an_open_order_changes_nothing(workflow: Workflow) -> None:
    workflow.put_row(OPEN_ROW)
    before = workflow.rows()

    again = workflow.run(ORDER)

    assert_nothing_happened(again, workflow, before)


def test_open_order_placed_for_another_user_is_disputed(workflow: Workflow) -> None:
    workflow.put_row(OPEN_ROW)
    before = workflow.rows()

    assert_disputed(workflow.run(ANOTHER_USER), workflow, before)


def test_late_claim_changes_nothing_of_its_execution(workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflow.harness.uuid4", lambda: "first")  # the execution of OPEN_ROW
    workflow.put_row(rows.published(rows.closed(OPEN_ROW, cards=2)))
    before = workflow.rows()

    run = workflow.run(ORDER)

    assert run.execution_arn == OPEN_ROW["executionArn"]
    assert_nothing_happened(run, workflow, before)


CLOSED = pytest.mark.parametrize("status", [status for status in OrderStatus if status.is_final])


@CLOSED
def test_repeat_of_a_closed_order_changes_nothing(workflow: Workflow, status: OrderStatus) -> None:
    workflow.run(ORDER, check=[SETTLED], deliver=[Closed(status)])
    before = workflow.rows()

    again = workflow.run(ORDER)

    assert_nothing_happened(again, workflow, before)


@CLOSED
def test_closed_order_placed_for_another_user_is_disputed(workflow: Workflow, status: OrderStatus) -> None:
    workflow.run(ORDER, check=[SETTLED], deliver=[Closed(status)])
    before = workflow.rows()

    assert_disputed(workflow.run(ANOTHER_USER), workflow, before)


def test_repeat_that_cannot_be_published_changes_nothing(workflow: Workflow) -> None:
    workflow.put_row(OPEN_ROW)

    run = workflow.run(ORDER, faults={"PublishRepeat": repeat(Fault("InternalFailure"))})

    assert (run.status, run.states[-1], run.event_types) == ("SUCCEEDED", "AlreadyClaimed", [])


def test_dispute_that_cannot_be_published_fails(workflow: Workflow) -> None:
    workflow.put_row(OPEN_ROW)

    run = workflow.run(ANOTHER_USER, faults={"PublishDispute": repeat(Fault("InternalFailure"))})

    assert (run.status, run.error, run.event_types) == ("FAILED", "ORDER_DISPUTED", [])


def test_order_without_an_execution_is_resumed(workflow: Workflow) -> None:
    workflow.put_row({name: value for name, value in OPEN_ROW.items() if name != "executionArn"})

    run = workflow.run(ORDER, check=[SETTLED], deliver=[Closed()])

    assert run.states[:5] == [
        "ReadOrder",
        "ClaimOrder",
        "LookUpOrder",
        "RouteClaim",
        "ResumeOrder",
    ]
    assert run.event_types == ["CardsDelivered"]


def test_order_resumed_by_another_execution_first_is_skipped(workflow: Workflow) -> None:
    workflow.run(ORDER, check=[DEADLINE_PASSED])
    workflow.between("ResumeOrder", lambda: workflow.put_row(OPEN_ROW))

    again = workflow.run(ORDER)

    assert (again.status, again.states[-1]) == ("SUCCEEDED", "AlreadyClaimed")
    assert workflow.rows() == [OPEN_ROW]


def test_two_orders_do_not_touch_each_other(workflow: Workflow) -> None:
    workflow.run(ORDER, check=[DEADLINE_PASSED])
    first = workflow.order_row("order-1")

    other = workflow.run({"orderId": "order-2", "userId": "user-1"}, check=[SETTLED], deliver=[Closed()])

    assert other.status == "SUCCEEDED"
    assert workflow.order_row("order-1") == first


def test_held_order_is_resumed_with_a_fresh_deadline(workflow: Workflow) -> None:
    held = workflow.run(ORDER | {"placedAt": "2026-01-01T00:00:00Z"}, check=[DEADLINE_PASSED]).order_row
    assert held is not None
    seen = []

    def look(_request: StepRequest) -> Answer:
        seen.append(workflow.order_row("order-1"))
        return SETTLED

    again = workflow.run(ORDER, check=[look], deliver=[Closed()])

    [row] = seen
    assert row is not None
    assert row.keys() == CLAIMED | {"placedAt", "checks"}
    assert row["claimedAt"] > held["claimedAt"]
    changed = {"status": "HANDLING", "openStatus": "HANDLING", "executionArn": again.execution_arn}
    unchanged = {key: value for key, value in held.items() if key not in HELD}
    assert row == unchanged | changed | {"claimedAt": row["claimedAt"]}
    assert again.status == "SUCCEEDED"
    assert again.event_types == ["CardsDelivered"]
    assert again.states[1:6] == ["ClaimOrder", "LookUpOrder", "RouteClaim", "ResumeOrder", "WaitBeforeCheck"]
    [request] = again.check_requests
    assert (request.checks, request.retry_state.failures) == (0, 0)
    assert request.claimed_at == datetime.fromisoformat(row["claimedAt"])


def test_order_can_be_held_and_resumed_any_number_of_times(workflow: Workflow) -> None:
    for _ in range(3):
        assert workflow.run(ORDER, check=[PENDING, DEADLINE_PASSED]).error == "DEADLINE_PASSED"

    assert workflow.run(ORDER, check=[SETTLED], deliver=[Closed()]).status == "SUCCEEDED"


def test_held_order_placed_for_another_user_changes_nothing(workflow: Workflow) -> None:
    workflow.run(ORDER, check=[DEADLINE_PASSED])
    before = workflow.rows()

    assert_disputed(workflow.run(ANOTHER_USER), workflow, before)


@pytest.mark.parametrize("faults", [[ANSWER_LOST], [THROTTLED, ANSWER_LOST]])
def test_claim_with_a_lost_answer_is_this_executions(workflow: Workflow, faults: list[Fault]) -> None:
    run = workflow.run(ORDER, check=[SETTLED], deliver=[Closed()], faults={"ClaimOrder": faults})

    assert run.status == "SUCCEEDED"
    assert run.states[-1] == "OrderClosed"
    assert run.event_types == ["CardsDelivered"]


@pytest.mark.parametrize("faults", [[ANSWER_LOST], [ANSWER_LOST] * 3, [THROTTLED, ANSWER_LOST]])
def test_resumption_with_a_lost_answer_is_this_executions(workflow: Workflow, faults: list[Fault]) -> None:
    workflow.run(ORDER, check=[DEADLINE_PASSED])

    again = workflow.run(ORDER, check=[SETTLED], deliver=[Closed()], faults={"ResumeOrder": faults})

    assert again.status == "SUCCEEDED"
    assert again.states[-1] == "OrderClosed"


@pytest.mark.parametrize("error", ["ProvisionedThroughputExceededException", "ThrottlingException", "Timeout"])
def test_throttled_claim_is_retried(workflow: Workflow, error: str) -> None:
    run = workflow.run(ORDER, check=[SETTLED], deliver=[Closed()], faults={"ClaimOrder": [Fault(error)] * 3})

    assert run.status == "SUCCEEDED"
    assert run.pauses == [("ClaimOrder", 1), ("ClaimOrder", 2), ("ClaimOrder", 4)]


@pytest.mark.parametrize("error", ["ProvisionedThroughputExceededException", "ThrottlingException", "Timeout"])
def test_throttled_resumption_is_retried(workflow: Workflow, error: str) -> None:
    workflow.run(ORDER, check=[DEADLINE_PASSED])

    again = workflow.run(ORDER, check=[SETTLED], deliver=[Closed()], faults={"ResumeOrder": [Fault(error)] * 3})

    assert again.status == "SUCCEEDED"
    assert again.pauses == [("ResumeOrder", 1), ("ResumeOrder", 2), ("ResumeOrder", 4)]


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (repeat(THROTTLED), "DynamoDB.ProvisionedThroughputExceededException"),
        (repeat(Fault("AccessDeniedException")), "DynamoDB.AccessDeniedException"),
        (repeat(Fault("Timeout")), "States.Timeout"),
    ],
    ids=["throttled", "denied", "timed out"],
)
def test_unclaimable_order_goes_to_the_dead_letter_queue(
    workflow: Workflow, faults: Iterable[Fault], error: str
) -> None:
    run = workflow.run(ORDER, faults={"ClaimOrder": faults})

    assert (run.status, run.error) == ("FAILED", "UNEXPECTED_ERROR")
    assert run.cause == f"ClaimOrder failed: {error}. The OrderPlaced event is in the dead-letter queue."
    assert [(letter.detail_type, letter.detail) for letter in run.dead_letters] == [("OrderPlaced", ORDER)]
    assert workflow.rows() == []
    assert run.event_types == []
    assert run.pauses_at("ClaimOrder") == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_held_order_that_cannot_be_resumed_is_unchanged(workflow: Workflow) -> None:
    workflow.run(ORDER, check=[DEADLINE_PASSED])
    before = workflow.rows()

    again = workflow.run(ORDER, faults={"ResumeOrder": repeat(THROTTLED)})

    assert (again.status, again.error) == ("FAILED", "UNEXPECTED_ERROR")
    assert str(again.cause).startswith("ResumeOrder failed: DynamoDB.ProvisionedThroughputExceededException.")
    assert [letter.detail for letter in again.dead_letters] == [ORDER]
    assert workflow.rows() == before
    assert again.event_types == []


@pytest.mark.parametrize("placed_at", [{}, {"placedAt": "2026-01-01T00:00:00Z"}])
def test_dead_letter_holds_the_detail_of_the_event_only(workflow: Workflow, placed_at: dict[str, str]) -> None:
    run = workflow.run(ORDER | placed_at | {"note": "a card"}, faults={"ClaimOrder": repeat(THROTTLED)})

    assert [letter.detail for letter in run.dead_letters] == [ORDER | placed_at]


def test_execution_that_can_neither_claim_nor_park_fails(workflow: Workflow) -> None:
    lost = {"ClaimOrder": repeat(THROTTLED), "ParkOrder": repeat(Fault("InternalError"))}

    run = workflow.run(ORDER, faults=lost)

    assert (run.status, run.event_types, run.dead_letters) == ("FAILED", [], [])
    assert str(run.cause).endswith(
        "The OrderPlaced event could not be sent to the dead-letter queue either: replay it from the archive."
    )


HELD_ROW = rows.held(OPEN_ROW, "ORDER_UNKNOWN")
CLOSED_ROW = rows.closed(OPEN_ROW, cards=2)
REFUNDED_ROW = rows.closed(OPEN_ROW, cards=0, quantity=2)


@pytest.mark.parametrize(
    ("state", "row"),
    [
        *((state, row) for state in ("ClaimOrder", "LookUpOrder") for row in (OPEN_ROW, HELD_ROW, CLOSED_ROW)),
        ("ResumeOrder", HELD_ROW),
        ("RepublishOrder", CLOSED_ROW),
        ("RepublishOrder", REFUNDED_ROW),
    ],
    ids=lambda value: value if isinstance(value, str) else value["status"],
)
def test_repeat_on_a_failing_table_publishes_no_order_held(workflow: Workflow, state: str, row: dict[str, str]) -> None:
    workflow.put_row(row)

    run = workflow.run(ORDER, faults={state: repeat(THROTTLED)})

    assert (run.states[-2:], run.event_types) == (["ParkOrder", "OrderNotClaimed"], [])
    assert [letter.detail for letter in run.dead_letters] == [ORDER]
    assert workflow.rows() == [row]


def test_unreadable_order_goes_to_the_dead_letter_queue(workflow: Workflow) -> None:
    workflow.put_row(OPEN_ROW)

    run = workflow.run(ORDER, faults={"LookUpOrder": repeat(THROTTLED)})

    assert [letter.detail for letter in run.dead_letters] == [ORDER]
    assert workflow.rows() == [OPEN_ROW]


def test_order_deleted_after_its_claim_becomes_a_dead_letter(workflow: Workflow) -> None:
    workflow.put_row(OPEN_ROW)
    workflow.between("LookUpOrder", lambda: workflow.delete_row("order-1"))

    run = workflow.run(ORDER)

    assert [letter.detail for letter in run.dead_letters] == [ORDER]
    assert run.event_types == []


def test_claim_written_by_a_failed_call_leaves_an_open_order(
    workflow: Workflow,
) -> None:
    run = workflow.run(ORDER, faults={"ClaimOrder": chain([ANSWER_LOST], repeat(THROTTLED))})

    # The sweep finds it: the order is open, and its execution has ended.
    assert (run.status, run.error) == ("FAILED", "UNEXPECTED_ERROR")
    assert run.order_row is not None
    assert (run.order_row["status"], run.order_row["executionArn"]) == ("HANDLING", run.execution_arn)
    assert run.event_types == []
