"""Every interleaving of what can happen to one order keeps the promise, and hardly a condition can be taken away.

The promise: the order is not dropped, from every state it ends once faults are over; its cards are delivered once, what
a reader sees of a closed order never changes, and nobody else gets them; its end is published, as the same event each
time; and nothing is said to be tampered with that is not. `order_model.py` has the properties and what is real.

Each scenario is explored completely up to its bound on faults: a process dies; a call fails; a write arrives late, or
twice because its answer was lost. `make explore` takes a larger bound.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from exploration.explorer import Explored, Explorer, Violation
from exploration.order_model import (
    OrderModel,
    claimed,
    delivered,
    execution,
    function_alone,
    restore,
    resume,
    reveal,
    sweep,
)
from exploration.workflow_runner import STATES
from giftcards.adapters import order_table

IS_LARGE = os.environ.get("EXPLORE_BOUND") == "large"
TWO_AT_ONCE = ("alice", "alice")


@dataclass(frozen=True)
class Scenario:
    """What runs at once, and how many faults of each kind may happen; far more in `make explore`.

    Attributes
    ----------
    in_pieces
        Whether a transaction holds one card only.
    """

    make: Callable[[], OrderModel]
    faults: Mapping[str, int]
    far: Mapping[str, int]
    in_pieces: bool = False


DEATH, FAILURE, REPEAT = {"deaths": 1}, {"failures": 1}, {"repeats": 1}
ALL = DEATH | FAILURE | REPEAT


def two_events() -> OrderModel:
    """OrderPlaced arrives twice, and a sweep runs beside the two executions."""
    return OrderModel([execution("E1"), execution("E2"), sweep()], answers=["pending", "two"], placed=TWO_AT_ONCE)


def two_users() -> OrderModel:
    """OrderPlaced arrives for two users."""
    return OrderModel([execution("E1"), execution("E2"), sweep()], answers=["two"], placed=["alice", "bob"])


def function_runs_on() -> OrderModel:
    """An execution was aborted and its function runs on, beside a sweep and the execution that resumes the order."""
    processes = [function_alone("F"), execution("E1"), sweep()]
    return OrderModel(processes, answers=["two"], placed=["alice"], rows=[claimed("gone")])


def supplier_changes_its_mind() -> OrderModel:
    """Two deliveries run while the supplier changes its answer, to other cards, more, fewer and none."""
    answers = ["one of two", "two others", "three", "two", "refund"]
    return OrderModel([function_alone("F"), execution("E1")], answers=answers, rows=[claimed("E1")], placed=["alice"])


def hold_and_delivery() -> OrderModel:
    """An execution holds its order while its own function runs on; a person resumes it at any moment."""
    processes = [function_alone("F"), execution("E1"), resume(), execution("E2")]
    return OrderModel(processes, answers=["overdue", "two"], rows=[claimed("E1")], placed=["alice"])


def held_by_an_error() -> OrderModel:
    """An execution fails and holds; the event arrives again, and a sweep runs."""
    return OrderModel([execution("E1"), execution("E2"), sweep()], answers=["overdue", "two"], placed=TWO_AT_ONCE)


def delay_and_delivery() -> OrderModel:
    """An execution records its delay while its own function closes the order."""
    processes = [function_alone("F"), execution("E1"), sweep()]
    return OrderModel(processes, answers=["late", "two"], rows=[claimed("E1")], placed=["alice"])


def reveal_at_any_moment() -> OrderModel:
    """A user looks at the cards while two deliveries run."""
    processes = [reveal(), function_alone("F"), execution("E1")]
    return OrderModel(processes, answers=["two"], placed=["alice"], rows=[claimed("E1")])


def restore_and_repeat() -> OrderModel:
    """The order's rows are missing; they are restored while the event arrives again, and a user looks."""
    copy = delivered("copy", "old", ("a", "b", "c"))
    return OrderModel([restore(), execution("E1"), reveal()], answers=["three"], placed=["alice"], rows=copy)


def restore_of_half_a_transaction() -> OrderModel:
    """The same, of a copy that lacks a card of a closed order."""
    half = [row for row in delivered("copy", "old", ("a", "b", "c")) if row["sk"] != "CARD#0002"]
    return OrderModel([restore(), execution("E1"), reveal()], answers=["three"], placed=["alice"], rows=half)


def restore_of_an_open_order() -> OrderModel:
    """The same, of a copy that holds the first piece of a delivery that is still in progress."""
    of_first_piece = [row for row in delivered("copy", "F.0.1", ("a", "b", "c")) if row["sk"] == "CARD#0001"]
    copy = [claimed("gone", deliveryAttempt="F.0.1") | {"table": "copy"}, *of_first_piece]
    processes = [function_alone("F"), restore(), execution("E1", tasks=5)]
    return OrderModel(processes, answers=["three"], placed=["alice"], rows=[claimed("gone"), *copy], may_lose_rows=True)


def restore_of_cards() -> OrderModel:
    """The cards of one order are restored, which is lost and delivered again meanwhile."""
    rows = [row for table in ("cards", "copy") for row in delivered(table, "old", ("a", "b", "c"))]
    return OrderModel(
        [restore("o"), execution("E1")], answers=["three"], placed=["alice"], rows=rows, may_lose_rows=True
    )


