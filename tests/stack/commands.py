"""Run the command blocks of a page as a reader does: one after the other, in one shell."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from template.pages import Block

_BOUNDARY = "\x1e"  # ASCII's record separator
_VARIES = re.compile(  # a time as JSON has it, as a table has it, a port, a UUID
    r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d\d-\d\d \d\d:\d\d:\d\d|127\.0\.0\.1:\d+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)


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
    boundary = f"test $? -eq 0\nprintf '{_BOUNDARY}'\n"  # bash itself lets a `!` that does not hold pass
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

    Times, ports and UUIDs may be others, spaces more or fewer, and ``…`` is anything.
    """
    said = [_lasting(line) for line in block.prints.splitlines() if line.strip()]
    lines = iter([_lasting(line) for line in printed.splitlines()])
    for place, line in enumerate(said):
        pattern = re.compile(re.escape(line).replace("…", ".*"))
        if not any(pattern.fullmatch(other) for other in lines):
            return said[place:]
    return []


def _lasting(line: str) -> str:
    return _VARIES.sub("#", " ".join(line.split()))
