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
from datetime import timedelta

import pytest

from exploration.explorer import START, Explored, Explorer, Violation
from exploration.order_model import (
    OrderModel,
    accept_cards,
    claimed,
    delivered,
    execution,
    function_alone,
    held,
    previous_delivery,
    restore,
    resume,
    reveal,
    sweep,
    unpublished,
)
from exploration.table import MemoryClient, MemoryTables
from exploration.workflow_runner import STATES
from giftcards.adapters.order_table import OrderTable
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.events import HeldReason
from giftcards.rules.orders import Acceptance, Order

BROKEN = HeldReason.SUPPLIER_CONTRACT_BROKEN
IS_LARGE = os.environ.get("EXPLORE_BOUND") == "large"
TWO_AT_ONCE = ("alice", "alice")


@dataclass(frozen=True)
class Scenario:
    """What runs at once, and how many faults of each kind may happen; far more in `make explore`."""

    make: Callable[[], OrderModel]
    faults: Mapping[str, int]
    far: Mapping[str, int]


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
    half = [row for row in delivered("copy", "old", ("a", "b", "c")) if row["sk"] != "CARDS#00003"]
    return OrderModel([restore(), execution("E1"), reveal()], answers=["three"], placed=["alice"], rows=half)


def restore_of_an_open_order() -> OrderModel:
    """The same, of a copy of an open order, which a function delivers."""
    copy = claimed("gone") | {"table": "copy"}
    processes = [function_alone("F"), restore(), execution("E1", tasks=5)]
    return OrderModel(processes, answers=["three"], placed=["alice"], rows=[claimed("gone"), copy], may_lose_rows=True)


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


def deliveries_of_several_rows() -> OrderModel:
    """Two deliveries of several card rows run at once while the supplier changes its answer, and a user looks."""
    processes = [function_alone("F"), execution("E1", tasks=7), reveal()]
    return OrderModel(processes, answers=["three", "two others"], placed=["alice"], rows=[claimed("E1")])


def previous_release_delivers() -> OrderModel:
    """A function of the previous release delivers in two transactions while an execution delivers with the new ones.

    A user looks meanwhile. This is an update at the worst moment.
    """
    processes = [previous_delivery("F"), execution("E1", tasks=7), reveal()]
    return OrderModel(processes, answers=["two", "three"], placed=["alice"], rows=[claimed("E1")])


# Small ones: each shows what a condition of a write is for.


def resume_of_a_released_order() -> OrderModel:
    """OrderPlaced arrives twice for an order that no execution has."""
    processes = [execution("E1"), execution("E2")]
    return OrderModel(processes, answers=["two"], placed=TWO_AT_ONCE, rows=[claimed(None)])


def two_publications() -> OrderModel:
    """OrderPlaced arrives twice for a closed order whose event is not published; its rows may be lost."""
    processes = [execution("E1", tasks=5), execution("E2", tasks=5)]
    rows = unpublished(delivered("cards", "old"))
    return OrderModel(processes, answers=["two"], placed=TWO_AT_ONCE, rows=rows, may_lose_rows=True)


def two_claims(answer: str, tasks: int) -> OrderModel:
    """The rows are lost while an execution waits, and another execution claims the order."""
    processes = [execution("E1", tasks=tasks), execution("E2", tasks=tasks)]
    return OrderModel(processes, answers=[answer, "two"], placed=TWO_AT_ONCE, may_lose_rows=True)


def two_sweeps() -> OrderModel:
    """Two sweeps run at once, beside the execution that one of them starts."""
    processes = [sweep(), sweep("sweep 2"), execution("E1", tasks=5)]
    return OrderModel(processes, answers=["two"], rows=[claimed("gone")])


def sweep_and_event() -> OrderModel:
    """A sweep runs while OrderPlaced arrives for a released order."""
    return OrderModel([sweep(), execution("E1", tasks=5)], answers=["two"], rows=[claimed(None)], placed=["alice"])


def sweep_and_delivery(execution_arn: str | None) -> OrderModel:
    """A sweep runs while a function closes the order and publishes its event."""
    return OrderModel([sweep(), function_alone("F")], answers=["two"], rows=[claimed(execution_arn)])


def two_sweeps_within_an_hour(execution_arn: str | None) -> OrderModel:
    """Two sweeps find a closed order whose event is not published."""
    processes = [sweep(once_in=timedelta(hours=1)), sweep("sweep 2", once_in=timedelta(hours=1))]
    rows = unpublished(delivered("cards", "old"))
    if execution_arn is None:
        rows = [{name: value for name, value in row.items() if name != "executionArn"} for row in rows]
    return OrderModel(processes, answers=["two"], rows=rows)


def order_of_another_user() -> OrderModel:
    """The rows are lost, and another user's event claims the order, while a function and an execution work on it."""
    processes = [function_alone("F"), execution("E1", tasks=4)]
    replacement = [claimed(None, userId="bob")]
    return OrderModel(processes, answers=["two"], rows=[claimed(None)], placed=["alice"], replacement=replacement)


