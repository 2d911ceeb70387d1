"""How a command that runs for long is told to end."""

import signal
from types import FrameType
from typing import NoReturn


def end_on_signals() -> None:
    """End as on Ctrl-C when told to, or when the terminal is closed, so that nothing is left as it must not be."""

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, interrupt)