def rows_lost_while_delivering() -> OrderModel:
    """The rows are lost while a function delivers, and the event arrives again."""
    processes = [function_alone("F"), execution("E1"), sweep()]
    return OrderModel(processes, answers=["two"], placed=["alice"], rows=[claimed("gone")], may_lose_rows=True)


def deliveries_in_pieces() -> OrderModel:
    """Two deliveries in pieces run at once while the supplier changes its answer."""
    processes = [function_alone("F"), execution("E1", tasks=7)]
    return OrderModel(processes, answers=["three", "two others"], placed=["alice"], rows=[claimed("E1")])


SCENARIOS: dict[str, Scenario] = {
    "two events": Scenario(two_events, DEATH, DEATH | REPEAT),
    "two users": Scenario(two_users, DEATH, ALL),
    "function runs on": Scenario(function_runs_on, DEATH | REPEAT, ALL),
    "supplier changes its mind": Scenario(supplier_changes_its_mind, {}, DEATH | REPEAT),
    "hold and delivery": Scenario(hold_and_delivery, FAILURE, DEATH | FAILURE),
    "held by an error": Scenario(held_by_an_error, FAILURE, ALL),
    "delay and delivery": Scenario(delay_and_delivery, DEATH, ALL),
    "reveal at any moment": Scenario(reveal_at_any_moment, DEATH, ALL),
    "restore and repeat": Scenario(restore_and_repeat, {}, DEATH),
    "restore and repeat, in pieces": Scenario(restore_and_repeat, {}, DEATH, in_pieces=True),
    "restore of half a transaction": Scenario(restore_of_half_a_transaction, {}, DEATH),
    "restore of an open order": Scenario(restore_of_an_open_order, {}, DEATH, in_pieces=True),
    "restore of cards": Scenario(restore_of_cards, {}, DEATH),
    "restore of cards, in pieces": Scenario(restore_of_cards, {}, DEATH, in_pieces=True),
    "rows lost while delivering": Scenario(rows_lost_while_delivering, {}, DEATH),
    "deliveries in pieces": Scenario(deliveries_in_pieces, {}, DEATH | REPEAT, in_pieces=True),
}


def explore(scenario: Scenario, faults: Mapping[str, int], rewrite: Callable[[str], str | None] = str) -> Explored:
    with pytest.MonkeyPatch.context() as patch:
        if scenario.in_pieces:
            patch.setattr(order_table, "TRANSACTION_ITEMS", 2)
        model = scenario.make()
        model.tables.rewrite = rewrite
        return Explorer(model, **faults).run()


@pytest.mark.parametrize("name", SCENARIOS)
def test_order_ends_once_and_well_whatever_happens_at_once(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    started = time.monotonic()
    scenario = SCENARIOS[name]
    explored = explore(scenario, scenario.far if IS_LARGE else scenario.faults)
    record_property("explored", f"{name}: {explored}, {time.monotonic() - started:.1f} s")


# ---------------------------------------------------------------- without a condition


def split(expression: str, word: str) -> list[str]:
    """Split an expression at each AND or OR that is not in parentheses."""
    parts, depth = [""], 0
    for token in re.split(rf"(\(|\)|\b{word}\b)", expression):
        depth += (token == "(") - (token == ")")
        if token == word and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts]


def without_each_term(expression: str) -> Iterator[tuple[str, str | None]]:
    """Yield each term of a condition and the condition without it, at any depth; None where nothing is left."""
    for word in ("OR", "AND"):
        parts = split(expression, word)
        if len(parts) > 1:
            for index, part in enumerate(parts):
                before, after = parts[:index], parts[index + 1 :]
                yield part, f" {word} ".join([*before, *after])
                inner = part[1:-1] if part.startswith("(") else part
                for term, rest in without_each_term(inner):
                    if rest is not None:
                        yield term, f" {word} ".join([*before, f"({rest})", *after])
            return
    yield expression, None


def conditions_of_the_workflow() -> set[str]:
    tasks = (state for state in STATES.values() if isinstance(state, dict) and "Arguments" in state)
    return {task["Arguments"]["ConditionExpression"] for task in tasks if "ConditionExpression" in task["Arguments"]}


RESUME, REANNOUNCE, DELAY, HOLD = (
    STATES[name]["Arguments"]["ConditionExpression"]
    for name in ("ResumeOrder", "RepublishOrder", "RecordDelay", "HoldOrder")
)
CLOSE = "#status = :handling AND userId = :userId"
CLOSE_IN_PIECES = f"{CLOSE} AND deliveryAttempt = :attempt"
MARK = "#status = :status"
CLAIM, RESTORE_CARDS = "attribute_not_exists(pk)", f"{MARK} AND deliveryAttempt = :attempt"
SWEPT = "(attribute_not_exists(sweptAt) OR sweptAt <= :since)"
SWEEP, SWEEP_AGAIN = (
    f"{MARK} AND {execution} AND attribute_not_exists(announcedAt) AND {SWEPT}"
    for execution in ("executionArn = :dead", "attribute_not_exists(executionArn)")
)
NOBODYS = "(attribute_not_exists(executionArn) OR executionArn = :thisExecution)"

