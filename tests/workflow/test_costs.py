"""An order is billed the state transitions that the workflow makes."""

import pytest

from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import Order
from giftcards_cli import costs
from workflow.answers import DEADLINE_PASSED, PENDING, PENDING_LATE, SETTLED, Answer, Closed
from workflow.harness import ORDER, Run, Workflow


def billed(run: Run) -> float:
    return costs.usage(Order.model_validate(run.order_row))["stepFunctionsStateTransitions"]


def made(run: Run) -> int:
    return 1 + len(run.states)  # and the start


@pytest.mark.parametrize(
    "checks",
    [[SETTLED], [PENDING, SETTLED], [PENDING] * 11 + [SETTLED], [PENDING, PENDING_LATE, PENDING, SETTLED]],
    ids=["one check", "two checks", "twelve checks", "delayed"],
)
@pytest.mark.parametrize("status", [status for status in OrderStatus if status.is_final])
def test_an_order_is_billed_the_transitions_that_it_made(
    workflow: Workflow, checks: list[Answer], status: OrderStatus
) -> None:
    run = workflow.run(ORDER, check=checks, deliver=[Closed(status)])

    assert billed(run) == made(run)


def test_each_hold_is_nine_transitions_not_in_the_row(workflow: Workflow) -> None:
    held = workflow.run(ORDER, check=[PENDING, DEADLINE_PASSED])
    again = workflow.run(ORDER, check=[PENDING, PENDING, SETTLED], deliver=[Closed()])

    assert billed(again) == made(held) + made(again) - 9
