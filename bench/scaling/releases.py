"""The releases that are compared, each with its folder and its own process."""

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from giftcards_cli.costs import prices
from giftcards_local import PROJECT
from scaling.scenarios import Scenario, Variant

BEFORE = "76715bd"
"""The last commit without slots that functions wait for, and without the shared list."""
PARTS = ("layers/core", "functions", "statemachine", "template.yaml")

Results = Mapping[str, Mapping[str, Any]]
"""What was measured, by the scenario's name."""


def release_before(folder: Path) -> Path | None:
    """Extract the release before; None if the history lacks it, as in a shallow clone."""
    command = ["git", "archive", BEFORE, *PARTS]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, check=False)
    if result.returncode != 0:
        return None
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def run(wanted: Mapping[Variant, Iterable[Scenario]], folders: Mapping[Variant, Path]) -> dict[Variant, Results]:
    """Run each variant's scenarios in a process with its code, all at the same time."""
    results: dict[Variant, Results] = {}

    def collect(variant: Variant, scenarios: Iterable[Scenario]) -> None:
        results[variant] = dict(_run(variant, list(scenarios), folders[variant]))

    threads = [threading.Thread(target=collect, args=each) for each in wanted.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if missing := wanted.keys() - results.keys():
        raise SystemExit(f"the simulation failed: {', '.join(sorted(missing))}")
    return results


def _run(variant: Variant, scenarios: list[Scenario], code: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    task = {
        "variant": variant,
        "code": str(code),
        "scenarios": [asdict(scenario) for scenario in scenarios],
        "perMillion": dict(prices().per_million),
    }
    # The code's own sources are found before those that are installed.
    paths = [code / "layers" / "core", PROJECT / "bench", PROJECT / "tests"]
    process = subprocess.run(
        [sys.executable, "-m", "scaling.worker"],
        input=json.dumps(task),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for line in process.stdout.splitlines():
        measured = json.loads(line)
        yield measured["scenario"]["name"], measured
