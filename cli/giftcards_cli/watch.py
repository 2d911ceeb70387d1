"""``giftcards watch``: open orders and what becomes of them, as they move.

A look is two queries of the index of open orders and one read of the supplier gate, however many executions there are.
Orders that are gone from the index are read once, to tell how they ended.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from giftcards.adapters.order_table import OrderTable, UnreadableOrder
from giftcards.rules.gate import Block
from giftcards.rules.orders import Order, OrderStatus
from giftcards_cli import output
from giftcards_cli.arguments import StackName
from giftcards_cli.signals import end_on_signals
from giftcards_cli.stack import CommandError, Stack, aws_errors

SHOW_ENDED = timedelta(seconds=6)
"""How long an order that has ended stays on the screen."""
EMPTY_LOOKS = 2
"""So many looks in a row have to find nothing before nothing is open: what was just announced is claimed in between."""
WIDE_ENOUGH = 90
"""Columns of a terminal that has room for the user and the number of checks."""

ORDER_ID_LENGTH = 24
"""Characters of the supplier's order ids (supplier's documents)."""

Row = Order | UnreadableOrder


def watch(
    interval: Annotated[float, typer.Option("--interval", min=0.5, help="Seconds between two looks.")] = 2,
    until_empty: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--until-empty", help="End when two looks in a row find no open order.")
    ] = False,
    stack: StackName = "giftcards",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line for each change.")] = False,  # noqa: FBT002
) -> None:
    """Show open and held orders as they move, until Ctrl-C. In a pipe: one line for each change."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        orders = OpenOrders(deployed.orders, deployed.block)
    empty = 0
    try:
        end_on_signals()
        with _display(stack, as_json=as_json) as display:
            while True:
                try:
                    with aws_errors(stack):
                        view = orders.look(datetime.now(UTC))
                except CommandError as error:
                    display.failed(str(error))
                else:
                    display.show(view)
                    empty = 0 if view.open else empty + 1
                    if until_empty and empty >= EMPTY_LOOKS:
                        return
                _pause(interval)
    except KeyboardInterrupt:
        return


@dataclass(frozen=True)
class View:
    """What one look has found.

    Attributes
    ----------
    at
        When.
    open, ended
        Rows of open orders, and of those that have ended a moment ago.
    changed
        Those of both that are not as the last look found them.
    closing
        Why nobody may call the supplier; None where one may.
    gate_changed
        Whether this is news.
    """

    at: datetime
    open: tuple[Row, ...]
    ended: tuple[Row, ...]
    changed: tuple[Row, ...]
    block: Block | None
    gate_changed: bool

    @property
    def rows(self) -> list[Row]:
        """All rows in the order in which a person wants them: first what needs one, then the oldest claim."""

        def rank(row: Row) -> tuple[int, datetime]:
            if isinstance(row, UnreadableOrder):
                return 0, self.at
            return 1 if row.status is OrderStatus.HELD else 2, row.claimed_at

        return sorted((*self.open, *self.ended), key=rank)


class OpenOrders:
    """The open orders, look by look. A look that fails changes nothing.

    Parameters
    ----------
    orders
        Where they are.
    closing
        Says why nobody may call the supplier at a moment, or None.
    """

    def __init__(self, orders: OrderTable, block: Callable[[datetime], Block | None]) -> None:
        self._orders = orders
        self._block_at = block
        self._open: dict[str, Row] = {}
        self._ended: dict[str, tuple[Row, datetime]] = {}
        self._block: Block | None = None

    def look(self, now: datetime) -> View:
        """Look once."""
        ended = {order_id: end for order_id, end in self._ended.items() if now - end[1] < SHOW_ENDED}
        found = {
            row.order_id: row
            for status in (OrderStatus.HANDLING, OrderStatus.HELD)
            for row in self._orders.list_open(status)
            if row.order_id not in ended  # the index can be a moment behind
        }
        gone = [order_id for order_id in self._open if order_id not in found]
        changed: list[Row] = []
        for order_id, row in (self._orders.get_many(gone) if gone else {}).items():
            if isinstance(row, Order) and row.announced_at is None:
                found[order_id] = row  # it was held or taken up between the two queries
            else:
                ended[order_id] = (row, now)
                changed.append(row)
        block = self._block_at(now)
        changed += [row for order_id, row in found.items() if _moved(self._open.get(order_id), row)]
        view = View(
            at=now,
            open=tuple(found.values()),
            ended=tuple(row for row, _ in ended.values()),
            changed=tuple(changed),
            block=block,
            gate_changed=block != self._block,
        )
        self._open, self._ended, self._block = found, ended, block
        return view


