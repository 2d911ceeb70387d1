"""Runs the command line in this process, as in a pipe."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from giftcards_cli.main import main


@dataclass(frozen=True)
class CommandResult:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        return dict(json.loads(self.out))


Giftcards = Callable[..., CommandResult]


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *before: str) -> Giftcards:
    """Return a function that runs ``giftcards`` with arguments, after the given ones."""

    def run(*arguments: str) -> CommandResult:
        monkeypatch.setattr(sys, "argv", ["giftcards", *before, *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return CommandResult(int(end.value.code or 0), printed.out, printed.err)

    return run
