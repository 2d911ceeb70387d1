"""Every interleaving of checks that share one page: who fetches it, and what they believe of it.

Each check is the real `SharedList` on the table in memory. The supplier settles an order at any moment, calls take any
time, checks die, writes arrive late. What must hold: one page at most is fetched in a tick; a status that a check
believes was the order's at some moment since the call that fetched it began; the snapshot never goes back in time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from exploration.explorer import START, Branch, Call, Explorer, Model, Process, Runner, State, Violation
from exploration.table import Frozen, MemoryTables
from giftcards.adapters.snapshot_table import SnapshotTable
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.supplier import OrderProgress
from giftcards.rules.snapshot import MIN_OPEN_ORDERS, TICK_SECONDS
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure
from giftcards.use_cases.shared_list import SharedList

SNAPSHOT = ("gate", "SUPPLIER#oneclickdz", "SNAPSHOT")
REFRESH = ("gate", "SUPPLIER#oneclickdz", "REFRESH")
PENDING = {str(number): OrderStatus.HANDLING.value for number in range(MIN_OPEN_ORDERS)}
ORDER = "0"
DIRECT = "direct"


class World(NamedTuple):
    """The supplier.

    Attributes
    ----------
    settled_at
        When it settled the order; None while it is pending.
    began
        When each check began to fetch the page, by check; and the status that it will get.
    may_settle, failures, jumps
        Whether the order may settle; how many pages fail; how often a second passes.
    """

    settled_at: float | None = None
    began: tuple[tuple[str, float, str], ...] = ()
    may_settle: bool = True
    failures: int = 0
    jumps: int = 0


@dataclass
class _Page:
    """The gated supplier as a check sees it; the gate has its own explorations."""

    runner: Runner

    def list_statuses(self, _listed: timedelta) -> Any:
        began = self.runner.now()
        self.runner.perform("supplier", "begin", {})
        status = self.runner.perform("supplier", "end", {})
        if status == "fails":
            return SupplierFailure(FailureKind.BUSY, "503")
        return began, {**PENDING, ORDER: OrderStatus(status)}


def checks(runner: Runner, _carried: Any) -> Any:
    """Check the order once, and return what the check believes."""
    snapshots = SnapshotTable("gate", runner.table)  # type: ignore[arg-type]
    shared = SharedList(_Page(runner), snapshots, runner.now, lambda _: None, lambda *_: None)  # type: ignore[arg-type]
    answer = shared.ask(ORDER)
    if isinstance(answer, OrderProgress):
        runner.perform("supplier", "believe", {"status": str(answer.status)})
    return DIRECT if answer is None else "answered"


class ListModel(Model):
    """Checks of one order at one list.

    Parameters
    ----------
    age
        Seconds since the last snapshot was fetched, which shows enough orders for a page in each tick; None for none.
    """

    def __init__(self, number: int, world: World, *, runs: int = 1, age: float | None = 4) -> None:
        tables = MemoryTables()
        if age is not None:
            item = {"fetchedAt": timestamp(START - timedelta(seconds=age)), "statuses": PENDING}
            tables.rows = Frozen()
            tables.execute(
                "put_item", {"TableName": SNAPSHOT[0], "Item": {"pk": SNAPSHOT[1], "sk": SNAPSHOT[2], **item}}
            )
        super().__init__([Process(str(name), checks, runs) for name in range(number)], world, tables)
        self.believed: set[str] = set()

    def serve(self, state: State, process: Process, call: Call) -> Iterable[Branch]:
        world: World = state.world
        match call.operation:
            case "begin":
                begun = (*world.began, (process.name, state.now, _status(world)))
                yield "asks for the page", world._replace(began=begun), 0
            case "end":
                ((_, _, status),) = (call for call in world.began if call[0] == process.name)
                left = tuple(call for call in world.began if call[0] != process.name)
                yield f"hears {status}", world._replace(began=left), status
                if _status(world) != status:  # it was read at the end of the call
                    yield "hears FULFILLED", world._replace(began=left), "FULFILLED"
                if world.failures:
                    yield "hears 503", world._replace(began=left, failures=world.failures - 1), "fails"
            case _:
                self.believed.add(call.arguments["status"])
                self._check_belief(state, call.arguments["status"])
                yield f"believes {call.arguments['status']}", world, 0

    def _check_belief(self, state: State, status: str) -> None:
        """A final status is true; a pending one was true when the call began, at most two ticks ago."""
        world: World = state.world
        if status != OrderStatus.HANDLING:
            assert world.settled_at is not None, "an order that is pending counts as settled"
        elif world.settled_at is not None:
            assert state.now - world.settled_at <= 2 * TICK_SECONDS, "a status is too old"

    def written(self, before: State, rows: Frozen, step: Any, outcome: Any) -> World:
        old, new = before.rows.get(SNAPSHOT), rows.get(SNAPSHOT)
        if old is not None and new is not None:
            assert old.get("fetchedAt", "") <= new.get("fetchedAt", ""), "the snapshot goes back in time"
        claim = "SET refreshedTick"
        if step.call.arguments.get("UpdateExpression", "").startswith(claim) and not isinstance(outcome, Exception):
            claimed = before.rows.get(REFRESH, Frozen()).get("refreshedTick", 0)
            assert claimed < rows[REFRESH]["refreshedTick"], "two checks fetch a page for one tick"
        world: World = before.world
        return world

    def events(self, state: State) -> Iterable[tuple[str, State]]:
        world: World = state.world
        if world.may_settle:
            settled = world._replace(settled_at=state.now, may_settle=False)
            yield "the order settles", state._replace(world=settled)
        if world.jumps:
            later = world._replace(jumps=world.jumps - 1)
            yield "time passes", state._replace(now=state.now + TICK_SECONDS, world=later)

    def may_fail(self, call: Call) -> bool:
        """A check whose call fails raises, which is no other than a check that dies."""
        del call
        return False


def _status(world: World) -> str:
    return "HANDLING" if world.settled_at is None else "FULFILLED"


SCENARIOS: dict[str, tuple[Callable[[], ListModel], dict[str, int]]] = {
    "three checks, one dies": (lambda: ListModel(3, World()), {"deaths": 1}),
    "two ticks": (lambda: ListModel(2, World(jumps=1), runs=2), {}),
    "a page fails": (lambda: ListModel(2, World(failures=1)), {}),
    "writes arrive late": (lambda: ListModel(1, World(jumps=1), runs=2), {"repeats": 1}),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_promises_of_the_shared_list_hold_in_every_interleaving(name: str) -> None:
    make, faults = SCENARIOS[name]
    model = make()

    explored = Explorer(model, **faults).run()

    assert explored.ends >= 1
    assert model.believed == {"HANDLING", "FULFILLED"}


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ("attribute_not_exists(fetchedAt) OR fetchedAt < :fetchedAt", "writes arrive late"),
        ("attribute_not_exists(refreshedTick) OR refreshedTick < :tick", "three checks, one dies"),
    ],
)
def test_shared_list_without_this_condition_breaks_its_promise(condition: str, name: str) -> None:
    make, faults = SCENARIOS[name]
    model = make()
    model.tables.rewrite = lambda expression: None if expression == condition else expression

    with pytest.raises(Violation):
        Explorer(model, **faults).run()