def _moved(before: Row | None, now: Row) -> bool:
    if isinstance(before, Order) and isinstance(now, Order):
        return _state(before) != _state(now)
    return before != now


def _state(order: Order) -> tuple[object, ...]:
    return order.status, order.held_at, order.delayed_at, order.execution_arn


def _says(row: Row, block: Block | None, now: datetime) -> str:
    """Say what an open order waits for, or how it ended."""
    if isinstance(row, UnreadableOrder):
        return f"its row cannot be read: {', '.join(row.fields)}"
    if row.status is OrderStatus.HELD:
        held = "" if row.held_at is None else f" for {output.duration_text(now - row.held_at)}"
        return f"{row.held_reason}{held}"
    if row.announced_at is not None:
        return f"{row.fulfilled_quantity or 0} of {row.quantity} cards"
    if row.status.is_closed:
        return "its announcement"
    if row.execution_arn is None:
        return "an execution; it was swept"
    delayed = ", delayed" if row.delayed_at else ""
    return f"its next check{delayed}" if block is None else f"the gate: {block.reason}{delayed}"


def _age(order: Order, now: datetime) -> str:
    ended = order.delivered_at or order.refunded_at
    return output.duration_text((ended or now) - order.ordered_at)


class _Display(Protocol):
    def show(self, view: View) -> None: ...

    def failed(self, why: str) -> None: ...


@contextmanager
def _display(stack: str, *, as_json: bool) -> Iterator[_Display]:
    if as_json or not sys.stdout.isatty() or output.console.is_dumb_terminal:
        yield _JsonLines() if as_json else _Lines()
        return
    with Live(console=output.console, screen=True, auto_refresh=False) as live:
        yield _Screen(stack, live)


class _Lines:
    """One line for each change."""

    def __init__(self) -> None:
        self._failure = ""

    def show(self, view: View) -> None:
        if self._failure:
            self._failure = ""
            output.complain("the orders can be read again")
        if view.gate_changed:
            self._tell_gate(view)
        for row in view.changed:
            self._tell(row, view)
        sys.stdout.flush()

    def failed(self, why: str) -> None:
        if why != self._failure:
            output.complain(why)
        self._failure = why

    def _tell_gate(self, view: View) -> None:
        text = "open" if view.block is None else f"closed, {output.gate_text(view.block)}"
        sys.stdout.write(f"{output.clock(view.at)}  supplier gate {text}\n")

    def _tell(self, row: Row, view: View) -> None:
        cells = [output.clock(view.at), row.order_id]
        if isinstance(row, Order):
            checks = "" if row.checks is None else f", checked {row.checks}×"
            cells += [f"{row.user_id:<12}", f"{row.status:<16}", f"{_age(row, view.at):>6}"]
            cells.append(f"{_says(row, view.block, view.at)}{checks}")
        else:
            cells.append(_says(row, view.block, view.at))
        sys.stdout.write("  ".join(cells) + "\n")