def closed_order_of_another_user() -> OrderModel:
    """The same, of a closed order whose event is not published."""
    rows, replacement = (unpublished(delivered("cards", "old", userId=user)) for user in ("alice", "bob"))
    return OrderModel([execution("E1")], answers=["two"], rows=rows, placed=["alice"], replacement=replacement)


def acceptance_and_another_hold() -> OrderModel:
    """A person accepts the cards of a held order, which is resumed meanwhile and held for another reason."""
    processes = [accept_cards(), execution("E1")]
    return OrderModel(processes, answers=["overdue", "two"], rows=[held(BROKEN)], placed=["alice"])


def acceptance_for_another_user() -> OrderModel:
    """A person accepts the cards of a held order, whose rows are lost meanwhile and are another user's."""
    replacement = [held(BROKEN, userId="bob", heldAt=timestamp(START + timedelta(milliseconds=1)))]
    return OrderModel([accept_cards()], answers=["two"], rows=[held(BROKEN)], replacement=replacement)


SCENARIOS: dict[str, Scenario] = {
    "resume of a released order": Scenario(resume_of_a_released_order, REPEAT, ALL),
    "two publications": Scenario(two_publications, {}, DEATH | REPEAT),
    "two claims, late": Scenario(lambda: two_claims("late", 5), {}, DEATH),
    "two claims, overdue": Scenario(lambda: two_claims("overdue", 4), {}, DEATH),
    "two sweeps": Scenario(two_sweeps, DEATH, ALL),
    "sweep and event": Scenario(sweep_and_event, REPEAT, ALL),
    "sweep and delivery": Scenario(lambda: sweep_and_delivery("gone"), ALL, ALL),
    "sweep and delivery of a released order": Scenario(lambda: sweep_and_delivery(None), ALL, ALL),
    "two sweeps within an hour": Scenario(lambda: two_sweeps_within_an_hour("gone"), ALL, ALL),
    "two sweeps of a released order": Scenario(lambda: two_sweeps_within_an_hour(None), ALL, ALL),
    "order of another user": Scenario(order_of_another_user, DEATH, ALL),
    "closed order of another user": Scenario(closed_order_of_another_user, DEATH, ALL),
    "acceptance and another hold": Scenario(acceptance_and_another_hold, DEATH, ALL),
    "acceptance for another user": Scenario(acceptance_for_another_user, REPEAT, ALL),
    "two events": Scenario(two_events, DEATH, DEATH | REPEAT),
    "two users": Scenario(two_users, DEATH, ALL),
    "function runs on": Scenario(function_runs_on, DEATH | REPEAT, ALL),
    "supplier changes its mind": Scenario(supplier_changes_its_mind, {}, DEATH | REPEAT),
    "hold and delivery": Scenario(hold_and_delivery, FAILURE, DEATH | FAILURE),
    "held by an error": Scenario(held_by_an_error, FAILURE, ALL),
    "delay and delivery": Scenario(delay_and_delivery, DEATH, ALL),
    "reveal at any moment": Scenario(reveal_at_any_moment, DEATH, ALL),
    "restore and repeat": Scenario(restore_and_repeat, {}, DEATH),
    "restore of half a transaction": Scenario(restore_of_half_a_transaction, {}, DEATH),
    "restore of an open order": Scenario(restore_of_an_open_order, {}, DEATH),
    "restore of cards": Scenario(restore_of_cards, {}, DEATH),
    "rows lost while delivering": Scenario(rows_lost_while_delivering, {}, DEATH),
    "deliveries of several rows": Scenario(deliveries_of_several_rows, REPEAT, DEATH | REPEAT),
    "previous release delivers": Scenario(previous_release_delivers, DEATH, DEATH | REPEAT),
}


def explore(scenario: Scenario, faults: Mapping[str, int], rewrite: Callable[[str], str | None] = str) -> Explored:
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
    tasks = (state for state in STATES.values() if "Arguments" in state)
    return {task["Arguments"]["ConditionExpression"] for task in tasks if "ConditionExpression" in task["Arguments"]}


RESUME, REPUBLISH, DELAY, HOLD = (
    STATES[name]["Arguments"]["ConditionExpression"]
    for name in ("ResumeOrder", "RepublishOrder", "RecordDelay", "HoldOrder")
)
CLOSE = "#status = :handling AND userId = :userId"
MARK = "#status = :status"
CLAIM, RESTORE_CARDS = "attribute_not_exists(pk)", "deliveredAt = :deliveredAt"
SWEPT = "(attribute_not_exists(sweptAt) OR sweptAt <= :since)"
SWEEP, SWEEP_AGAIN = (
    f"{MARK} AND {execution} AND attribute_not_exists(announcedAt) AND {SWEPT}"
    for execution in ("executionArn = :dead", "attribute_not_exists(executionArn)")
)
NOBODYS = "(attribute_not_exists(executionArn) OR executionArn = :thisExecution)"

ACCEPT = "heldReason = :reason AND heldAt = :heldAt AND attribute_not_exists(acceptCards)"

