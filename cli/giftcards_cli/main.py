"""``giftcards``: its commands, and its exit codes: 0 done, 1 refused or failed, 2 wrong usage."""

import sys

import typer
from typer.exceptions import TyperException

from giftcards_cli import output
from giftcards_cli.commands import (
    demo,
    gate,
    link,
    links,
    local,
    orders,
    place,
    reconcile,
    replay_dlq,
    restore,
    resume,
    reveal,
    rotate_key,
    show,
    stats,
    watch,
)
from giftcards_cli.stack import CommandError
from giftcards_local.processes import LocalError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Gift-card fulfilment: start orders, follow them, resume those that are held, show cards to their user.",
)
app.command()(place.place)
app.command()(orders.orders)
app.command()(show.show)
app.command()(reveal.reveal)
app.command()(link.link)
app.command()(links.links)
app.command()(links.revoke_links)
app.command()(watch.watch)
app.command()(stats.stats)
app.command()(gate.gate)
app.command()(resume.resume)
app.command()(replay_dlq.replay_dlq)
app.command()(rotate_key.rotate_key)
app.command()(reconcile.reconcile)
app.command()(restore.restore)
app.command()(demo.demo)
app.add_typer(local.app, name="local")

_INTERRUPTED = 130  # what Typer returns after Ctrl-C


def main() -> None:
    """Run a command and exit. Every error is one line on stderr; never a traceback, which could quote a card."""
    output.prepare_streams()
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        output.flush()
        if code == _INTERRUPTED:
            code = _failed("stopped", 1)
    except (CommandError, LocalError) as error:
        code = _failed(str(error), getattr(error, "exit_code", 1))
    except TyperException as error:  # exit code 2: wrong usage
        code = _failed(f"{error.format_message()} Try `giftcards --help`.", error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = _failed("stopped", 1)
    except BrokenPipeError:  # the reader closed the pipe: `giftcards orders | head -1`
        code = 1
    except OSError as error:  # only the system's text and the file name, which the user typed
        file = "" if error.filename is None else f" ({error.filename})"
        code = _failed(f"operating system error: {error.strerror or type(error).__name__}{file}", 1)
    except Exception as error:  # noqa: BLE001 - the error's text could contain a card
        code = _failed(f"unexpected {type(error).__name__}; please report it with the command you ran", 1)
    sys.exit(code or 0)


def _failed(message: str, code: int) -> int:
    output.print_error(message)
    return code
