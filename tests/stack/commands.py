"""Run the command blocks of a page as a reader does: one after the other, in one shell."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from template.pages import Block

_BOUNDARY = "\x1e"  # ASCII's record separator
_NUMBER = re.compile(r"[0-9a-f]{8}(?:\\-[0-9a-f]{4}){3}\\-[0-9a-f]{12}|\d+")


def run_blocks(
    blocks: Sequence[Block], folder: Path, environment: Mapping[str, str], *, within_seconds: float
) -> list[str]:
    """Run blocks in one shell, so that a variable or folder of one is that of the next, and return what each printed.

    Parameters
    ----------
    blocks
        In the order in which they are run.
    folder
        Where the shell starts.
    environment
        All that it knows.
    within_seconds
        How long all of them may take.

    Raises
    ------
    AssertionError
        If a command fails; it names the block and has its output.
    """
    boundary = f"printf '{_BOUNDARY}'\n"
    script = "set -eo pipefail\n" + boundary.join(block.commands for block in blocks)
    finished = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # a reader sees both
        text=True,
        timeout=within_seconds,
        check=False,
    )
    printed = finished.stdout.split(_BOUNDARY)
    assert finished.returncode == 0, f"{blocks[len(printed) - 1]} exits {finished.returncode}:\n{printed[-1]}"
    return printed


def not_printed(block: Block, printed: str) -> list[str]:
    """Return the lines of what a page says that a block prints, from the first that is not there in this order.

    Numbers, times and random ids may be others, spaces more or fewer, and ``…`` is anything.
    """
    said = [line for line in block.prints.splitlines() if line.strip()]
    lines = iter(printed.splitlines())
    for place, line in enumerate(said):
        if not any(_pattern(line).search(_spaced(other)) for other in lines):
            return said[place:]
    return []


def _spaced(line: str) -> str:
    return " ".join(line.split())


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(_NUMBER.sub(r"[0-9a-f-]+", re.escape(_spaced(line))).replace("…", ".*"))
