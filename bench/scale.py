"""Compare today's code, the release before it, and the documents' own loop under load and after outages.

Run with `make bench-scale`; `make bench-scale LONG=1` runs longer and writes the tables and pictures of docs/scale.md.
A seeded simulation in virtual time: a run repeats exactly, whatever the machine.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from giftcards_local import PROJECT
from scaling.plots import Chart
from scaling.releases import BEFORE, Results, release_before, run
from scaling.scenarios import Scenario, Variant
from scaling.supplier import Outage

OUTAGES: tuple[Outage, ...] = ("no answer", "5xx", "429", "refused key")
SEEDS = (1, 2, 3, 4, 5)
"""The 95th percentile of forty orders is the second worst: a single run says little."""
LATENCIES = (0.15, 0.3, 1.0, 3.0)
LOADS = (100, 300, 1_000, 2_000, 3_000, 6_000, 10_000)
MAX_LOAD_BEFORE = 6_000
CEILINGS: Mapping[Variant, Mapping[float, int]] = {
    "before": {0.15: 8_000, 0.3: 4_300, 1.0: 1_300, 3.0: 400},
    "now": {0.15: 24_000, 0.3: 15_000, 1.0: 5_000, 3.0: 1_700},
}
"""Orders an hour that a variant is known to deliver at most; an overload has twice as many."""
NAMES: Mapping[Variant, str] = {"before": "release before", "now": "today", "loop": "the documents' loop"}
PAGE = PROJECT / "docs" / "scale.md"
PICTURES = PROJECT / "docs" / "pictures"


@dataclass(frozen=True)
class Goal:
    """A figure of the table.

    Attributes
    ----------
    read
        Returns the figure from a variant's results. It may raise KeyError if the variant has none.
    limit
        The largest good value; None if the figure is only shown.
    """

    name: str
    read: Callable[[Results], float | None]
    limit: float | None
    unit: str = ""

    def text(self, value: float | None) -> str:
        return "–" if value is None or not math.isfinite(value) else f"{value:,.4g} {self.unit}".strip()

    def of(self, results: Results | None) -> float | None:
        """Return the figure, or None if there is none."""
        try:
            return None if results is None else self.read(results)
        except KeyError:
            return None


def figure(scenario: str, name: str, *, percent: bool = False) -> Callable[[Results], float | None]:
    """Return what reads a figure of a scenario."""

    def read(results: Results) -> float | None:
        value = results[scenario][name]
        return None if value is None else float(value) * (100 if percent else 1)

    return read


def steady(per_hour: int, latency: float) -> str:
    return f"{per_hour:,}/h at {latency:g} s"


def goals() -> Iterator[Goal]:
    """Yield the rows of the table."""
    for per_hour, limit in ((1_000, 2.5), (3_000, 1.9), (10_000, 2.0)):
        yield Goal(
            f"supplier calls an order, {steady(per_hour, 0.3)}", figure(steady(per_hour, 0.3), "callsAnOrder"), limit
        )
    for per_hour, latency, limit in ((10_000, 0.3, 8), (3_000, 1.0, 12), (1_000, 3.0, 120)):
        name = steady(per_hour, latency)
        yield Goal(f"p95 delivery, {name}", figure(name, "deliveryP95"), limit, "s")
    for latency, limit in ((0.3, 12), (1.0, 130)):
        name = f"flash sale at {latency:g} s"
        yield Goal(f"p95 delivery, {name}", figure(name, "deliveryP95"), limit, "s")
    for outage in OUTAGES:
        yield Goal(f"p95 recovery, {outage}", figure(outage, "recoveryP95"), 45, "s")
        yield Goal(f"calls at once, {outage}", figure(outage, "mostCallsAtOnce"), 3)
    yield Goal("a refused key is presented", figure("refused key", "refusedKeyPresented"), 3)
    yield Goal("p95 delivery, 30 % failing calls: median of five runs", _failing(statistics.median), 60, "s")
    yield Goal("the same, worst of five runs", _failing(max), None, "s")
    yield Goal("transitions, overload: ratio to 1,000/h", _transitions_ratio, 1.5)
    yield Goal("overtaking, overload", figure("overload at 1 s", "overtaking", percent=True), 2, "%")
    yield Goal("p99 delivery, overload", figure("overload at 1 s", "deliveryP99"), None, "s")
    yield Goal("transitions, settled at the fourth check", figure("fourth check", "transitions"), 17)
    for per_hour in (1_000, 3_000, 10_000):
        name = steady(per_hour, 0.3)
        yield Goal(f"p95 lag, {name}", figure(name, "lagP95"), None, "s")
        yield Goal(f"USD a million orders, {name}", figure(name, "usdPerMillion"), None)
    yield Goal("queued looks an order, 3,000/h at 0.3 s", figure(steady(3_000, 0.3), "queued"), None)
    yield Goal("writes on the gate's record an order, 1,000/h", figure(steady(1_000, 0.3), "gateWrites"), None)


def _failing(of: Callable[[Sequence[float]], float]) -> Callable[[Results], float]:
    return lambda results: of([float(results[f"failing calls {seed}"]["deliveryP95"]) for seed in SEEDS])


def _transitions_ratio(results: Results) -> float:
    return float(results["overload at 1 s"]["transitions"]) / float(results[steady(1_000, 0.3)]["transitions"])


def scenarios(variant: Variant, *, is_long: bool) -> Iterator[Scenario]:
    """Yield what happens to a variant."""
    factor = 2.0 if is_long else 1.0
    for per_hour, latency, minutes in ((1_000, 0.3, 15), (3_000, 0.3, 6), (3_000, 1.0, 6), (1_000, 3.0, 10)):
        yield Scenario(steady(per_hour, latency), latency, per_hour, minutes * factor)
    if variant != "before":  # it collapses, and the longer the more
        yield Scenario(steady(10_000, 0.3), 0.3, 10_000, 3 * factor)
    for latency in (0.3, 1.0):
        yield Scenario(f"flash sale at {latency:g} s", latency, burst=300, burst_seconds=60)
    for outage in OUTAGES:
        yield Scenario(outage, burst=50, burst_seconds=30, settles="in outage", outage=outage)
    for seed in SEEDS:
        name = f"failing calls {seed}"
        yield Scenario(name, burst=40, burst_seconds=1, settles="at once", failing_share=0.3, seed=seed)
    yield Scenario("fourth check", burst=1, settles="at once", pending_answers=3)
    if variant != "loop":
        yield _overload(variant, 1.0, 5)
    if is_long:
        yield from _long(variant)


def _long(variant: Variant) -> Iterator[Scenario]:
    measured = {1_000, 3_000} if variant == "before" else {1_000, 3_000, 10_000}
    for per_hour in LOADS:
        if per_hour not in measured and (variant != "before" or per_hour <= MAX_LOAD_BEFORE):
            yield Scenario(steady(per_hour, 0.3), 0.3, per_hour, max(10.0, min(120.0, 20_000 / per_hour)))
    if variant == "loop":
        return
    for latency, minutes in ((0.15, 1.5), (0.3, 2), (3.0, 10)):
        yield _overload(variant, latency, minutes)
    yield Scenario("flash sale, 10 functions at once", burst=300, burst_seconds=60, concurrency=10)


def _overload(variant: Variant, latency: float, minutes: float) -> Scenario:
    return Scenario(f"overload at {latency:g} s", latency, 2 * CEILINGS[variant][latency], minutes)


def charts(results: Mapping[Variant, Results]) -> Iterator[tuple[str, Chart]]:
    """Yield the pictures with their file names."""

    def lines(name: str) -> dict[str, list[tuple[float, float]]]:
        return {
            NAMES[variant]: [(load, of[steady(load, 0.3)][name]) for load in LOADS if steady(load, 0.3) in of]
            for variant, of in results.items()
        }

    yield (
        "scale-delivery.svg",
        Chart(
            "Delivery after the supplier settled an order, at 0.3 s an answer",
            "orders an hour",
            "seconds, 95th percentile",
            lines("deliveryP95"),
            LOADS,
            (1, 2, 5, 10, 20, 50, 100),
        ),
    )
    yield (
        "scale-calls.svg",
        Chart(
            "Calls to the supplier, at 0.3 s an answer",
            "orders an hour",
            "calls an order",
            lines("callsAnOrder"),
            LOADS,
            (1, 2, 3, 4, 5, 6),
        ),
    )


def table(results: Mapping[Variant, Results]) -> list[tuple[str, ...]]:
    """Return the table of goals as text: name, the variants' figures, goal, and whether it is met."""
    rows = []
    for goal in goals():
        figures = [goal.of(results.get(variant)) for variant in NAMES]
        now = goal.of(results.get("now"))
        is_met = goal.limit is None or (now is not None and now <= goal.limit)
        limit, verdict = ("", "") if goal.limit is None else (f"≤ {goal.text(goal.limit)}", "yes" if is_met else "no")
        rows.append((goal.name, *map(goal.text, figures), limit, verdict))
    return rows


