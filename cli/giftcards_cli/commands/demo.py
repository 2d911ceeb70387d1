"""``giftcards demo``. The demo is imported when it runs: it makes up a third of the start time of other commands."""

from pathlib import Path
from typing import Annotated

import typer

from giftcards_cli.signals import end_on_signals
from giftcards_cli.stack import CommandError


def demo(
    keep: Annotated[Path | None, typer.Option(help="Keep the demo's files in this folder.", hidden=True)] = None,
) -> None:
    """Run six orders and a buyer's link through the whole service on a temporary local cloud. Takes under a minute."""
    from giftcards_cli import demonstration  # noqa: PLC0415

    end_on_signals()
    if not demonstration.run(keep):
        raise CommandError("the demo failed: not every order ended as expected; see the lines above")
