"""`make outdated` checks every direct requirement and lists newer versions, or says that it could not check."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.version import Version

from support.scripts import load

SCRIPT = Path(__file__).parents[2] / "tools/outdated.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """tools/outdated.py, which is in no package."""
    return load("tools/outdated.py")


def release(folder: Path, name: str, version: str) -> None:
    """Put an empty wheel into a folder."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_pins_layers_and_uv_are_checked(script: ModuleType):
    found = {(direct.name, direct.source) for direct in script.direct()}
    assert found >= {
        ("aws-encryption-sdk", "layers/encryption/requirements.in"),
        ("aws-sam-cli", "requirements/dev.in"),
        ("checkov", "requirements/checks.in"),
        ("ministack", "requirements/cloud.in"),
        ("moto", "requirements/dev.in"),
        ("pydantic", "layers/core/requirements.in"),
        ("pygraphviz", "requirements/docs.in"),
        ("uv", "Makefile"),
    }


def test_newer_versions_are_listed(script: ModuleType):
    old, new, ahead = (script.Direct(name, "dev.in", "", Version("1.9")) for name in ("old", "new", "ahead"))
    versions = {"old": Version("1.10"), "new": Version("1.9"), "ahead": Version("1.8")}
    assert script.outdated([old, new, ahead], versions) == [(old, Version("1.10"))]


def test_the_newest_release_is_asked_for_and_no_prerelease(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for version in ("1.9", "1.10", "2.0rc1"):
        release(tmp_path, "gift_wrap", version)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    assert script.newest(["gift-wrap"]) == {"gift-wrap": Version("1.10")}


def test_missing_registry_is_one_line():
    nobody_listens = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0", "UV_NO_CACHE": "1"}
    result = subprocess.run(
        [sys.executable, SCRIPT],
        env=os.environ | nobody_listens,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("outdated: no package registry answered: ")
    assert result.stderr.count("\n") == 1