def write(results: Mapping[Variant, Results]) -> None:
    """Write the tables and pictures of docs/scale.md."""
    for name, chart in charts(results):
        (PICTURES / name).write_text(chart.svg(), encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    heading = ("figure", *NAMES.values(), "goal", "met")
    text = _between(text, "goals", _markdown(heading, table(results)))
    ceilings = [
        (f"{latency:g} s", *(_ceiling(results.get(variant), latency) for variant in CEILINGS)) for latency in LATENCIES
    ]
    text = _between(text, "ceilings", _markdown(("answer time", *(NAMES[variant] for variant in CEILINGS)), ceilings))
    PAGE.write_text(text, encoding="utf-8")


def _ceiling(results: Results | None, latency: float) -> str:
    found = (results or {}).get(f"overload at {latency:g} s")
    return "–" if found is None else f"{found['servedPerHour']:,.0f}"


def _markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _between(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name}: make bench-scale LONG=1 -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n\n{content}\n\n{end}{rest.partition(end)[2]}"


def main() -> int:
    """Run everything, print the table, and return 1 if today's code misses a goal."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--long", action="store_true", help="run longer, and write docs/scale.md's tables and pictures"
    )
    arguments.add_argument("--results", type=Path, help="write all figures into this JSON file")
    options = arguments.parse_args()
    console = Console(width=130)
    with tempfile.TemporaryDirectory() as folder:
        folders: dict[Variant, Path] = {"now": PROJECT, "loop": PROJECT}
        if release_before(Path(folder)):
            folders["before"] = Path(folder)
        else:
            console.print(f"The history has no commit {BEFORE}, so the release before is not measured.")
        results = run({variant: scenarios(variant, is_long=options.long) for variant in folders}, folders)
    if options.results:
        options.results.write_text(json.dumps(results, indent=1), encoding="utf-8")
    shown = Table(box=None, header_style="bold")
    for column in ("FIGURE", *(name.upper() for name in NAMES.values()), "GOAL", "MET"):
        shown.add_column(column, justify="left" if column == "FIGURE" else "right")
    rows = table(results)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    if options.long:
        write(results)
    return 1 if any(row[-1] == "no" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
