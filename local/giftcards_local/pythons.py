"""Finds the Pythons on this machine in the same way as layers/build.mk."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path


@cache
def find_python(version: str) -> str | None:
    """Return the path of a Python with a version such as 3.13, or None. Downloads nothing."""
    command = [str(Path(sys.executable).with_name("uv")), "python", "find", "--no-project", "--no-python-downloads"]
    for variables in ({}, {"PYENV_VERSION": version}):  # a pyenv shim runs only if pyenv selects its version
        result = subprocess.run(
            [*command, version], env=os.environ | variables, capture_output=True, text=True, check=False
        )
        if result.returncode == 0:
            return result.stdout.strip()
    return None
