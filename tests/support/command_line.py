"""The command line, run as in a pipe."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class CommandResult:
    """How a command ended."""

    code: int
    out: str
    err: str


Giftcards = Callable[..., CommandResult]
"""Runs the command line, as a person does in a pipe."""
