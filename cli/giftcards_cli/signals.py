"""Signals that end a long-running command."""

import signal
from types import FrameType
from typing import NoReturn


def end_on_signals() -> None:
    """Treat SIGTERM and SIGHUP as Ctrl-C, so that cleanup runs: child processes stop and temporary files go."""

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
