"""Import files that are in no package: handlers and scripts."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load(path: str, name: str | None = None) -> ModuleType:
    """Import a file again.

    Parameters
    ----------
    path
        Below the project's folder.
    name
        The module's; the file's where None.
    """
    spec = importlib.util.spec_from_file_location(name or Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
