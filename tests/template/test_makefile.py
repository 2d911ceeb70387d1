"""`make` installs into this folder only, whatever the user's settings for pip, uv and Python are."""

import os
import subprocess
from pathlib import Path

from support.hostile import hostile_environment
from template.reading import ROOT

DOWNLOADS = {"PIP_INDEX_URL": "https://index", "UV_INDEX_OURS_PASSWORD": "p", "PIP_CERT": "/cert"}


def test_user_settings_do_not_redirect_installations(tmp_path: Path):
    given = hostile_environment("http://127.0.0.1:9", tmp_path / "home") | {"PATH": os.environ["PATH"]} | DOWNLOADS
    given |= {"PYTHONPATH": "/no/such", "PYTHONHOME": "/no/such", "A_SETTING_OF_TOMORROW": "x", "UV_TOMORROW": "x"}
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
