"""Find the interpreters that the programs of docs/shops.md need, or install them. Run it to see which are used."""

import os
import shutil
import subprocess
import sys

PACKAGES = {"php": "php-cli", "node": "nodejs"}
"""Debian's packages, by the command that each brings."""
INSTALL_SECONDS = 600


class NoInterpreterError(Exception):
    """There is no PHP or no Node, and neither could be installed."""


def find(command: str) -> str:
    """Return the path of an interpreter; install it where this process may.

    Raises
    ------
    NoInterpreterError
        With one line that says what to install.
    """
    if shutil.which(command) is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", PACKAGES[command]]):
            subprocess.run(
                ["apt-get", "--quiet", *arguments],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                timeout=INSTALL_SECONDS,
                check=False,  # what it should bring is looked for afterwards
            )
    path = shutil.which(command)
    if path is None:
        raise NoInterpreterError(
            f"the programs of docs/shops.md need {command}: install it, on Debian with "
            f"`apt-get install --no-install-recommends {PACKAGES[command]}`"
        )
    return path


if __name__ == "__main__":
    try:
        print(*map(find, PACKAGES))  # noqa: T201
    except NoInterpreterError as problem:
        sys.exit(str(problem))
