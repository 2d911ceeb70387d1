"""``giftcards gate``: whether the supplier may be called, and a person's word that it may be called again."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from giftcards.rules.gate import Block, Gate, Lease
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
        block = found.block(now, version)
        if open_it and block is not None:
            _open(deployed, found, block, found.lost(now, version))
            found = deployed.gate.read()
            block = found.block(now, version)
    document = _document(found, block, now, version)
    if as_json:
        output.print_json(document)
    else:
        output.console.print(_laid_out(document, block))


def _open(deployed: Stack, found: Gate, block: Block, lost: dict[int, Lease]) -> None:
    if not block.is_pause:
        raise CommandError(
            f"{block.reason}: only a new version of the supplier's API key in its secret opens the gate; "
            "nothing is changed"
        )
    if not deployed.gate.forget_pause(found, lost):
        raise CommandError("the gate has just been closed again; `giftcards gate` says why")


def _document(found: Gate, block: Block | None, now: datetime, version: str | None) -> dict[str, Any]:
    opens_with = None if block is None else ("TIME" if block.is_pause else "NEW_KEY_VERSION")
    suspicion = found.suspicion
    return {
        "open": block is None,
        "reason": block and block.reason.value,
        "message": block and block.message,
        "since": block and output.iso(block.at),
        "until": output.iso(block.until) if block and block.until else None,
        "opensWith": opens_with,
        "placesTaken": found.taken(now),
        "places": found.slots(now, version),
        "lostCalls": len(found.lost(now, version)),
        "suspicion": suspicion
        and {"orderId": suspicion.order_id, "code": suspicion.code, "since": output.iso(suspicion.at)},
    }


def _laid_out(document: dict[str, Any], block: Block | None) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("gate", "[green]open[/]" if block is None else "[bold red]closed[/]")
    if block is not None:
        grid.add_row("why", escape(f"{block.reason}: {block.message}"))
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
