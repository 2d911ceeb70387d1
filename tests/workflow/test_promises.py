"""No failure path ends as success, and none is silent. ``Workflow.run`` also checks this for each execution."""

from itertools import chain, repeat

import pytest

from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.workflow import Outcome
from workflow.answers import DEADLINE_PASSED, PENDING_LATE, SETTLED, Closed, Raised, result
from workflow.engine import Fault
from workflow.harness import ORDER, Run, Workflow, load_definition

TASKS = [name for name, state in load_definition()["States"].items() if state["Type"] == "Task"]
FAULTS = [Fault("AccessDeniedException"), Fault("InternalServerError", took_effect=True), Fault("Timeout")]


def assert_kept(run: Run, workflow: Workflow) -> None:
    """Check that the order is closed, or that the execution failed visibly."""
    row = workflow.order_row("order-1")
    if run.status == "SUCCEEDED":
        assert row is not None
        assert run.states[-1] == "AlreadyClaimed" or OrderStatus(row["status"]).is_final
    else:
        assert run.status == "FAILED"
        assert (
            run.event_types[-1:] == ["OrderHeld"]
            or run.pauses_at("PublishHold")
            or run.states[-1] in {"ExecutionSuperseded", "OrderNotClaimed", "OrderNotHeld"}
        )


@pytest.mark.parametrize("outcome", Outcome)
def test_check_outcome_succeeds_only_if_the_order_is_closed(workflow: Workflow, outcome: Outcome) -> None:
    check = chain([result(outcome), SETTLED], repeat(DEADLINE_PASSED))

    assert_kept(workflow.run(ORDER, check=check, deliver=repeat(Closed())), workflow)


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.CLOSED}))
def test_delivery_succeeds_only_if_the_order_is_closed(workflow: Workflow, outcome: Outcome) -> None:
    check = chain([SETTLED] * 3, repeat(DEADLINE_PASSED))

    run = workflow.run(ORDER, check=check, deliver=repeat(result(outcome)))

    assert_kept(run, workflow)
    assert run.status == "FAILED"


def run_with_lasting_fault(workflow: Workflow, state: str, fault: Fault) -> None:
    """Run an order that is delayed, held and resumed, with a fault at every call to which it applies."""
    faults = {state: repeat(fault)}
    # Only a held order can be resumed.
    first = {} if state == "ResumeOrder" else faults
    check = chain([PENDING_LATE], repeat(DEADLINE_PASSED))

    assert_kept(workflow.run(ORDER, check=check, faults=first), workflow)
    assert_kept(workflow.run(ORDER, check=repeat(SETTLED), deliver=repeat(Closed()), faults=faults), workflow)


# An outage of Lambda ends no order: test_surprises.py.
WAITED_OUT = {("CheckStatus", "Timeout"), ("DeliverCards", "Timeout")}


@pytest.mark.parametrize(
    ("state", "fault"),
    [(state, fault) for state in TASKS for fault in FAULTS if (state, fault.error) not in WAITED_OUT],
    ids=lambda value: value.error if isinstance(value, Fault) else value,
)
def test_faulty_step_succeeds_only_if_the_order_is_closed(workflow: Workflow, state: str, fault: Fault) -> None:
    run_with_lasting_fault(workflow, state, fault)


# Not HoldOrder: an order whose hold cannot be written stays open without an execution until the sweep releases it.
@pytest.mark.parametrize("state", [state for state in TASKS if state != "HoldOrder"])
def test_order_is_delivered_when_placed_again_after_a_fault(workflow: Workflow, state: str) -> None:
    run_with_lasting_fault(workflow, state, Fault("AccessDeniedException"))

    workflow.run(ORDER, check=repeat(SETTLED), deliver=repeat(Closed()))

    row = workflow.order_row("order-1")
    assert row is not None
    assert row["status"] == "FULFILLED"


def test_unpublished_delivery_is_published_on_a_repeat(
    workflow: Workflow,
) -> None:
    first = workflow.run(ORDER, check=[SETTLED], deliver=repeat(Closed(publishes=False)))
    assert "CardsDelivered" not in first.event_types

    again = workflow.run(ORDER, check=repeat(SETTLED), deliver=repeat(Closed()))

    assert "CardsDelivered" in again.event_types


def test_function_that_never_succeeds_ends_as_failure(workflow: Workflow) -> None:
    assert_kept(workflow.run(ORDER, check=repeat(Raised("KeyError"))), workflow)
