"""The command line as a person runs it on a laptop, without access to AWS unless a test gives it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from giftcards_local import PROJECT
from giftcards_local.environment import no_configuration
from giftcards_local.service import LocalService, ServiceState

GIFTCARDS = [sys.executable, "-m", "giftcards_cli"]
NO_AWS = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | no_configuration()

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC).timestamp()  # zip files have no time before 1980


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line, without access to AWS unless the environment gives it."""
    return subprocess.run(
        [*GIFTCARDS, *arguments],
        capture_output=True,
        text=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        timeout=600,
        env=NO_AWS | environment,
        cwd=PROJECT,
        check=False,
    )


@contextmanager
def cloned(copy: Path) -> Iterator[Path]:
    """Copy this repository into a folder, with what `make setup` installs. Stop what runs there in the end."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if (PROJECT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, copy / name)
            os.utime(copy / name, (LONG_AGO, LONG_AGO))  # so that `make setup` has nothing to do
    for installed in (".venv", ".venv-cloud"):
        (copy / installed).symlink_to(PROJECT / installed)
    try:
        yield copy
    finally:
        LocalService(copy / ".giftcards").down()


def variables_of(clone: Path) -> dict[str, str]:
    """Return the environment in which `giftcards` runs the code of a clone."""
    own_code = os.pathsep.join(str(clone / folder) for folder in ("layers/core", "cli", "local"))
    return {"PYTHONPATH": own_code, "PATH": os.pathsep.join((str(clone / ".venv/bin"), os.environ["PATH"]))}


def uv_cache() -> str:
    """Return uv's cache, for a test with another home folder."""
    command = [str(PROJECT / ".venv" / "bin" / "uv"), "cache", "dir"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def state_in(folder: Path) -> ServiceState:
    return ServiceState.model_validate_json((folder / "service.json").read_bytes())


def is_all_stopped(folder: Path) -> bool:
    state = state_in(folder)
    return not any(process is not None and process.is_running for process in (state.cloud, state.supplier))
