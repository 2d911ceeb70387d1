"""The Pythons of this machine, found as layers/build.mk finds the one that compiles a layer."""

import os
import subprocess
import sys
from pathlib import Path


def find_python(version: str) -> str | None:
    """Return the path of a Python of a version such as 3.13, or None; nothing is downloaded."""
    command = [str(Path(sys.executable).with_name("uv")), "python", "find", "--no-project", "--no-python-downloads"]
    for asked in ({}, {"PYENV_VERSION": version}):  # a shim of pyenv runs only for a version that pyenv is asked for
        found = subprocess.run([*command, version], env=os.environ | asked, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
    return None
