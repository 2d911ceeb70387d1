"""``giftcards gate``: the state of the supplier gate; end a pause."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from giftcards.adapters.timestamps import timestamp
from giftcards.rules.gate import Block, Gate, Lease
from giftcards_cli import output
from giftcards_cli.arguments import AsJson, StackName
from giftcards_cli.stack import CommandError, Stack, aws_errors
from giftcards_local import STACK_NAME


def gate(
    unblock: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--open", help="End a pause now. After a refused key, only a new key unblocks the gate.")
    ] = False,
    stack: StackName = STACK_NAME,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Show whether calls to the supplier are blocked, why, since when and until when."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        now, version, state = datetime.now(UTC), deployed.api_key_version(), deployed.gate.read()
        block = state.block(now, version)
        if unblock and block is not None:
            _unblock(deployed, state, block, state.lost(now, version))
            state = deployed.gate.read()
            block = state.block(now, version)
    document = _document(state, block, now, version)
    if as_json:
        output.print_json(document)
    else:
        output.console.print(_layout(document, block))


def _unblock(deployed: Stack, state: Gate, block: Block, lost: dict[int, Lease]) -> None:
    if not block.is_pause:
        raise CommandError(
            f"{block.reason}: nothing was changed; only a new version of the supplier's API key in its secret "
            "unblocks the gate"
        )
    if not deployed.gate.forget_pause(state, lost):
        raise CommandError("calls were blocked again at this moment; `giftcards gate` shows why")


def _document(state: Gate, block: Block | None, now: datetime, version: str | None) -> dict[str, Any]:
    opens_with = None if block is None else ("TIME" if block.is_pause else "NEW_KEY_VERSION")
    suspicion = state.suspicion
    return {
        "open": block is None,
        "reason": block and block.reason.value,
        "message": block and block.message,
        "since": block and timestamp(block.at),
        "until": timestamp(block.until) if block and block.until else None,
        "opensWith": opens_with,
        "placesTaken": state.taken(now),
        "places": state.slots(now, version),
        "lostCalls": len(state.lost(now, version)),
        "suspicion": suspicion
        and {"orderId": suspicion.order_id, "code": suspicion.code, "since": timestamp(suspicion.at)},
    }


def _layout(document: dict[str, Any], block: Block | None) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("gate", "[green]unblocked[/]" if block is None else "[bold red]blocked[/]")
    if block is not None:
        grid.add_row("why", escape(f"{block.reason}: {block.message}"))
        grid.add_row("since", document["since"])
        grid.add_row("until", document["until"] or "the API key's secret has a new version")
    grid.add_row("slots", f"{document['placesTaken']} of {document['places']} in use")
    if document["lostCalls"]:
        grid.add_row("lost", f"{document['lostCalls']} calls ended without a recorded result; see the functions' logs")
    if document["suspicion"]:
        refused = "order {orderId} is refused with {code} since {since}; no call has succeeded since".format(
            **document["suspicion"]
        )
        grid.add_row("suspicion", escape(refused))
    return grid
