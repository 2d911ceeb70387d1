"""``make drill``: run every drill on one local cloud, and print a table of them."""

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from drill.plan import DRILLS, PARAMETERS, Drill
from drill.runbook import Parts, anchor, missing, parts
from drill.scene import Scene
from giftcards.contracts.events import HeldReason
from giftcards_local.supplier import SANDBOX_API_KEY
from support.service import deployed
from template.reading import load, resources

AWS_ONLY = "AWS only"

console = Console(width=None if sys.stdout.isatty() else 150)


@dataclass(frozen=True)
class Row:
    """The result for an alarm or a held reason; ``error`` is empty if the drill succeeded."""

    name: str
    signal: str
    message: str
    commands: int
    seconds: float
    error: str = ""


def run(scene: Scene, drill: Drill, parts: Parts, on_aws: set[str]) -> list[Row]:
    """Cause one failure, and fix it by the runbook."""
    scene.begin()
    began, failure = time.monotonic(), drill.failure(scene)
    signal, messages, commands, error = "", dict[str, str](), dict.fromkeys(drill.sections, 0), ""

    def follow(part: str) -> None:
        for name in drill.sections:
            commands[name] += scene.follow(parts.get((anchor(name), part), []))

    try:
        signal = next(failure) or ""
        for alarm in drill.alarms:
            messages[alarm] = AWS_ONLY if alarm in on_aws else fired(scene, alarm)
        follow("Check")
        next(failure)
        follow("Fix")
        next(failure, None)
        follow("Resolved")
        assert min(commands.values()) > 0, f"a section without commands: {commands}"
    except Exception as raised:  # noqa: BLE001 - the other drills still run
        error = f"{type(raised).__name__}: {raised}"
        failure.close()  # type: ignore[attr-defined] # it is a generator
    took = time.monotonic() - began
    return [Row(name, signal, messages.get(name, "-"), commands[name], took, error) for name in drill.sections]


def fired(scene: Scene, alarm: str) -> str:
    """Fire an alarm, and check that its description links to its section."""
    description = scene.fire(alarm)
    assert description.endswith(f"runbook.md#{anchor(alarm)}"), f"{alarm} links to {description}"
    return "arrived"


def as_table(rows: list[Row]) -> Table:
    """Lay out the results."""
    table = Table(title="Alarm drill", title_style="bold", header_style="bold", pad_edge=False, box=None)
    for column in ("ALARM OR REASON", "SIGNAL", "MESSAGE", "RUNBOOK", "COMMANDS", ""):
        table.add_column(column, justify="right" if column == "COMMANDS" else "left", overflow="fold")
    for row in rows:
        mark = "[bold red]✘[/]" if row.error else "[bold green]✔[/]"
        message = f"[dim]{row.message}[/]" if row.message == AWS_ONLY else row.message
        name = row.name.removesuffix("Alarm")
        table.add_row(name, row.signal, message, f"#{anchor(row.name)}", str(row.commands), mark)
    return table


def main() -> int:
    """Run every drill; return 1 if one fails or something has none."""
    alarms: Mapping[str, Mapping[str, object]] = resources(load(), "AWS::CloudWatch::Alarm")
    on_aws = {name for name, alarm in alarms.items() if alarm.get("Condition") == "OnAws"}
    sections, rows, began = parts(), list[Row](), time.monotonic()
    console.print("[dim]Building and deploying to a local cloud …[/]")
    with tempfile.TemporaryDirectory() as folder, deployed(Path(folder), PARAMETERS) as service:
        service.cloud.set_api_key(SANDBOX_API_KEY)
        scene = Scene(service)
        scene.switch_measuring("DISABLED")  # the last drill needs a minute without measurements
        scene.follow(sections["", ""])
        for drill in DRILLS:
            finished = run(scene, drill, sections, on_aws)
            rows += finished
            names = ", ".join(row.name.removesuffix("Alarm") for row in finished)
            console.print(f"[dim]{finished[0].seconds:5.1f} s  {names}[/]", highlight=False)
            if finished[0].error:
                console.print(finished[0].error, style="red", highlight=False, markup=False)
    console.print(as_table(rows))
    without, failed = missing(sections, set(alarms)), sum(bool(row.error) for row in rows)
    for name in without:
        console.print(f"[bold red]✘ no drill covers {name}[/]")
    took = time.monotonic() - began
    console.print(f"{len(alarms)} alarms and {len(HeldReason)} held reasons: {failed} failed ({took:.0f} s)")
    return 1 if failed or without else 0


if __name__ == "__main__":
    sys.exit(main())
