"""`make` installs into this folder only, whatever the user's settings for pip, uv and Python are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.hostile import hostile_environment
from template.reading import ROOT

DOWNLOADS = {"PIP_INDEX_URL": "https://index", "UV_INDEX_OURS_PASSWORD": "p", "PIP_CERT": "/cert"}


def test_user_settings_do_not_redirect_installations(tmp_path: Path):
    given = hostile_environment("http://127.0.0.1:9", tmp_path / "home") | {"PATH": os.environ["PATH"]} | DOWNLOADS
    given |= {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": "/no/such",
        "PYTHONHOME": "/no/such",
        "A_SETTING_OF_TOMORROW": "x",
        "UV_TOMORROW": "x",
    }
    del given["MAKEFLAGS"]
    done = subprocess.run(
        ["make", "-f", "-", "show"],
        input="include Makefile\nshow:\n\t@env\n", cwd=ROOT, env=given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    variables = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert DOWNLOADS.items() <= variables.items()
    assert variables["A_SETTING_OF_TOMORROW"] == "x"
    assert variables["PYTHONIOENCODING"] == "ascii"
    passed_on = {
        name for name in variables if name.startswith(("PIP_", "UV_", "PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"))
    }
    assert passed_on == {*DOWNLOADS, "PYTHONIOENCODING"}
    assert variables["PATH"].startswith(f"{ROOT}/.venv/bin:")


PROGRAMS = re.findall(
    r"PYTHONPATH=(\S+) \$\(BIN\)/python (?:-m |(bench)/)([\w.]+?)(?:\.py)?\s", (ROOT / "Makefile").read_text()
)


@pytest.mark.parametrize(("path", "folder", "module"), PROGRAMS, ids=lambda text: text or "-")
def test_program_of_a_target_finds_what_it_imports(path: str, folder: str, module: str):
    path = os.pathsep.join(filter(None, [folder, *path.split(":")]))
    done = subprocess.run(
        [sys.executable, "-B", "-c", f"import {module}"], cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, check=False
    )
    assert done.returncode == 0


def test_every_program_of_a_target_is_tried():
    assert {module for *_, module in PROGRAMS} == {"drill", "simulation.soak", "handlers", "scale"}
