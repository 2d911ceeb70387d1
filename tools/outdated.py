"""List the direct requirements that have newer versions. Run with `make outdated`; it changes nothing.

It asks uv's package registry about the names in requirements/*.in and layers/*/requirements.in, and about uv, whose
version is in the Makefile.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Direct:
    """One direct requirement: its file, its version limits, and the version in use."""

    name: str
    source: str
    limits: str
    used: Version


def pins(locked: str) -> dict[str, Version]:
    """Return the versions in a compiled requirements file; the newest if a package has several."""
    found: dict[str, Version] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^\s;]+)", locked, re.M):
        name = canonicalize_name(package)
        found[name] = max(found.get(name, Version(version)), Version(version))
    return found


def direct() -> list[Direct]:
    """Return every direct requirement of the project."""
    (uv,) = re.findall(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    found = [Direct("uv", "Makefile", f"=={uv}", Version(uv))]
    for path in sorted([*ROOT.glob("requirements/*.in"), *ROOT.glob("layers/*/requirements.in")]):
        used = pins(path.with_suffix(".txt").read_text(encoding="utf-8"))
        lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
        for requirement in (Requirement(line) for line in lines if line and not line.startswith("-r ")):
            name = canonicalize_name(requirement.name)
            found.append(Direct(name, path.relative_to(ROOT).as_posix(), str(requirement.specifier), used[name]))
    return found


def newest(names: Iterable[str]) -> dict[str, Version]:
    """Return the newest release of each name.

    Raises
    ------
    ConnectionError
        If the registry does not answer. The message is uv's, in one line.
    """
    asked = subprocess.run(  # noqa: S603 - this project's uv
        [UV, "pip", "compile", "--quiet", "--no-deps", "--universal", "--python-version", "3.11", "-"],
        input="\n".join(names),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if asked.returncode != 0:
        reasons = re.findall(r"(?:error|cause): (.+)", asked.stderr)
        raise ConnectionError(reasons[-1] if reasons else asked.stderr.strip())
    return pins(asked.stdout)


def outdated(everything: Iterable[Direct], versions: dict[str, Version]) -> list[tuple[Direct, Version]]:
    """Return the requirements that have a newer version, each with that version."""
    return [
        (requirement, versions[requirement.name])
        for requirement in everything
        if versions[requirement.name] > requirement.used
    ]


def main() -> None:
    """Print the table."""
    everything = direct()
    try:
        found = outdated(everything, newest(sorted({requirement.name for requirement in everything})))
    except (ConnectionError, subprocess.TimeoutExpired) as problem:
        sys.exit(f"outdated: no package registry answered: {problem}")
    console = Console(highlight=False)
    if found:
        table = Table(box=None, header_style="bold")
        for column in ("PACKAGE", "USED", "NEWEST", "ASKED FOR IN", "LIMITS"):
            table.add_column(column, no_wrap=True)
        for requirement, version in found:
            table.add_row(requirement.name, str(requirement.used), str(version), requirement.source, requirement.limits)
        console.print(table)
        console.print("\n`make lock UPGRADE=--upgrade` upgrades what has no limits here or in another package.")
    console.print(f"{len(found)} of {len(everything)} direct requirements have a newer version.")


if __name__ == "__main__":
    main()
