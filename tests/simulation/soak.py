"""``make soak MINUTES=10``: all faults at random for some minutes. Prints how often each occurred.

A world that breaks the promise prints its seed; ``--seed`` repeats that world and prints its steps.
"""

import logging
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from simulation import world as simulated
from simulation.model import (
    AWS_CALLS,
    AWS_CODES,
    SECONDS_TO_PASS,
    SECONDS_TO_SETTLE,
    TYPE_IDS,
    USERS,
    Model,
)

STEPS_IN_A_WORLD = 25
REPORT_SECONDS = 15


@dataclass
class Outcome:
    """The steps of a world, in order and counted; ``broken`` is the traceback of a broken promise, or empty."""

    seed: int
    happened: Counter[str] = field(default_factory=Counter)
    steps: list[str] = field(default_factory=list)
    broken: str = ""


PHASES = ("before", "after")
Arguments = tuple[Any, ...]
STEPS: dict[str, tuple[int, Callable[[random.Random, list[str]], Arguments]]] = {
    "order": (
        20,
        lambda chance, _: (
            chance.randint(1, 4),
            chance.choice(TYPE_IDS),
            chance.choice(SECONDS_TO_SETTLE),
            chance.choice(USERS),
        ),
    ),
    "place": (8, lambda chance, orders: (chance.choice(orders), chance.choice(USERS))),
    "settle": (4, lambda chance, orders: (chance.choice(orders),)),
    "supplier_fault": (12, lambda chance, _: (chance.randrange(1_000), chance.randint(1, 4))),
    "broken_answer": (3, lambda chance, _: (chance.randrange(1_000),)),
    "aws_fault": (
        11,
        lambda chance, _: (
            chance.choice(AWS_CALLS),
            chance.choice(AWS_CODES),
            chance.choice(PHASES),
            chance.choice((1, 3, 12)),
        ),
    ),
    "bus_refuses": (3, lambda chance, _: (chance.choice((1, 3, 12)),)),
    "kill": (10, lambda chance, _: (chance.randint(1, 11), chance.choice(PHASES))),
    "abort": (4, lambda chance, orders: (chance.choice(orders),)),
    "revoke_key": (3, lambda _, __: ()),
    "replace_key": (4, lambda _, __: ()),
    "sweep": (3, lambda _, __: ()),
    "pass_time": (18, lambda chance, _: (chance.choice(SECONDS_TO_PASS),)),
}
"""The model's steps: their weight, and how their arguments are drawn."""


def steps(model: Model, chance: random.Random) -> Iterator[tuple[str, Arguments]]:
    """Draw steps. The first one is an order."""
    weights = [weight for weight, _ in STEPS.values()]
    for _ in range(STEPS_IN_A_WORLD):
        orders = list(model.placed)
        [name] = chance.choices(list(STEPS), weights) if orders else ["order"]
        yield name, STEPS[name][1](chance, orders)


def run(seed: int) -> Outcome:
    """Run one world."""
    logging.disable(logging.CRITICAL)
    outcome = Outcome(seed)
    try:
        with simulated.world() as world:
            model = Model(world, seed)
            outcome.happened = model.happened
            for name, arguments in steps(model, random.Random(seed)):
                outcome.steps.append(f"{name}{arguments}")
                getattr(model, name)(*arguments)
                model.check()
            model.end()
    except BaseException:  # noqa: BLE001 - any error breaks the promise
        outcome.broken = traceback.format_exc()
    return outcome


def soak(
    minutes: Annotated[float, typer.Option(min=0, help="Duration.")] = 10,
    seed: Annotated[int | None, typer.Option(help="Run only this world, and print its steps.")] = None,
) -> None:
    """Run worlds at random for some minutes."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    if seed is not None:
        outcome = run(seed)
        console.print(*outcome.steps, outcome.broken or "the promise holds", sep="\n", markup=False)
        raise typer.Exit(bool(outcome.broken))
    began, total, broken, runs = time.monotonic(), Counter[str](), [], 0
    first = random.SystemRandom().randrange(10**9)
    seeds = iter(range(first, first + 10**9))
    reported = began
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        running: set[Future[Outcome]] = {pool.submit(run, next(seeds)) for _ in range(os.cpu_count() or 1)}
        while running:
            done, running = wait(running, timeout=REPORT_SECONDS, return_when=FIRST_COMPLETED)
            for outcome in (future.result() for future in done):
                runs += 1
                total += outcome.happened
                broken += [outcome] if outcome.broken else []
                if time.monotonic() - began < minutes * 60 and not broken:
                    running.add(pool.submit(run, next(seeds)))
            if time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                left = max(0.0, minutes * 60 - (reported - began))
                console.print(f"[dim]{runs} worlds, {total['orders']} orders, {left:.0f} s left[/]", highlight=False)
    _report(console, total, runs, time.monotonic() - began)
    for outcome in broken:
        console.print(f"[bold red]seed {outcome.seed} broke the promise[/]", *outcome.steps, sep="\n")
        console.print(outcome.broken, markup=False)
    if broken:
        raise typer.Exit(1)
    console.print("[bold green]✔ 0 lost, 0 twice, 0 leaked[/]", highlight=False)


def _report(console: Console, total: Counter[str], runs: int, seconds: float) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(min_width=36)
    table.add_column(justify="right")
    table.add_row("worlds", str(runs))
    for what, times in sorted(total.items(), key=lambda item: (not item[0].startswith("orders"), item[0])):
        table.add_row(what, str(times))
    table.add_row("seconds", f"{seconds:.0f}")
    console.print(table)


if __name__ == "__main__":
    typer.run(soak)