CAUGHT = {
    (RESUME, "userId = :userId"): "order of another user",
    (RESUME, "#status = :held"): "held by an error",
    (RESUME, f"(#status = :held OR (#status = :handling AND {NOBODYS}))"): "function runs on",
    (RESUME, f"(#status = :handling AND {NOBODYS})"): "function runs on",
    (RESUME, "#status = :handling"): "function runs on",
    (RESUME, NOBODYS): "resume of a released order",
    (RESUME, "attribute_not_exists(executionArn)"): "function runs on",
    (RESUME, "executionArn = :thisExecution"): "resume of a released order",
    (REPUBLISH, "userId = :userId"): "closed order of another user",
    (REPUBLISH, "attribute_not_exists(announcedAt)"): "two publications",
    (REPUBLISH, "NOT #status IN (:handling, :held)"): "two publications",
    (DELAY, "#status = :handling"): "delay and delivery",
    (DELAY, "executionArn = :thisExecution"): "two claims, late",
    (HOLD, "#status IN (:handling, :held)"): "hold and delivery",
    (HOLD, "executionArn = :thisExecution"): "two claims, overdue",
    (CLOSE, "#status = :handling"): "function runs on",
    (CLOSE, "userId = :userId"): "order of another user",
    (ACCEPT, "heldAt = :heldAt"): "acceptance for another user",
    (ACCEPT, "heldReason = :reason"): "acceptance and another hold",
    (MARK, MARK): "rows lost while delivering",
    (CLAIM, CLAIM): "two users",  # a restoration asks for the same: test_restore_command.py
    (RESTORE_CARDS, RESTORE_CARDS): "restore of cards",
    (SWEEP, MARK): "sweep and delivery",
    (SWEEP, "executionArn = :dead"): "two sweeps",
    (SWEEP, "attribute_not_exists(announcedAt)"): "sweep and delivery",
    (SWEEP, SWEPT): "two sweeps within an hour",
    (SWEEP, "attribute_not_exists(sweptAt)"): "function runs on",
    (SWEEP, "sweptAt <= :since"): "function runs on",
    (SWEEP_AGAIN, MARK): "sweep and delivery of a released order",
    (SWEEP_AGAIN, "attribute_not_exists(executionArn)"): "sweep and event",
    (SWEEP_AGAIN, "attribute_not_exists(announcedAt)"): "sweep and delivery of a released order",
    (SWEEP_AGAIN, SWEPT): "two sweeps of a released order",
    (SWEEP_AGAIN, "attribute_not_exists(sweptAt)"): "restore of half a transaction",
    (SWEEP_AGAIN, "sweptAt <= :since"): "function runs on",
}
"""By condition and the term that is taken away: the scenario that notices."""
FAULTS_TO_CATCH = {(RESUME, "executionArn = :thisExecution"): REPEAT}
"""Faults that these terms also need; the others need none."""

NOT_CAUGHT = {
    (ACCEPT, "attribute_not_exists(acceptCards)"): "a scenario has one operator",
}
"""The same for terms that no scenario needs: defence in depth. `test_second_line_refuses_a_write` fails without."""


def test_every_term_of_every_condition_is_listed() -> None:
    conditions = conditions_of_the_workflow()

    def note(expression: str) -> str:
        conditions.add(expression)
        return expression

    for name in (
        "function runs on",
        "restore of cards",
        "restore and repeat",
        "acceptance for another user",
    ):
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
    faults = FAULTS_TO_CATCH.get((condition, term), {})
    with pytest.raises(Violation):
        explore(SCENARIOS[CAUGHT[condition, term]], faults, without(condition, term))


@pytest.mark.parametrize(("condition", "term"), NOT_CAUGHT, ids=lambda text: text[:60])
@pytest.mark.parametrize("is_taken_away", [False, True], ids=["as it is", "without the term"])
def test_second_line_refuses_a_write(condition: str, term: str, *, is_taken_away: bool) -> None:
    held = {"heldReason": BROKEN, "heldAt": timestamp(START), "acceptCards": {"cards": 1}}
    model = OrderModel([], answers=["three"], rows=[claimed("E1", userId="bob", **held)])
    rewrite = without(condition, term) if is_taken_away else str
    tables = MemoryTables()
    tables.rows, tables.rewrite = model.tables.rows, rewrite
    orders = OrderTable("cards", MemoryClient(tables.execute))  # type: ignore[arg-type]
    order = Order.model_validate(claimed("E1", userId="bob", heldAt=timestamp(START)))

    assert condition == ACCEPT
    acceptance = Acceptance(by="olga", reason="seen", at=START, cards=2)
    assert orders.accept_cards(order, acceptance) == is_taken_away


@pytest.mark.parametrize(("condition", "term"), NOT_CAUGHT, ids=lambda text: text[:60])
def test_condition_without_this_term_keeps_the_promise(condition: str, term: str) -> None:
    for scenario in SCENARIOS.values():
        explore(scenario, {}, without(condition, term))
