"""The command line as somebody runs it on a laptop, pointed at no cloud unless it is told to."""

import os
import subprocess
import sys
from pathlib import Path

from giftcards_local import PROJECT
from giftcards_local.service import ServiceState

GIFTCARDS = [sys.executable, "-m", "giftcards_cli"]
NO_AWS = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line, pointed at nothing unless the environment says so."""
    return subprocess.run(
        [*GIFTCARDS, *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        env=NO_AWS | environment,
        cwd=PROJECT,
        check=False,
    )


def state_in(folder: Path) -> ServiceState:
    return ServiceState.model_validate_json((folder / "service.json").read_bytes())


def is_all_stopped(folder: Path) -> bool:
    state = state_in(folder)
    return not any(process is not None and process.is_running for process in (state.cloud, state.supplier))
