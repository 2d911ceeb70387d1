"""Find a Chromium for the tests of the buyer's page, or install one. Run it to see which one the tests use.

In this order: a Chromium or Chrome that is installed, one that Playwright has downloaded before, Debian's package
where this process may install it, Playwright's own download.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
PACKAGES = ("chromium-headless-shell", "fonts-noto-core")
"""The second one has Arabic letters."""
INSTALL_SECONDS = 600


class NoBrowserError(Exception):
    """There is no Chromium, and none could be installed."""


def find_chromium() -> str:
    """Return the path of a Chromium; install one where there is none.

    Raises
    ------
    NoBrowserError
        With one line that says what to install.
    """
    found = installed() or downloaded()
    if not found and may_install():
        install_package()
        found = installed()
    if not found:
        download()
        found = downloaded()
    if not found:
        raise NoBrowserError(
            "the tests of the buyer's page need Chromium or Chrome: install Google Chrome, or on Debian "
            f"`apt-get install --no-install-recommends {' '.join(PACKAGES)}`"
        )
    return found


def installed() -> str | None:
    """Return a browser that is on the PATH, or where macOS keeps it."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def downloaded() -> str | None:
    """Return the browser that Playwright has downloaded."""
    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
    folder = path.parents[2]  # of all browsers; the headless shell lies beside the browser
    shells = sorted(folder.glob("chromium_headless_shell-*/*/*headless*shell*")) if folder.is_dir() else []
    return next((str(candidate) for candidate in (path, *shells) if candidate.is_file()), None)


def may_install() -> bool:
    """Say whether this process is root on a system with apt."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install_package() -> None:
    """Install Debian's packages; where that fails, the next way is tried."""
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        quietly(["apt-get", "--quiet", *command], DEBIAN_FRONTEND="noninteractive")


def download() -> None:
    """Have Playwright download its own browser."""
    quietly([sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"])


def quietly(command: list[str], **environment: str) -> None:
    """Run a command; its output does not matter, because what it should bring is looked for afterwards."""
    try:
        subprocess.run(command, env=os.environ | environment, capture_output=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return


if __name__ == "__main__":
    try:
        print(find_chromium())  # noqa: T201
    except NoBrowserError as problem:
        sys.exit(str(problem))
