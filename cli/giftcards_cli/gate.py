"""``giftcards gate``: whether the supplier may be called, and a person's word that it may be called again."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from giftcards.rules.gate import Closing, Gate, Lease
from giftcards_cli import output
from giftcards_cli.arguments import AsJson, StackName
from giftcards_cli.stack import CommandError, Stack, aws_errors


def gate(
    open_it: Annotated[bool, typer.Option("--open", help="Forget a pause. A refused key stays refused.")] = False,  # noqa: FBT002
    stack: StackName = "giftcards",
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Say whether the supplier may be called now, since when and why not, and until when."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        now, version, found = datetime.now(UTC), deployed.api_key_version(), deployed.gate.read()
        closing = found.closing(now, version)
        if open_it and closing is not None:
            _open(deployed, found, closing, found.lost(now, version))
            found = deployed.gate.read()
            closing = found.closing(now, version)
    document = _document(found, closing, now, version)
    if as_json:
        output.print_json(document)
    else:
        output.console.print(_laid_out(document, closing))


def _open(deployed: Stack, found: Gate, closing: Closing, lost: dict[int, Lease]) -> None:
    if not closing.is_pause:
        raise CommandError(
            f"{closing.reason}: only a new version of the supplier's API key in its secret opens the gate; "
            "nothing is changed"
        )
    if not deployed.gate.forget_pause(found, lost):
        raise CommandError("the gate has just been closed again; `giftcards gate` says why")


def _document(found: Gate, closing: Closing | None, now: datetime, version: str | None) -> dict[str, Any]:
    opens_with = None if closing is None else ("TIME" if closing.is_pause else "NEW_KEY_VERSION")
    suspicion = found.suspicion
    return {
        "open": closing is None,
        "reason": closing and closing.reason.value,
        "message": closing and closing.message,
        "since": closing and output.iso(closing.at),
        "until": output.iso(closing.until) if closing and closing.until else None,
        "opensWith": opens_with,
        "placesTaken": found.taken(now),
        "places": found.places(now, version),
        "lostCalls": len(found.lost(now, version)),
        "suspicion": suspicion
        and {"orderId": suspicion.order_id, "code": suspicion.code, "since": output.iso(suspicion.at)},
    }


def _laid_out(document: dict[str, Any], closing: Closing | None) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("gate", "[green]open[/]" if closing is None else "[bold red]closed[/]")
    if closing is not None:
        grid.add_row("why", escape(f"{closing.reason}: {closing.message}"))
        grid.add_row("since", document["since"])
        grid.add_row("until", document["until"] or "the secret has another version")
    grid.add_row("places", f"{document['placesTaken']} of {document['places']} taken")
    if document["lostCalls"]:
        grid.add_row("lost", f"{document['lostCalls']} calls ended without a recorded answer; see the functions' logs")
    if document["suspicion"]:
        refused = "order {orderId} refused with {code} since {since}, and no order answered since".format(
            **document["suspicion"]
        )
        grid.add_row("suspicion", escape(refused))
    return grid