CAUGHT = {
    (RESUME, "#status = :held"): "held by an error",
    (RESUME, f"(#status = :held OR (#status = :handling AND {NOBODYS}))"): "function runs on",
    (RESUME, f"(#status = :handling AND {NOBODYS})"): "function runs on",
    (RESUME, "#status = :handling"): "function runs on",
    (RESUME, "attribute_not_exists(executionArn)"): "function runs on",
    (DELAY, "#status = :handling"): "delay and delivery",
    (HOLD, "#status IN (:handling, :held)"): "hold and delivery",
    (CLOSE, "#status = :handling"): "function runs on",
    (CLOSE_IN_PIECES, "deliveryAttempt = :attempt"): "deliveries in pieces",
    (MARK, MARK): "rows lost while delivering",
    (CLAIM, CLAIM): "two users",  # a restoration asks for the same: test_restore_command.py
    (RESTORE_CARDS, "deliveryAttempt = :attempt"): "restore of cards",
    (SWEEP, "attribute_not_exists(sweptAt)"): "function runs on",
    (SWEEP, "sweptAt <= :since"): "function runs on",
    (SWEEP_AGAIN, "attribute_not_exists(sweptAt)"): "restore of half a transaction",
    (SWEEP_AGAIN, "sweptAt <= :since"): "function runs on",
}
"""By condition and the term that is taken away: the scenario that notices."""

NOT_CAUGHT = {
    (RESUME, "userId = :userId"): "LookUpOrder has compared the user, who never changes",
    (RESUME, NOBODYS): "a second execution would run beside the first, which the conditions of the closing allow",
    (RESUME, "executionArn = :thisExecution"): "a retry would count as a repeat, and the sweep resumes the order",
    (REANNOUNCE, "userId = :userId"): "LookUpOrder has compared the user, who never changes",
    (REANNOUNCE, "attribute_not_exists(announcedAt)"): "DeliverCards publishes nothing for an announced order",
    (REANNOUNCE, "#status IN (:fulfilled, :partiallyFilled, :refunded)"): "LookUpOrder has seen it closed; it stays so",
    (DELAY, "executionArn = :thisExecution"): "another execution's open order would have a delay of its own time",
    (HOLD, "executionArn = :thisExecution"): "another execution's open order would be held, and a person resumes it",
    (CLOSE, "userId = :userId"): "DeliverCards has compared the user, who never changes",
    (CLOSE_IN_PIECES, "#status = :handling"): "the attempt says as much, but for an order that was held meanwhile",
    (CLOSE_IN_PIECES, "userId = :userId"): "DeliverCards has compared the user, who never changes",
    (RESTORE_CARDS, MARK): "an open order has the attempt of a closed one only if somebody writes it",
    (SWEEP, MARK): "taking the execution from an order that was closed or held meanwhile changes nothing",
    (SWEEP, "executionArn = :dead"): "a second execution would run beside the first",
    (SWEEP, "attribute_not_exists(announcedAt)"): "OrderPlaced for an announced order changes nothing",
    (SWEEP, SWEPT): "spares repeats within an hour",
    (SWEEP_AGAIN, MARK): "as for an order that has an execution",
    (SWEEP_AGAIN, "attribute_not_exists(executionArn)"): "a second execution would run beside the first",
    (SWEEP_AGAIN, "attribute_not_exists(announcedAt)"): "OrderPlaced for an announced order changes nothing",
    (SWEEP_AGAIN, SWEPT): "spares repeats within an hour",
}
"""The same for terms that the exploration does not miss, and why they are there."""


def test_every_term_of_every_condition_is_listed() -> None:
    conditions = conditions_of_the_workflow()

    def note(expression: str) -> str:
        conditions.add(expression)
        return expression

    for name in ("function runs on", "restore of cards, in pieces", "restore and repeat"):
        explore(SCENARIOS[name], {}, note)

    assert {(condition, term) for condition in conditions for term, _ in without_each_term(condition)} == (
        CAUGHT.keys() | NOT_CAUGHT.keys()
    )
    assert not CAUGHT.keys() & NOT_CAUGHT.keys()


def without(condition: str, term: str) -> Callable[[str], str | None]:
    rest = dict(without_each_term(condition))[term]
    return lambda expression: rest if expression == condition else expression


@pytest.mark.parametrize(("condition", "term"), CAUGHT, ids=lambda text: text[:60])
def test_condition_without_this_term_breaks_the_promise(condition: str, term: str) -> None:
    with pytest.raises(Violation):
        explore(SCENARIOS[CAUGHT[condition, term]], {}, without(condition, term))


@pytest.mark.skipif(not IS_LARGE, reason="explores all scenarios for each of them: make explore")
@pytest.mark.parametrize(("condition", "term"), NOT_CAUGHT, ids=lambda text: text[:60])
def test_condition_without_this_term_keeps_the_promise(condition: str, term: str) -> None:
    for scenario in SCENARIOS.values():
        explore(scenario, {}, without(condition, term))
