"""Where each outcome of each function leads. A new Outcome without a route fails here."""

from itertools import repeat
from typing import Any

import pytest

from giftcards.contracts.events import HeldReason
from giftcards.contracts.workflow import NextStep, Outcome
from workflow.answers import PENDING, SETTLED, Closed, Malformed, result
from workflow.harness import ORDER, Workflow, load_definition

WAITING = {outcome for outcome in Outcome if outcome.next is NextStep.WAIT}

AFTER_CHECK = {
    Outcome.SETTLED: "DeliverCards",
    Outcome.PENDING: "WaitBeforeCheck",
    Outcome.SUPPLIER_BUSY: "WaitBeforeCheck",
    Outcome.KEY_REFUSED: "WaitBeforeCheck",
    Outcome.GATE_CLOSED: "WaitBeforeCheck",
    Outcome.DEADLINE_PASSED: "DEADLINE_PASSED",
    Outcome.ORDER_UNKNOWN: "ORDER_UNKNOWN",
    Outcome.SUPPLIER_CONTRACT_BROKEN: "SUPPLIER_CONTRACT_BROKEN",
    Outcome.INVALID_ORDER: "INVALID_ORDER",
    # CheckStatus closes nothing: never trusted.
    Outcome.CLOSED: "UNEXPECTED_ERROR",
}
"""The next state, or the reason why the order is held."""

AFTER_DELIVERY = AFTER_CHECK | {
    Outcome.CLOSED: "OrderClosed",
    # To deliver again at once would be a loop without a wait.
    Outcome.SETTLED: "UNEXPECTED_ERROR",
}


@pytest.mark.parametrize("outcome", Outcome)
def test_outcome_of_check_status_leads_where_it_must(workflow: Workflow, outcome: Outcome) -> None:
    expected = AFTER_CHECK[outcome]
    goes_on = expected not in set(HeldReason)
    first = result(outcome, message="Said by CheckStatus.", wait_seconds=41)

    run = workflow.run(
        ORDER, check=[first, SETTLED] if outcome in WAITING else [first], deliver=[Closed()] if goes_on else []
    )

    after = run.states[run.states.index("Route") + 1]
    if goes_on:
        assert after == expected
        assert run.status == "SUCCEEDED"
        assert run.waits == ([5, 41] if outcome in WAITING else [5])
    else:
        assert after == "HoldOrder"
        assert (run.status, run.error) == ("FAILED", expected)
        assert (run.cause == "Said by CheckStatus.") == (expected == outcome)


@pytest.mark.parametrize("outcome", Outcome)
def test_outcome_of_deliver_cards_leads_where_it_must(workflow: Workflow, outcome: Outcome) -> None:
    expected = AFTER_DELIVERY[outcome]
    waits = outcome in WAITING
    answer = (
        Closed() if outcome is Outcome.CLOSED else result(outcome, message="Said by DeliverCards.", wait_seconds=41)
    )

    run = workflow.run(
        ORDER, check=[SETTLED, SETTLED] if waits else [SETTLED], deliver=[answer, Closed()] if waits else [answer]
    )

    after = run.states[run.states.index("DeliverCards") + 2]
    if expected in set(HeldReason):
        assert after == "HoldOrder"
        assert (run.status, run.error) == ("FAILED", expected)
        assert (run.cause == "Said by DeliverCards.") == (expected == outcome)
    else:
        assert after == expected
        assert run.status == "SUCCEEDED"
        assert run.waits == ([5, 41] if waits else [5])


@pytest.mark.parametrize("outcome", sorted(WAITING - {Outcome.PENDING}))
def test_settled_order_waits_for_its_delivery_without_another_check(workflow: Workflow, outcome: Outcome) -> None:
    queued = result(outcome, wait_seconds=41, retry_delivery=True)

    run = workflow.run(ORDER, check=[SETTLED], deliver=[queued, queued, Closed()])

    after = run.states[run.states.index("DeliverCards") + 1 :]
    assert after == [*["Route", "WaitBeforeDelivery", "DeliverCards"] * 2, "Route", "OrderClosed"]
    assert run.waits == [5, 41, 41]
    assert [request.checks for request in run.deliver_requests] == [1, 2, 3]


