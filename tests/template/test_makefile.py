"""What `make` starts installs into this folder, whatever the user has set for pip, uv and Python."""

import os
import subprocess
from pathlib import Path

from support.hostile import hostile_environment
from template.reading import ROOT

DOWNLOADS = {"PIP_INDEX_URL": "https://index", "UV_INDEX_OURS_PASSWORD": "p", "PIP_CERT": "/cert"}


def test_no_setting_of_the_user_leads_an_installation_elsewhere(tmp_path: Path):
    given = hostile_environment("http://127.0.0.1:9", tmp_path / "home") | {"PATH": os.environ["PATH"]} | DOWNLOADS
    given |= {"PYTHONPATH": "/no/such", "PYTHONHOME": "/no/such", "A_SETTING_OF_TOMORROW": "x", "UV_TOMORROW": "x"}
    del given["MAKEFLAGS"]
    done = subprocess.run(
        ["make", "-f", "-", "show"],
        input="include Makefile\nshow:\n\t@env\n", cwd=ROOT, env=given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    known = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert DOWNLOADS.items() <= known.items()
    assert known["A_SETTING_OF_TOMORROW"] == "x"
    assert known["PYTHONIOENCODING"] == "ascii"
    led_astray = {name for name in known if name.startswith(("PIP_", "UV_", "PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"))}
    assert led_astray == {*DOWNLOADS, "PYTHONIOENCODING"}
    assert known["PATH"].startswith(f"{ROOT}/.venv/bin:")
