"""The supplier gate in every interleaving up to a bound: what it promises holds, and each of its conditions is needed.

`GateModel` says what must hold: never more calls under way than slots; one caller at a time tries a key that is not
accepted; no caller gets a lease during a pause or with a refused key; a bad key is presented at most three times within
15 minutes, whichever callers die; no caller releases another's slot; and once the failure is over, as many callers as
before can call the supplier.

`make explore` explores further; the table of scenarios says how far.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from exploration.explorer import START, Explorer, Process, Violation
from exploration.expressions import conjuncts
from exploration.gate_model import GATE, GateModel, World, callers, former_caller, kind_of_write, person
from exploration.table import MemoryClient
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.timestamps import timestamp
from giftcards.rules.gate import LEASE_SECONDS, MAX_SUSPICION_SECONDS, Gate, Lease, Slot

IS_LARGE = os.environ.get("EXPLORE_BOUND") == "large"
KEY = frozenset({"v1"})
ACCEPTED = {"acceptedKeyVersion": "v1", "presentedKeyVersion": "v1"}


def lost(number: int, seconds: float, version: str = "v1") -> dict[str, Any]:
    """A lease in the record whose caller died before the exploration begins."""
    until = timestamp(START - timedelta(seconds=seconds))
    holder = {"owner": f"dead.{number}", "keyVersion": version, "until": until}
    return {f"lease{number}": until, f"holder{number}": holder}


@dataclass(frozen=True)
class Scenario:
    """What is explored: who calls, in which world, and how much may go wrong in one history.

    Attributes
    ----------
    copies
        The key that each caller has.
    orders, bad_orders
        Which order each caller asks for; those that the supplier refuses.
    others
        Processes in addition to the callers.
    bound
        How often a bad key may be presented within 15 minutes.
    waits
        Whether callers look for a slot again before they give up.
    further
        What more may go wrong in `make explore`.
    """

    world: World
    copies: tuple[str, ...] = ("v1", "v1")
    record: Mapping[str, Any] = field(default_factory=dict)
    rotates: bool = False
    waits: bool = False
    bound: int = 3
    orders: str = "AAAAA"
    bad_orders: str = ""
    others: tuple[Process, ...] = ()
    faults: Mapping[str, int] = field(default_factory=dict)
    further: Mapping[str, int] = field(default_factory=dict)
    further_callers: int = 0

    def model(self, *, is_large: bool = False) -> GateModel:
        """Make the model; a larger one has more callers."""
        copies = (*self.copies, *["v1"] * self.further_callers) if is_large else self.copies
        processes = [*callers(*copies, rotates=self.rotates, orders=self.orders, waits=self.waits), *self.others]
        record = self.record or None
        return GateModel(processes, self.world, bound=self.bound, bad_orders=self.bad_orders, record=record)


def suspicion(seconds_ago: float, order: str = "X") -> dict[str, Any]:
    """A suspicion in the record."""
    at = timestamp(START - timedelta(seconds=seconds_ago))
    return {"suspicion": {"orderId": order, "code": "FORBIDDEN", "at": at}}


SCENARIOS = {
    "an accepted key is revoked, callers die": Scenario(
        World("v1", KEY, may_be_revoked=KEY, jumps=1),
        record=ACCEPTED,
        faults={"deaths": 2},
        further={"deaths": 2},
        further_callers=1,
    ),
    "three at once, one is one too many": Scenario(
        World("v1", KEY, limits=1),
        copies=("v1",) * 4 if IS_LARGE else ("v1",) * 3,
        record=ACCEPTED | lost(3, -60),
        faults={"deaths": 1},
    ),
    "two calls were lost before": Scenario(
        World("v1", frozenset(), jumps=2),
        record=ACCEPTED | lost(1, 9) | lost(2, 8),
        bound=1,
        faults={"deaths": 2},
        further_callers=1,
    ),
    "all calls were lost before": Scenario(
        World("v1", frozenset(), jumps=2),
        record=ACCEPTED | lost(1, 9) | lost(2, 8) | lost(3, 7),
        bound=1,
        faults={"deaths": 1},
        further_callers=1,
    ),
    "an accepted key is revoked with three calls under way": Scenario(
        World("v1", KEY, may_be_revoked=KEY),
        copies=("v1",) * 3,
        record=ACCEPTED,
        faults={"deaths": 1},
        further={"deaths": 2},
    ),
    "callers look for a slot, the key is revoked": Scenario(
        World("v1", KEY, may_be_revoked=KEY),
        copies=("v1",) * 3,
        record=ACCEPTED | lost(3, -60),
        waits=True,
        further={"deaths": 1},
    ),
    "a new key is bad": Scenario(World("v1", frozenset()), copies=("v1",) * 3, bound=1),
    "a new key is bad, callers die": Scenario(
        World("v1", frozenset(), jumps=2), faults={"deaths": 2}, further_callers=1
    ),
    "a new key is good, the rate is limited": Scenario(
        World("v1", KEY, limits=1, jumps=1), faults={"deaths": 1}, further_callers=1
    ),
    "keys rotate": Scenario(
        World("v1", KEY | {"v2"}, ("v2",), may_be_revoked=KEY),
        record=ACCEPTED,
        rotates=True,
        faults={"deaths": 1},
        further_callers=1,
    ),
    "a key rotates to a bad one after lost calls": Scenario(
        World("v2", frozenset(), rotated=-30, jumps=1),
        copies=("v1", "v2"),
        record=ACCEPTED | lost(1, 9) | lost(2, 8),
        rotates=True,
        bound=2,
        faults={"deaths": 1},
    ),
    "answers of writes are lost, and writes arrive late": Scenario(
        World("v1", KEY, may_be_revoked=KEY),
        record=ACCEPTED,
        faults={"repeats": 1},
        further={"failures": 1},
    ),
    # Small ones: each shows what a condition of a write is for.
    "a new key is bad after a block": Scenario(
        World("v1", frozenset()), record={"closings": 1}, bound=1, further={"deaths": 1}
    ),
    "two keys at once, the rate is limited": Scenario(
        World("v2", KEY | {"v2"}, rotated=-30, limits=1),
        copies=("v1", "v2"),
        rotates=True,
        further={"deaths": 1},
    ),
    "two keys at once after a block": Scenario(
        World("v2", KEY | {"v2"}, rotated=-30, limits=1),
        copies=("v1", "v2"),
        record={"closings": 1},
        rotates=True,
        further={"deaths": 1},
    ),
    "the rate is limited and the address blocked": Scenario(
        World("v1", KEY, limits=1, blocks=1), record=ACCEPTED, further={"deaths": 1}
    ),
    "a person ends a pause": Scenario(
        World("v1", KEY, limits=1, blocks=1),
        record=ACCEPTED | {"closings": 1},
        others=(person(),),
        further={"deaths": 1},
    ),
    "two orders are refused": Scenario(
        World("v1", KEY), record=ACCEPTED, orders="AB", bad_orders="AB", further={"deaths": 1, "repeats": 1}
    ),
    "two orders are refused after an old suspicion": Scenario(
        World("v1", KEY),
        record=ACCEPTED | suspicion(MAX_SUSPICION_SECONDS + 1),
        orders="AB",
        bad_orders="AB",
        further={"deaths": 1, "repeats": 1},
    ),
    "an order is refused while another is answered": Scenario(
        World("v1", KEY),
        record=ACCEPTED | suspicion(60),
        orders="AB",
        bad_orders="A",
        further={"deaths": 1, "repeats": 1},
    ),
    "a slot that is held beyond its lease, and the previous release": Scenario(
        World("v1", KEY | {"v2"}, jumps=1),
        copies=("v1",),
        record=ACCEPTED,
        others=(former_caller("v2"),),
        further={"deaths": 1},
    ),
    "a lost call, and the previous release": Scenario(
        World("v1", KEY), copies=("v1",), record=ACCEPTED | lost(1, 9), others=(former_caller("v2"),)
    ),
    "all calls were lost, and the previous release": Scenario(
        World("v1", KEY),
        copies=("v1",),
        record=lost(1, 1_000) | lost(2, 1_001) | lost(3, 1_002),
        others=(former_caller("v1"),),
    ),
    "a lost call with another key, and the previous release": Scenario(
        World("v1", KEY), copies=("v1",), record=ACCEPTED | lost(1, 9, "v0"), others=(former_caller("v1"),)
    ),
    "all calls were lost, and a person ends the pause": Scenario(
        World("v1", KEY),
        copies=("v1",),
        record=ACCEPTED | lost(1, 9) | lost(2, 8) | lost(3, 7),
        others=(former_caller("v2"), person()),
    ),
    "writes of a new key arrive late": Scenario(World("v1", KEY, limits=1), faults={"repeats": 1, "failures": 1}),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_promises_of_the_gate_hold_in_every_interleaving(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = SCENARIOS[name]
    faults = {kind: scenario.faults.get(kind, 0) + (scenario.further.get(kind, 0) if IS_LARGE else 0) for kind in KINDS}
    model = scenario.model(is_large=IS_LARGE)

    explored = Explorer(model, **faults).run()

    with capsys.disabled():
        most = f"most calls at once {model.most_under_way}, refusals {model.most_refusals}"
        sys.stdout.write(f"\n  {name}: {explored}; {most}\n")
    assert explored.ends >= 1


# ------------------------------------------------------------------- is each condition needed?

Term = tuple[str, str]
"""A write, and one condition of it without the number of its slot."""
SMALL = [name for name, scenario in SCENARIOS.items() if len(scenario.copies) < 3 and not scenario.world.jumps]


def plain(expression: str) -> str:
    return re.sub(r"(lease|holder)\d", r"\1", expression)


def write_of(model: GateModel, expression: str) -> str:
    kind = kind_of_write(model.tables.update)
    return "acquire alone" if kind == "acquire" and "acceptedKeyVersion" not in expression else kind


def without(model: GateModel, term: Term) -> Callable[[str], str | None]:
    """Take one condition out of one write."""

    def rewrite(expression: str) -> str | None:
        if write_of(model, expression) != term[0]:
            return expression
        left = [part for part in conjuncts(expression) if plain(part) != term[1]]
        return " AND ".join(left) or None

    return rewrite


CAUGHT: Mapping[Term, str] = {
    ("acquire", "acceptedKeyVersion = :presented"): "keys rotate",
    ("acquire", "attribute_not_exists(lease)"): "two orders are refused",
    ("acquire", "lease = :lease"): "a lost call with another key, and the previous release",
    ("acquire alone", "attribute_not_exists(closings)"): "a new key is bad",
    ("acquire alone", "closings = :closings"): "a new key is bad after a block",
    ("acquire alone", "attribute_not_exists(lease)"): "a new key is bad",
    ("acquire alone", "lease = :lease"): "all calls were lost, and the previous release",
    ("accept", "attribute_not_exists(closings)"): "two keys at once, the rate is limited",
    ("accept", "closings = :closings"): "two keys at once after a block",
    ("accept", "lease = :lease"): "a lost call, and the previous release",
    ("block", "(attribute_not_exists(pausedUntil) OR pausedUntil < :pausedUntil)"): (
        "the rate is limited and the address blocked"
    ),
    ("block", "suspicion = :suspicion"): "an order is refused while another is answered",
    ("suspect", "attribute_not_exists(suspicion)"): "two orders are refused",
    ("suspect", "suspicion = :over"): "two orders are refused after an old suspicion",
    ("release", "lease = :lease"): "a slot that is held beyond its lease, and the previous release",
    ("release", "holder = :holder"): "answers of writes are lost, and writes arrive late",
    ("forget", "closings = :closings"): "a person ends a pause",
    ("forget", "lease = :lease"): "all calls were lost, and a person ends the pause",
}
"""By condition: the scenario that notices when it is taken away."""

_ENDED = "the leases that it has seen have ended, and the next caller of the slot writes a later time"
NOT_CAUGHT: Mapping[Term, str] = {
    ("acquire", "holder = :holder"): _ENDED,
    ("acquire alone", "holder = :holder"): _ENDED,
    ("accept", "holder = :holder"): _ENDED,
    ("forget", "holder = :holder"): _ENDED,
    ("forget", "attribute_not_exists(closings)"): "a pause before the first block is one of lost calls, whose leases "
    "are compared too",
}
"""Defence in depth: no scenario needs them. `test_second_line_of_the_gate_refuses_a_write` fails without them."""


def test_every_condition_of_the_gate_is_listed() -> None:
    found: set[Term] = set()
    for name in SMALL:
        model = SCENARIOS[name].model()

        def note(expression: str, model: GateModel = model) -> str:
            found.update((write_of(model, expression), plain(term)) for term in conjuncts(expression))
            return expression

        model.tables.rewrite = note
        Explorer(model).run()

    assert found == CAUGHT.keys() | NOT_CAUGHT.keys()
    assert not CAUGHT.keys() & NOT_CAUGHT.keys()


@pytest.mark.parametrize("term", CAUGHT, ids=": ".join)
def test_gate_without_this_condition_breaks_its_promise(term: Term) -> None:
    scenario = SCENARIOS[CAUGHT[term]]
    model = scenario.model()
    model.tables.rewrite = without(model, term)

    with pytest.raises(Violation):
        Explorer(model, **scenario.faults).run()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("block", "an order is refused while another is answered"),
        ("release", "an order is refused while another is answered"),
    ],
)
def test_suspicion_that_is_not_removed_breaks_the_promise_of_the_gate(kind: str, name: str) -> None:
    model = SCENARIOS[name].model()

    def keep(update: str) -> str:
        return update.replace(", suspicion", "") if kind_of_write(update) == kind else update

    model.tables.rewrite_update = keep
    with pytest.raises(Violation):
        Explorer(model).run()


SEEN = lost(1, 9)
LEASE_SEEN = Lease(START - timedelta(seconds=9), "dead.1", "v1")
OTHER_HOLDER = SEEN | {"holder1": SEEN["holder1"] | {"owner": "someone else"}}


@pytest.mark.parametrize("term", NOT_CAUGHT, ids=": ".join)
@pytest.mark.parametrize("is_taken_away", [False, True], ids=["as it is", "without the condition"])
def test_second_line_of_the_gate_refuses_a_write(term: Term, *, is_taken_away: bool) -> None:
    changed = SEEN | {"closings": 1} if "closings" in term[1] else OTHER_HOLDER
    model = GateModel([], World("v1", KEY), record=ACCEPTED | changed)
    if is_taken_away:
        model.tables.rewrite = without(model, term)
    before = model.tables.rows
    table = GateTable(GATE[0], MemoryClient(model.tables.execute))  # type: ignore[arg-type]
    seen = Gate(accepted_version="v1", leases={1: LEASE_SEEN})
    slot = Slot(1, Lease(START + timedelta(seconds=LEASE_SECONDS), "me", "v1"), alone=term[0] == "acquire alone")

    match term[0]:
        case "accept":
            table.accept("v1", seen, seen.leases)
        case "forget":
            table.forget_pause(seen, seen.leases)
        case _:
            table.acquire(slot, seen)

    assert (model.tables.rows != before) == is_taken_away


KINDS = ("deaths", "failures", "repeats")