def test_settled_order_is_checked_again_if_the_delivery_says_so(workflow: Workflow) -> None:
    queued = result(Outcome.GATE_CLOSED, retry_delivery=True)

    run = workflow.run(ORDER, check=[SETTLED, PENDING, SETTLED], deliver=[queued, result(Outcome.PENDING), Closed()])

    assert run.status == "SUCCEEDED"
    waits = [state for state in run.states if state.startswith("Wait")]
    assert waits == ["WaitBeforeCheck", "WaitBeforeDelivery", "WaitBeforeCheck", "WaitBeforeCheck"]


def test_delay_of_a_delivery_is_published_and_the_delivery_repeated(workflow: Workflow) -> None:
    late = result(Outcome.GATE_CLOSED, announce_delay=True, wait_seconds=41, retry_delivery=True)

    run = workflow.run(ORDER, check=[SETTLED], deliver=[late, Closed()])

    assert run.event_types == ["OrderDelayed", "CardsDelivered"]
    assert run.states.count("CheckStatus") == 1
    assert run.waits == [5, 41]


@pytest.mark.parametrize("outcome", sorted(WAITING))
def test_delay_is_published_for_any_kind_of_wait(workflow: Workflow, outcome: Outcome) -> None:
    late = result(outcome, announce_delay=True, wait_seconds=41)

    run = workflow.run(ORDER, check=[late, SETTLED], deliver=[Closed()])

    after = run.states[run.states.index("Route") + 1 :]
    assert after[:4] == ["PublishDelay", "RecordDelay", "Route", "WaitBeforeCheck"]
    assert run.event_types == ["OrderDelayed", "CardsDelivered"]
    assert run.waits == [5, 41]


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - WAITING - {Outcome.SETTLED}))
def test_order_that_does_not_wait_is_not_delayed(workflow: Workflow, outcome: Outcome) -> None:
    run = workflow.run(ORDER, check=[result(outcome, announce_delay=True)])

    assert run.event_types == ["OrderHeld"]


GOOD = SETTLED.model_dump(mode="json", by_alias=True)
PREVIOUS = {key: value for key, value in GOOD.items() if key != "next"}
NO_RESULT: dict[str, Any] = {
    "unknown next step": GOOD | {"next": "SOMETHING_NEW"},
    "next step in lower case": GOOD | {"next": "deliver"},
    "next step of nothing": GOOD | {"next": None},
    "unknown outcome": PREVIOUS | {"outcome": "SOMETHING_NEW"},
    "outcome in lower case": PREVIOUS | {"outcome": "settled"},
    "outcome of nothing": PREVIOUS | {"outcome": None},
    "outcomes": PREVIOUS | {"outcome": ["SETTLED", "CLOSED"]},
    "no outcome": {key: value for key, value in GOOD.items() if key != "outcome"},
    "nothing": None,
    "text": "SETTLED",
}


@pytest.mark.parametrize("payload", NO_RESULT.values(), ids=NO_RESULT)
def test_unknown_answer_of_check_status_holds_the_order(workflow: Workflow, payload: Any) -> None:
    run = workflow.run(ORDER, check=repeat(Malformed(payload)))

    assert (run.status, run.error) == ("FAILED", "UNEXPECTED_ERROR")
    assert run.order_row is not None
    assert run.order_row["heldReason"] == "UNEXPECTED_ERROR"
    assert run.only("OrderHeld")["reason"] == "UNEXPECTED_ERROR"


@pytest.mark.parametrize("payload", NO_RESULT.values(), ids=NO_RESULT)
def test_unknown_answer_of_deliver_cards_holds_the_order(workflow: Workflow, payload: Any) -> None:
    run = workflow.run(ORDER, check=[SETTLED], deliver=repeat(Malformed(payload)))

    assert (run.status, run.error) == ("FAILED", "UNEXPECTED_ERROR")
    assert run.order_row is not None
    assert run.order_row["heldReason"] == "UNEXPECTED_ERROR"
    assert run.only("OrderHeld")["reason"] == "UNEXPECTED_ERROR"


@pytest.mark.parametrize("outcome", Outcome)
def test_workflow_routes_an_answer_of_the_previous_release_as_this_one_does(outcome: Outcome) -> None:
    assert load_definition()["States"]["ReadOrder"]["Choices"][0]["Assign"]["nextAfter"][outcome] == outcome.next
