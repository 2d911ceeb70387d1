"""Output for people (Rich tables) and for programs (one JSON document and nothing else)."""

import codecs
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.gate import Block
from giftcards.rules.links import Link
from giftcards.rules.mails import Mail
from giftcards.rules.orders import Acceptance, Order

_PIPE_WIDTH = 200
# No emoji codes: ":100:" can be part of a card. In a pipe, lines are wide enough not to wrap.
console = Console(emoji=False, width=None if sys.stdout and sys.stdout.isatty() else _PIPE_WIDTH)
_PLAIN = {"✔": "ok", "✗": "x", "×": "x", "…": "...", "–": "-"}
"""Replacements for characters in our messages; Rich replaces the borders of tables."""
STYLES = {
    OrderStatus.HANDLING: "yellow",
    OrderStatus.FULFILLED: "green",
    OrderStatus.PARTIALLY_FILLED: "cyan",
    OrderStatus.REFUNDED: "blue",
    OrderStatus.HELD: "bold red",
}
CLOSED_AS = {
    OrderStatus.FULFILLED: "delivered",
    OrderStatus.PARTIALLY_FILLED: "partially delivered",
    OrderStatus.REFUNDED: "refunded",
}
"""What people call a final status."""
_TIMELINE = (
    ("placed_at", "placed by the shop", "placed by the shop"),
    ("swept_at", "found without an execution", "found without an execution, released by SweepOrders"),
    ("claimed_at", "claimed", "claimed"),
    ("delayed_at", "announced as delayed", "OrderDelayed published"),
    ("held_at", "held", "held"),
    ("delivered_at", "delivered", "delivered"),
    ("refunded_at", "refunded", "refunded"),
    ("announced_at", "announced", "outcome published"),
)
"""Attribute; value in JSON documents, which programs rely on; text for people."""


def prepare_streams() -> None:
    """Print characters that the terminal cannot show as escape sequences, instead of failing.

    A card can contain any character. When it is printed, it is decrypted already and the audit record is written.
    """
    codecs.register_error("giftcards", _replace)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell: `giftcards … >&-`
            setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="giftcards")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeEncodeError) and error.object[error.start] in _PLAIN:
        return _PLAIN[error.object[error.start]], error.start + 1
    return codecs.backslashreplace_errors(error)  # type: ignore[return-value] # a str when encoding


def flush() -> None:
    """Flush stdout while a failure can still be reported."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):  # otherwise Python reports the same failure again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def print_json(document: object) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    # JSON escapes where the terminal cannot show a character: any other escape would break the JSON.
    sys.stdout.write((text if _is_encodable(text) else json.dumps(document, indent=2)) + "\n")


def say(text: str) -> None:
    """Print text as it is: no markup, no highlighting, no wrapping."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_error(message: str) -> None:
    """Print a message on one line to stderr."""
    sys.stderr.write(f"giftcards: {' '.join(message.split())}\n")


def order_document(order: Order) -> dict[str, Any]:
    """Return an order as ``--json`` prints it: every field, null where it has no value yet."""
    document: dict[str, Any] = order.model_dump(mode="json", by_alias=True)
    return document | {
        name: None if document[name] is None else float(document[name]) for name in ("fulfilledAmount", "pricePerCard")
    }


def timeline(order: Order) -> list[dict[str, str]]:
    """Return what happened to an order, oldest first, as ``--json`` prints it."""
    return [{"at": timestamp(at), "what": what} for at, what, _ in _moments(order)]


def mail_document(mail: Mail | None, links: Sequence[Link]) -> dict[str, Any] | None:
    """Return the state of an order's mail as ``--json`` prints it; None if the shop has named no recipient.

    Parameters
    ----------
    links
        The order's links, one of which knows whether its mail has bounced.
    """
    if mail is None:
        return None
    bounce = next((link.mail_bounce for link in links if link.link_id == mail.link_id), None)
    due_at = None if mail.delivery_id is None else mail.due_at  # before the delivery, it is the end of the retention
    if mail.failure is not None:
        state = "FAILED"
    elif mail.sent_at is not None:
        state = "SENT" if bounce is None else "BOUNCED"
    elif due_at is not None:
        state = "DUE"
    elif mail.recipient_at is not None:
        state = "WAITING_FOR_DELIVERY"
    else:
        return None
    times = {"recipientAt": mail.recipient_at, "dueAt": due_at, "sentAt": mail.sent_at}
    return {
        "state": state,
        "attempts": mail.attempts,
        **{name: None if at is None else timestamp(at) for name, at in times.items()},
        "linkId": mail.link_id,
        "failure": mail.failure,
        "bounce": bounce,
    }


