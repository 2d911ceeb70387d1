"""Run the command blocks of a page as a reader does: one after another, in one shell."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from template.pages import Block

_BOUNDARY = "\x1e"  # ASCII's record separator
_VARIES = re.compile(  # a time in JSON, a time in a table, a port, a UUID
    r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d\d-\d\d \d\d:\d\d:\d\d|127\.0\.0\.1:\d+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)


def run_blocks(
    blocks: Sequence[Block], folder: Path, environment: Mapping[str, str], *, within_seconds: float
) -> list[str]:
    """Run blocks in one shell, which keeps variables and the folder, and return what each printed.

    Parameters
    ----------
    folder
        The shell's first working directory.
    environment
        The whole environment.
    within_seconds
        Timeout of all blocks together.

    Raises
    ------
    AssertionError
        If a command fails; it names the block and has its output.
    """
    boundary = f"test $? -eq 0\nprintf '{_BOUNDARY}'\n"  # `set -e` ignores a failed `!`
    script = "set -eo pipefail\n" + boundary.join(block.commands for block in blocks)
    finished = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # a terminal shows both
        text=True,
        timeout=within_seconds,
        check=False,
    )
    printed = finished.stdout.split(_BOUNDARY)
    assert finished.returncode == 0, f"{blocks[len(printed) - 1]} exits {finished.returncode}:\n{printed[-1]}"
    return printed


def not_printed(block: Block, printed: str) -> list[str]:
    """Return the lines that a page shows below a block, from the first one that was not printed in this order.

    Times, ports, UUIDs and the number of spaces may differ; ``…`` matches anything.
    """
    shown = [_lasting(line) for line in block.prints.splitlines() if line.strip()]
    lines = iter([_lasting(line) for line in printed.splitlines()])
    for place, line in enumerate(shown):
        pattern = re.compile(re.escape(line).replace("…", ".*"))
        if not any(pattern.fullmatch(other) for other in lines):
            return shown[place:]
    return []


def _lasting(line: str) -> str:
    return _VARIES.sub("#", " ".join(line.split()))
