"""Write docs/commands.md from the command line's help."""

import html
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/commands.md"
HEAD = """<!-- Written by `make docs` from the command line's own help. -->
# The command line

The same commands work on the local cloud (after `source .giftcards/env`) and on AWS (with the standard AWS variables,
for example `AWS_PROFILE`). The region comes from `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile, in this order.

A command exits with 0 when done, 1 when refused or failed, 2 when used wrongly. An error is one line on
stderr. With `--json` a command prints one JSON document and nothing else. Characters that the terminal cannot show are
printed as escape sequences, in cards as JSON escapes.

[Getting started](getting-started.md) shows the commands in use.

"""


def page() -> str:
    """Return the page: Typer's documentation of the app, from the first command on."""
    command = [sys.executable, "-m", "typer", "giftcards_cli.main", "utils", "docs", "--name", "giftcards"]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - fixed words
    first = written.index("\n## `giftcards ") + 1
    return HEAD + html.unescape(written[first:]).strip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