def _buyer_rows(links: Sequence[Mapping[str, Any]], mail: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return [*([] if mail is None else [("mail", _mail_text(mail))]), *(("link", _link_text(link)) for link in links)]


def _mail_text(mail: Mapping[str, Any]) -> str:
    match mail["state"]:
        case "FAILED":
            return f"[red]failed: {mail['failure']}[/]"
        case "SENT":
            return f"sent {mail['sentAt']}, link {mail['linkId']}"
        case "BOUNCED":
            return f"[red]bounced: {mail['bounce']}[/] (sent {mail['sentAt']}, link {mail['linkId']})"
        case "DUE":
            return f"due since {mail['dueAt']}, attempts: {mail['attempts']}"
        case _:
            return "waits for the delivery"


def _link_text(link: Mapping[str, Any]) -> str:
    used = f"used {link['uses']} of {link['maxUses']} times"
    text = f"{link['linkId']}  {link['channel']}  {link['state']}, {used}, until {link['expiresAt']}"
    return escape(text)


def _moments(order: Order) -> list[tuple[datetime, str, str]]:
    moments = [(getattr(order, name), what, text) for name, what, text in _TIMELINE if getattr(order, name) is not None]
    return sorted(moments, key=lambda moment: moment[0])


def block_text(block: Block) -> str:
    """Return why calls to the supplier are blocked, and until when."""
    until = "" if block.until is None else f" (until {block.until:%Y-%m-%d %H:%M:%S} UTC)"
    return f"{block.reason}: {block.message}{until}"


def duration_text(span: timedelta) -> str:
    """Format a duration by its two largest units: 12s, 4m12s, 3h05m, 2d04h."""
    seconds = max(0, int(span.total_seconds()))
    for size, unit, smaller, smaller_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // smaller:02d}{smaller_unit}"
    return f"{seconds}s"


def status_text(status: OrderStatus) -> str:
    return f"[{STYLES[status]}]{status}[/]"


def orders_table(orders: list[Order]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("ORDER", "USER", "STATUS", "CARDS", "CLAIMED", "NOTE"):
        table.add_column(column, overflow="fold", no_wrap=column in {"ORDER", "STATUS", "CARDS", "CLAIMED"})
    for order in orders:
        cards = "-" if order.quantity is None else f"{order.fulfilled_quantity or 0}/{order.quantity}"
        note = str(order.held_reason or ("delayed" if order.delayed_at and not order.status.is_final else ""))
        table.add_row(
            escape(order.order_id),
            escape(order.user_id),
            status_text(order.status),
            cards,
            clock(order.claimed_at),
            note,
        )
    return table


def show_order(
    order: Order, waiting_for: str | None, links: Sequence[Mapping[str, Any]], mail: Mapping[str, Any] | None
) -> None:
    """Print one order: status, counts, what it waits for, mail, links, timeline. Never cards."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("order", escape(order.order_id))
    grid.add_row("user", escape(order.user_id))
    grid.add_row("status", status_text(order.status))
    if waiting_for is not None:
        grid.add_row("waits for", f"[yellow]{escape(waiting_for)}[/]")
    if order.held_reason is not None:
        grid.add_row("held", escape(f"{order.held_reason}: {order.held_message}"))
    if order.quantity is not None:
        grid.add_row("cards", f"{order.fulfilled_quantity or 0} of {order.quantity}")
    if order.checks is not None:
        grid.add_row("checks", str(order.checks))
    if order.fulfilled_amount is not None and order.status.is_delivered:
        price = "" if order.price_per_card is None else f" ({order.price_per_card} per card)"
        grid.add_row("amount", f"{order.fulfilled_amount} DZD{price}")
    if order.accept_cards is not None:
        grid.add_row("accepted", escape(_acceptance_text(order.accept_cards)))
    if order.delivery_id is not None:
        grid.add_row("delivery", order.delivery_id)
    for name, text in _buyer_rows(links, mail):
        grid.add_row(name, text)
    grid.add_row("execution", escape(order.execution_arn or "none; released by SweepOrders"))
    for at, _, text in _moments(order):
        grid.add_row(timestamp(at), text)
    console.print(grid)


def _acceptance_text(acceptance: Acceptance) -> str:
    return f"{acceptance.cards} cards, by {acceptance.by}: {acceptance.reason}"


def print_cards(cards: list[dict[str, Any]]) -> None:
    """Print one card per line, never cut or wrapped; a value that the terminal cannot show is printed as JSON."""
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


def clock(at: datetime) -> str:
    """Format a time in this machine's time zone."""
    return at.astimezone().strftime("%m-%d %H:%M:%S")