class _JsonLines(_Lines):
    """One JSON document a line: an order as ``orders --json`` has it, or the gate."""

    def _tell_gate(self, view: View) -> None:
        gate = None
        if view.block is not None:
            until = None if view.block.until is None else output.iso(view.block.until)
            gate = {"reason": view.block.reason, "message": view.block.message, "until": until}
        self._write(view, {"gateClosed": gate})

    def _tell(self, row: Row, view: View) -> None:
        if isinstance(row, Order):
            self._write(view, {"isOpen": row.announced_at is None} | output.order_document(row))
        else:
            self._write(view, {"orderId": row.order_id, "unreadable": list(row.fields)})

    @staticmethod
    def _write(view: View, document: dict[str, object]) -> None:
        sys.stdout.write(json.dumps({"at": output.iso(view.at)} | document, ensure_ascii=False) + "\n")


class _Screen:
    """All open orders, those that need a person first, as many as there is room for."""

    def __init__(self, stack: str, live: Live) -> None:
        self._stack = stack
        self._live = live
        self._view: View | None = None

    def show(self, view: View) -> None:
        self._view = view
        self._live.update(self._laid_out(view, failure=""), refresh=True)

    def failed(self, why: str) -> None:
        view = self._view or View(datetime.now(UTC), (), (), (), None, gate_changed=False)
        self._live.update(self._laid_out(view, failure=why), refresh=True)

    def _laid_out(self, view: View, failure: str) -> RenderableType:
        size = output.console.size
        head = [_title(self._stack, view)]
        if failure:
            head.append(_one_line(f"as of {output.clock(view.at)}: {failure}", "bold red"))
        if view.block is not None:
            head.append(_one_line(f"the supplier gate is closed, {output.gate_text(view.block)}", "bold yellow"))
        rows = view.rows
        room = size.height - len(head) - 2  # the heading and what does not fit
        if not rows:
            return Group(*head, "", Text("no open orders", "dim"))
        table = orders_table(rows[:room], view, width=size.width)
        return Group(*head, table, _one_line(f"{len(rows) - room} more", "dim") if len(rows) > room else "")


def _one_line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _title(stack: str, view: View) -> Text:
    orders = [row for row in view.open if isinstance(row, Order)]
    held = sum(order.status is OrderStatus.HELD for order in orders)
    waiting = [order for order in orders if order.status is not OrderStatus.HELD]
    title = _one_line(f"{output.clock(view.at)}  {stack}  ", "bold")
    title.append(f"{len(waiting)} waiting", "yellow" if waiting else "")
    if waiting:
        title.append(f" (oldest {output.duration_text(view.at - min(order.ordered_at for order in waiting))})", "")
    title.append(", ")
    title.append(f"{held} held", "red" if held else "")
    return title


def orders_table(rows: list[Row], view: View, *, width: int) -> Table:
    """Lay rows out for a terminal of so many columns, one line for each."""
    is_wide = width >= WIDE_ENOUGH
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("ORDER", no_wrap=True, overflow="ellipsis", max_width=max(ORDER_ID_LENGTH, width // 3))
    if is_wide:
        table.add_column("USER", no_wrap=True, overflow="ellipsis", max_width=width // 6)
    table.add_column("STATUS", no_wrap=True)
    table.add_column("AGE", no_wrap=True, justify="right")
    if is_wide:
        table.add_column("CHECKS", no_wrap=True, justify="right")
    table.add_column("WAITS FOR", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        says = escape(_says(row, view.block, view.at))
        if isinstance(row, UnreadableOrder):
            cells = [escape(row.order_id), "", "[bold red]unreadable[/]", "", "", f"[bold red]{says}[/]"]
        else:
            checks = "" if row.checks is None else str(row.checks)
            if row.status is OrderStatus.HELD:
                says = f"[red]{says}[/]"
            elif row.announced_at is not None:
                says = f"[dim]{says}[/]"
            age = _age(row, view.at)
            cells = [escape(row.order_id), escape(row.user_id), output.status_text(row.status), age, checks, says]
        table.add_row(*(cells if is_wide else [*cells[:1], *cells[2:4], cells[5]]))
    return table


def _pause(seconds: float) -> None:
    time.sleep(seconds)
