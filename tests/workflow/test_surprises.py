"""Unexpected errors: a function that raises is retried, then its order is held; in an outage of AWS the order waits."""

import base64
import json
from collections.abc import Iterable
from itertools import repeat

import pytest

from giftcards.contracts.workflow import Outcome
from giftcards.rules.schedule import MAX_BACKOFF_SECONDS, YOUNG_SECONDS
from workflow.answers import PENDING, SETTLED, Answering, Closed, Raised, result
from workflow.engine import Engine, Fault
from workflow.harness import CLAIMED, HELD, ORDER, Run, Workflow, load_definition
from workflow.test_definition import CALLS_A_ROUND
from workflow.test_definition import OUTAGES as ERRORS

CARD = 'CARD-"7f3a"-\\9c51-e8d2'
OUTAGES: list[Raised | Fault] = [
    *(Fault(error.removeprefix("Lambda.")) for error in ERRORS if error.startswith("Lambda.")),
    Raised("AwsUnavailableError"),
    Fault("Timeout"),
]
STEPS = ["CheckStatus", "DeliverCards"]


def run_with(workflow: Workflow, step: str, answers: Iterable[Answering], faults: Iterable[Fault]) -> Run:
    """Run an order with this answer of a function, or this fault of Lambda."""
    if step == "CheckStatus":
        ends_well = isinstance(answers, list) and isinstance(faults, list)
        return workflow.run(ORDER, check=answers, deliver=[Closed()] if ends_well else [], faults={step: faults})
    return workflow.run(ORDER, check=[SETTLED], deliver=answers, faults={step: faults})


def succeeding(step: str) -> Answering:
    return SETTLED if step == "CheckStatus" else Closed()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", ["SandboxTimedOut", "Runtime.ExitError", "KeyError", "EndpointConnectionError"])
def test_function_that_raises_once_is_called_again(workflow: Workflow, step: str, error: str) -> None:
    run = run_with(workflow, step, [Raised(error)] * 2 + [succeeding(step)], [])

    assert run.status == "SUCCEEDED"
    assert run.pauses == [(step, 5), (step, 10)]


each_outage = pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.error)


def run_through(workflow: Workflow, step: str, outage: Raised | Fault, times: int) -> Run:
    """Run an order with an outage for some calls of a function."""
    raised: list[Answering] = [outage] * times if isinstance(outage, Raised) else []
    faults = [] if isinstance(outage, Raised) else [outage] * times
    if step == "CheckStatus":
        return run_with(workflow, step, [*raised, SETTLED], faults)
    return workflow.run(ORDER, check=[SETTLED], deliver=[*raised, Closed()], faults={step: faults})


@pytest.mark.parametrize("step", STEPS)
@each_outage
def test_short_outage_costs_no_wait(workflow: Workflow, step: str, outage: Raised | Fault) -> None:
    run = run_through(workflow, step, outage, times=2)

    assert run.status == "SUCCEEDED"
    assert run.pauses == [(step, 2), (step, 4)]
    assert len(run.waits) == 1


@pytest.mark.parametrize("step", STEPS)
@each_outage
def test_order_waits_during_an_outage_of_hours(workflow: Workflow, step: str, outage: Raised | Fault) -> None:
    run = run_through(workflow, step, outage, times=20 * CALLS_A_ROUND)

    assert run.status == "SUCCEEDED"
    assert run.event_types == ["CardsDelivered"]
    assert run.states.count("CheckStatus") == (21 if step == "CheckStatus" else 1)
    assert run.waits[1:7] == [15, 30, 30, 30, 30, 30]


@pytest.mark.parametrize(
    ("young_seconds", "waits"), [(3_600, [30, 60, 60, 60, 60, 60]), (0, [30, 60, 120, 240, 480, MAX_BACKOFF_SECONDS])]
)
def test_backoff_of_an_outage_is_a_minute_in_the_first_hour(
    engine: Engine, young_seconds: int, waits: list[int]
) -> None:
    definition = load_definition()
    written = definition["States"]["WaitForAws"]["Assign"]["waitSeconds"]
    assert f" < {YOUNG_SECONDS} " in written
    definition["States"]["WaitForAws"]["Assign"]["waitSeconds"] = written.replace(
        f" < {YOUNG_SECONDS} ", f" < {young_seconds} "
    )
    engine.random = 0.999

    run = run_through(Workflow(engine, definition), "CheckStatus", OUTAGES[0], times=8 * CALLS_A_ROUND)

    assert run.waits[1:7] == waits


def test_outage_counts_as_time_without_an_answer(workflow: Workflow) -> None:
    run = run_through(workflow, "CheckStatus", OUTAGES[0], times=3 * CALLS_A_ROUND)

    [request] = run.check_requests
    assert (request.checks, request.retry_state.failures) == (0, 3)
    assert request.retry_state.unanswered_since is not None
    assert request.retry_state.unanswered_since >= request.claimed_at


def test_outage_after_an_answer_begins_with_its_first_failure(workflow: Workflow) -> None:
    outage = [Raised("AwsUnavailableError")] * CALLS_A_ROUND

    run = workflow.run(ORDER, check=[PENDING, *outage, SETTLED], deliver=[Closed()])

    since = run.check_requests[-1].retry_state.unanswered_since
    assert since is not None
    assert PENDING.retry_state.unanswered_since < run.check_requests[-1].claimed_at <= since


def test_outage_continues_from_the_earlier_failures(workflow: Workflow) -> None:
    busy = result(Outcome.SUPPLIER_BUSY, failures=4)
    outage = [Raised("AwsUnavailableError")] * CALLS_A_ROUND

    run = workflow.run(ORDER, check=[busy, *outage, SETTLED], deliver=[Closed()])

    assert run.check_requests[-1].retry_state.failures == 5
    assert run.check_requests[-1].retry_state.unanswered_since == busy.unanswered_since


@pytest.mark.parametrize("step", STEPS)
def test_function_gets_the_same_request_after_it_raised(workflow: Workflow, step: str) -> None:
    run = run_with(workflow, step, [Raised("KeyError"), succeeding(step)], [])

    requests = run.check_requests if step == "CheckStatus" else run.deliver_requests
    assert len(requests) == 2
    assert requests[0] == requests[1]


def test_each_check_has_its_own_retries(workflow: Workflow) -> None:
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
        (Fault("AccessDeniedException"), "Lambda.AccessDeniedException", RAISED_PAUSES),
        (Fault("Unknown"), "Lambda.Unknown", [2, 4, 8, 16, 32, *[60] * 7]),
    ],
    ids=["bug", "killed", "denied", "unknown"],
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
def test_error_text_is_in_no_row_event_or_result(workflow: Workflow, step: str) -> None:
    run = run_with(workflow, step, repeat(Raised("ValidationError", f"cards.0.value {CARD} is not valid")), [])

    seen = json.dumps(
        [workflow.rows(), [event.detail for event in run.published], run.error, run.cause, run.output], default=str
    )
    for trace in (CARD, json.dumps(CARD)[1:-1], base64.b64encode(CARD.encode()).decode(), "cards.0.value"):
        assert trace not in seen
        assert json.dumps(trace)[1:-1] not in seen


def test_retry_finds_a_delivery_that_succeeded_but_raised(workflow: Workflow) -> None:
    run = workflow.run(ORDER, check=[SETTLED], deliver=[Closed(then=Raised("Sandbox.Timedout")), Closed()])

    assert run.status == "SUCCEEDED"
    assert run.event_types == ["CardsDelivered"]
