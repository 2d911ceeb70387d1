"""What nobody foresaw: a function that raises, or that Lambda does not run. Retried, then held."""

import base64
import json
from collections.abc import Iterable
from itertools import repeat

import pytest

from workflow.answers import PENDING, SETTLED, Answering, Closed, Raised
from workflow.engine import Fault
from workflow.harness import CLAIMED, HELD, ORDER, Run, Workflow

CARD = 'CARD-"7f3a"-\\9c51-e8d2'
LAMBDA_BUSY = [
    "ServiceException",
    "AWSLambdaException",
    "SdkClientException",
    "TooManyRequestsException",
    "Unknown",
]
STEPS = ["CheckStatus", "DeliverCards"]


def run_with(workflow: Workflow, step: str, answers: Iterable[Answering], faults: Iterable[Fault]) -> Run:
    """Let one of the two functions answer this, or Lambda fail to run it like that."""
    if step == "CheckStatus":
        ends_well = isinstance(answers, list) and isinstance(faults, list)
        return workflow.run(ORDER, check=answers, deliver=[Closed()] if ends_well else [], faults={step: faults})
    return workflow.run(ORDER, check=[SETTLED], deliver=answers, faults={step: faults})


def well(step: str) -> Answering:
    return SETTLED if step == "CheckStatus" else Closed()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", ["SandboxTimedOut", "Runtime.ExitError", "KeyError", "EndpointConnectionError"])
def test_function_that_raises_for_a_moment_is_called_again(workflow: Workflow, step: str, error: str) -> None:
    run = run_with(workflow, step, [Raised(error)] * 2 + [well(step)], [])

    assert run.status == "SUCCEEDED"
    assert run.pauses == [(step, 5), (step, 10)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [*LAMBDA_BUSY, "Timeout"])
def test_function_that_lambda_does_not_run_for_a_moment_is_called_again(
    workflow: Workflow, step: str, error: str
) -> None:
    run = run_with(workflow, step, [well(step)], [Fault(error)] * 2)

    assert run.status == "SUCCEEDED"
    assert run.pauses == ([(step, 5), (step, 10)] if error == "Timeout" else [(step, 2), (step, 4)])


@pytest.mark.parametrize("step", STEPS)
def test_function_is_asked_the_same_again_after_it_raised(workflow: Workflow, step: str) -> None:
    run = run_with(workflow, step, [Raised("KeyError"), well(step)], [])

    requests = run.check_requests if step == "CheckStatus" else run.deliver_requests
    assert len(requests) == 2
    assert requests[0] == requests[1]


def test_each_check_has_retries_of_its_own(workflow: Workflow) -> None:
    bad_moment = [Raised("KeyError")] * 4

    run = workflow.run(ORDER, check=[*bad_moment, PENDING, *bad_moment, SETTLED], deliver=[Closed()])

    assert run.status == "SUCCEEDED"
    assert run.pauses_at("CheckStatus") == [5, 10, 20, 40] * 2


RAISED_PAUSES = [5, 10, 20, 40, 60, 60, 60, 60]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("failure", "error", "pauses"),
    [
        (Raised("KeyError"), "KeyError", RAISED_PAUSES),
        (Raised("Sandbox.Timedout"), "Sandbox.Timedout", RAISED_PAUSES),
        (Fault("Timeout"), "States.Timeout", RAISED_PAUSES),
        (Fault("AccessDeniedException"), "Lambda.AccessDeniedException", RAISED_PAUSES),
        *((Fault(code), f"Lambda.{code}", [2, 4, 8, 16, 32, *[60] * 7]) for code in LAMBDA_BUSY),
    ],
    ids=["bug", "killed", "timed out", "denied", *LAMBDA_BUSY],
)
def test_function_that_keeps_failing_holds_the_order(
    workflow: Workflow, step: str, failure: Raised | Fault, error: str, pauses: list[int]
) -> None:
    if isinstance(failure, Raised):
        run = run_with(workflow, step, answers=repeat(failure), faults=[])
    else:
        run = run_with(workflow, step, answers=[], faults=repeat(failure))

    assert (run.status, run.error, run.cause) == ("FAILED", "UNEXPECTED_ERROR", f"{step} failed: {error}.")
    row = run.order_row
    assert row is not None
    assert row.keys() == CLAIMED | HELD | {"checks"}
    assert (row["heldReason"], row["heldMessage"]) == ("UNEXPECTED_ERROR", run.cause)
    held = run.only("OrderHeld")
    assert (held["reason"], held["message"]) == ("UNEXPECTED_ERROR", run.cause)
    assert run.pauses_at(step) == pauses
    assert workflow.run(ORDER, check=[SETTLED], deliver=[Closed()]).status == "SUCCEEDED"


@pytest.mark.parametrize("step", STEPS)
def test_error_text_comes_into_no_row_event_or_result(workflow: Workflow, step: str) -> None:
    run = run_with(workflow, step, repeat(Raised("ValidationError", f"cards.0.value {CARD} is not valid")), [])

    seen = json.dumps(
        [workflow.rows(), [event.detail for event in run.announcements], run.error, run.cause, run.output], default=str
    )
    for trace in (CARD, json.dumps(CARD)[1:-1], base64.b64encode(CARD.encode()).decode(), "cards.0.value"):
        assert trace not in seen
        assert json.dumps(trace)[1:-1] not in seen


def test_delivery_that_succeeded_though_it_raised_is_found_by_the_retry(workflow: Workflow) -> None:
    run = workflow.run(ORDER, check=[SETTLED], deliver=[Closed(then=Raised("Sandbox.Timedout")), Closed()])

    assert run.status == "SUCCEEDED"
    assert run.announced == ["CardsDelivered"]
