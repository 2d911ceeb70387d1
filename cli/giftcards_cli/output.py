"""What a person or a program sees of orders: Rich tables, or one JSON document and nothing else."""

import codecs
import io
import json
import os
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from giftcards.rules.gate import Block
from giftcards.rules.orders import Acceptance, Order, OrderStatus

_PIPE_WIDTH = 200
# Emoji codes stay what they are: ":100:" can be part of a card. A program that reads the output gets whole lines.
console = Console(emoji=False, width=None if sys.stdout and sys.stdout.isatty() else _PIPE_WIDTH)
_PLAIN = {"✔": "ok", "✗": "x", "×": "x", "…": "...", "–": "-"}
"""What this program itself prints and a terminal may not have; the frames of tables are Rich's affair."""
STYLES = {
    OrderStatus.HANDLING: "yellow",
    OrderStatus.FULFILLED: "green",
    OrderStatus.PARTIALLY_FILLED: "cyan",
    OrderStatus.REFUNDED: "blue",
    OrderStatus.HELD: "bold red",
}
_TIMELINE = (
    ("placed_at", "placed by the shop"),
    ("swept_at", "found without an execution"),
    ("claimed_at", "claimed"),
    ("delayed_at", "announced as delayed"),
    ("held_at", "held"),
    ("delivered_at", "delivered"),
    ("refunded_at", "refunded"),
    ("announced_at", "announced"),
)


def prepare_streams() -> None:
    """Print what the terminal has no character for in another way, instead of failing.

    A card may have any character, and when it is printed it has been decrypted and the audit record written.
    """
    codecs.register_error("giftcards", _replace)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: `giftcards … >&-`
            setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="giftcards")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeEncodeError) and error.object[error.start] in _PLAIN:
        return _PLAIN[error.object[error.start]], error.start + 1
    return codecs.backslashreplace_errors(error)  # type: ignore[return-value] # str for what is encoded


def flush() -> None:
    """Write what is buffered, as long as a failure can still be told."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):  # or Python complains of the same when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def print_json(document: object) -> None:
    """Write one JSON document to stdout."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    # An escape of JSON, where the terminal lacks a character; no other escape would be JSON.
    sys.stdout.write((text if _is_encodable(text) else json.dumps(document, indent=2)) + "\n")


def complain(message: str) -> None:
    """Write one line to stderr."""
    sys.stderr.write(f"giftcards: {' '.join(message.split())}\n")


def order_document(order: Order) -> dict[str, Any]:
    """Return an order as JSON shows it: every field, null where it has none yet."""
    document: dict[str, Any] = order.model_dump(mode="json", by_alias=True)
    return document | {
        name: None if document[name] is None else float(document[name]) for name in ("fulfilledAmount", "pricePerCard")
    }


def timeline(order: Order) -> list[dict[str, str]]:
    """Return what happened to an order, oldest first."""
    moments = [(getattr(order, name), what) for name, what in _TIMELINE if getattr(order, name) is not None]
    return [{"at": iso(at), "what": what} for at, what in sorted(moments, key=lambda moment: moment[0])]


def gate_text(block: Block) -> str:
    """Say why nobody may call the supplier, and until when."""
    until = "" if block.until is None else f" (until {block.until:%Y-%m-%d %H:%M:%S} UTC)"
    return f"{block.reason}: {block.message}{until}"


def duration_text(span: timedelta) -> str:
    """Write a span of time with its two largest units: 12s, 4m12s, 3h05m, 2d04h."""
    seconds = max(0, int(span.total_seconds()))
    for size, unit, smaller, smaller_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // smaller:02d}{smaller_unit}"
    return f"{seconds}s"


def status_text(status: OrderStatus) -> str:
    """Return a status in its colour."""
    return f"[{STYLES[status]}]{status}[/]"


def orders_table(orders: list[Order]) -> Table:
    """Lay orders out as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("ORDER", "USER", "STATUS", "CARDS", "CLAIMED", "NOTE"):
        table.add_column(column, overflow="fold", no_wrap=column in {"ORDER", "STATUS", "CARDS", "CLAIMED"})
    for order in orders:
        cards = "-" if order.quantity is None else f"{order.fulfilled_quantity or 0}/{order.quantity}"
        note = str(order.held_reason or ("delayed" if order.delayed_at and not order.status.is_closed else ""))
        table.add_row(
            escape(order.order_id),
            escape(order.user_id),
            status_text(order.status),
            cards,
            clock(order.claimed_at),
            note,
        )
    return table


def show(order: Order, waiting_for: str | None) -> None:
    """Print one order: state, counts, what it waits for, timeline. No cards."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("order", escape(order.order_id))
    grid.add_row("user", escape(order.user_id))
    grid.add_row("status", status_text(order.status))
    if waiting_for is not None:
        grid.add_row("waits", f"[yellow]{escape(waiting_for)}[/]")
    if order.held_reason is not None:
        grid.add_row("held", escape(f"{order.held_reason}: {order.held_message}"))
    if order.quantity is not None:
        grid.add_row("cards", f"{order.fulfilled_quantity or 0} of {order.quantity}")
    if order.checks is not None:
        grid.add_row("checks", str(order.checks))
    if order.fulfilled_amount is not None and order.status.is_delivered:
        price = "" if order.price_per_card is None else f" ({order.price_per_card} a card)"
        grid.add_row("amount", f"{order.fulfilled_amount} DZD{price}")
    if order.accept_cards is not None:
        grid.add_row("accepted", escape(_acceptance_text(order.accept_cards)))
    if order.delivery_id is not None:
        grid.add_row("delivery", order.delivery_id)
    grid.add_row("execution", escape(order.execution_arn or "none; SweepOrders has released the order"))
    for moment in timeline(order):
        grid.add_row(moment["at"], moment["what"])
    console.print(grid)


def _acceptance_text(acceptance: Acceptance) -> str:
    return f"{acceptance.cards} cards, by {acceptance.by}: {acceptance.reason}"


def print_cards(cards: list[dict[str, Any]]) -> None:
    """Print cards one a line, never cut or folded; what cannot be printed as it is, as JSON would write it."""
    rows = [("#", "VALUE", "SERIAL")]
    rows += [(str(card["index"]), _printable(card["value"]), _printable(card["serial"] or "")) for card in cards]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _printable(secret: str) -> str:
    return secret if secret.isprintable() and _is_encodable(secret) else json.dumps(secret)


def _is_encodable(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def iso(at: datetime) -> str:
    """Write a moment as JSON has it."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at: datetime) -> str:
    """Write a moment in this machine's time."""
    return at.astimezone().strftime("%m-%d %H:%M:%S")
