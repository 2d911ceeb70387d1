"""``giftcards watch``: follow open orders until they end.

Each poll makes two queries of the index of open orders and one read of the supplier gate, regardless of the number of
executions. An order that has left the index is read once more, to show how it ended.
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
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.gate import Block
from giftcards.rules.orders import Order
from giftcards_cli import output
from giftcards_cli.arguments import StackName
from giftcards_cli.signals import end_on_signals
from giftcards_cli.stack import CommandError, Stack, aws_errors
from giftcards_local import STACK_NAME

SHOW_ENDED = timedelta(seconds=6)
"""How long an order stays on the screen after it has ended."""
EMPTY_POLLS = 2
"""Empty polls in a row before ``--until-empty`` ends: a new OrderPlaced takes a moment to be claimed."""
WIDE_COLUMNS = 90
"""Terminal width from which the user and the number of checks are shown."""
ORDER_ID_LENGTH = 24
"""Of the ids in the supplier's documentation: https://docs.oneclickdz.com/en/api-reference/gift-cards/check-order"""

Row = Order | UnreadableOrder


def watch(
    interval: Annotated[float, typer.Option("--interval", min=0.5, help="Seconds between two polls.")] = 2,
    until_empty: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--until-empty", help="Exit when two polls in a row find no open order.")
    ] = False,
    stack: StackName = STACK_NAME,
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print each change as one JSON document on one line.")
    ] = False,
) -> None:
    """Follow open and held orders until Ctrl-C. In a pipe, print one line for each change."""
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
                        view = orders.poll(datetime.now(UTC))
                except CommandError as error:
                    display.show_failure(str(error))
                else:
                    display.show(view)
                    empty = 0 if view.open else empty + 1
                    if until_empty and empty >= EMPTY_POLLS:
                        return
                _pause(interval)
    except KeyboardInterrupt:
        return


@dataclass(frozen=True)
class View:
    """The result of one poll.

    Attributes
    ----------
    ended
        Orders that ended within the last ``SHOW_ENDED``.
    changed
        The rows of both that differ from the previous poll.
    block
        Why calls to the supplier are blocked; None if they are not.
    gate_changed
        Whether ``block`` differs from the previous poll.
    """

    at: datetime
    open: tuple[Row, ...]
    ended: tuple[Row, ...]
    changed: tuple[Row, ...]
    block: Block | None
    gate_changed: bool

    @property
    def rows(self) -> list[Row]:
        """All rows, those that need a person first, then by time of claim."""

        def rank(row: Row) -> tuple[int, datetime]:
            if isinstance(row, UnreadableOrder):
                return 0, self.at
            return 1 if row.status is OrderStatus.HELD else 2, row.claimed_at

        return sorted((*self.open, *self.ended), key=rank)


class OpenOrders:
    """Polls the open orders and reports what changed. A failed poll changes nothing.

    Parameters
    ----------
    block
        Returns why calls to the supplier are blocked at a given time; None if they are not.
    """

    def __init__(self, orders: OrderTable, block: Callable[[datetime], Block | None]) -> None:
        self._orders = orders
        self._block_at = block
        self._open: dict[str, Row] = {}
        self._ended: dict[str, tuple[Row, datetime]] = {}
        self._block: Block | None = None

    def poll(self, now: datetime) -> View:
        ended = {order_id: end for order_id, end in self._ended.items() if now - end[1] < SHOW_ENDED}
        opened = {
            row.order_id: row
            for status in (OrderStatus.HANDLING, OrderStatus.HELD)
            for row in self._orders.list_open(status)
            if row.order_id not in ended  # the index is eventually consistent
        }
        gone = [order_id for order_id in self._open if order_id not in opened]
        changed: list[Row] = []
        for order_id, row in (self._orders.get_many(gone) if gone else {}).items():
            if isinstance(row, Order) and row.announced_at is None:
                opened[order_id] = row  # it was held or resumed between the two queries
            else:
                ended[order_id] = (row, now)
                changed.append(row)
        block = self._block_at(now)
        changed += [row for order_id, row in opened.items() if _is_changed(self._open.get(order_id), row)]
        view = View(
            at=now,
            open=tuple(opened.values()),
            ended=tuple(row for row, _ in ended.values()),
            changed=tuple(changed),
            block=block,
            gate_changed=block != self._block,
        )
        self._open, self._ended, self._block = opened, ended, block
        return view


def _is_changed(before: Row | None, now: Row) -> bool:
    if isinstance(before, Order) and isinstance(now, Order):
        return _state(before) != _state(now)
    return before != now


def _state(order: Order) -> tuple[object, ...]:
    return order.status, order.held_at, order.delayed_at, order.execution_arn


def _waits_for(row: Row, block: Block | None, now: datetime) -> str:
    """Return what an open order waits for, or how it ended."""
    if isinstance(row, UnreadableOrder):
        return f"its row is invalid: {', '.join(row.fields)}"
    if row.status is OrderStatus.HELD:
        held = "" if row.held_at is None else f" for {output.duration_text(now - row.held_at)}"
        return f"{row.held_reason}{held}"
    if row.announced_at is not None:
        return f"{row.fulfilled_quantity or 0} of {row.quantity} cards"
    if row.status.is_final:
        return "its event"
    if row.execution_arn is None:
        return "an execution; released by SweepOrders"
    delayed = ", delayed" if row.delayed_at else ""
    return f"the next check{delayed}" if block is None else f"the supplier gate: {block.reason}{delayed}"


def _age(order: Order, now: datetime) -> str:
    ended = order.delivered_at or order.refunded_at
    return output.duration_text((ended or now) - order.ordered_at)


class _Display(Protocol):
    def show(self, view: View) -> None: ...

    def show_failure(self, why: str) -> None: ...


@contextmanager
def _display(stack: str, *, as_json: bool) -> Iterator[_Display]:
    if as_json or not sys.stdout.isatty() or output.console.is_dumb_terminal:
        yield _JsonLines() if as_json else _Lines()
        return
    with Live(console=output.console, screen=True, auto_refresh=False) as live:
        yield _Screen(stack, live)


class _Lines:
    """Prints one line per change."""

    def __init__(self) -> None:
        self._failure = ""

    def show(self, view: View) -> None:
        if self._failure:
            self._failure = ""
            output.print_error("the orders can be read again")
        if view.gate_changed:
            self._print_gate(view)
        for row in view.changed:
            self._print_row(row, view)
        sys.stdout.flush()

    def show_failure(self, why: str) -> None:
        if why != self._failure:
            output.print_error(why)
        self._failure = why

    def _print_gate(self, view: View) -> None:
        text = "unblocked" if view.block is None else f"blocked, {output.block_text(view.block)}"
        sys.stdout.write(f"{output.clock(view.at)}  supplier gate {text}\n")

    def _print_row(self, row: Row, view: View) -> None:
        cells = [output.clock(view.at), row.order_id]
        if isinstance(row, Order):
            checks = "" if row.checks is None else f", checked {row.checks}×"
            cells += [f"{row.user_id:<12}", f"{row.status:<16}", f"{_age(row, view.at):>6}"]
            cells.append(f"{_waits_for(row, view.block, view.at)}{checks}")
        else:
            cells.append(_waits_for(row, view.block, view.at))
        sys.stdout.write("  ".join(cells) + "\n")


class _JsonLines(_Lines):
    """Prints one JSON document per line: an order as ``orders --json`` prints it, or the gate."""

    def _print_gate(self, view: View) -> None:
        gate = None
        if view.block is not None:
            until = None if view.block.until is None else timestamp(view.block.until)
            gate = {"reason": view.block.reason, "message": view.block.message, "until": until}
        self._write(view, {"gateClosed": gate})

    def _print_row(self, row: Row, view: View) -> None:
        if isinstance(row, Order):
            self._write(view, {"isOpen": row.announced_at is None} | output.order_document(row))
        else:
            self._write(view, {"orderId": row.order_id, "unreadable": list(row.fields)})

    @staticmethod
    def _write(view: View, document: dict[str, object]) -> None:
        sys.stdout.write(json.dumps({"at": timestamp(view.at)} | document, ensure_ascii=False) + "\n")


class _Screen:
    """Shows as many open orders as fit, those that need a person first."""

    def __init__(self, stack: str, live: Live) -> None:
        self._stack = stack
        self._live = live
        self._view: View | None = None

    def show(self, view: View) -> None:
        self._view = view
        self._live.update(self._layout(view, failure=""), refresh=True)

    def show_failure(self, why: str) -> None:
        view = self._view or View(datetime.now(UTC), (), (), (), None, gate_changed=False)
        self._live.update(self._layout(view, failure=why), refresh=True)

    def _layout(self, view: View, failure: str) -> RenderableType:
        size = output.console.size
        head = [_title(self._stack, view)]
        if failure:
            head.append(_one_line(f"not updated since {output.clock(view.at)}: {failure}", "bold red"))
        if view.block is not None:
            head.append(_one_line(f"the supplier gate is blocked, {output.block_text(view.block)}", "bold yellow"))
        rows = view.rows
        room = size.height - len(head) - 2  # the header and the "… more" line
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
    """Lay out rows for a terminal of a given width, one line each."""
    is_wide = width >= WIDE_COLUMNS
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
        waits_for = escape(_waits_for(row, view.block, view.at))
        if isinstance(row, UnreadableOrder):
            cells = [escape(row.order_id), "", "[bold red]unreadable[/]", "", "", f"[bold red]{waits_for}[/]"]
        else:
            checks = "" if row.checks is None else str(row.checks)
            if row.status is OrderStatus.HELD:
                waits_for = f"[red]{waits_for}[/]"
            elif row.announced_at is not None:
                waits_for = f"[dim]{waits_for}[/]"
            age = _age(row, view.at)
            cells = [escape(row.order_id), escape(row.user_id), output.status_text(row.status), age, checks, waits_for]
        table.add_row(*(cells if is_wide else [*cells[:1], *cells[2:4], cells[5]]))
    return table


def _pause(seconds: float) -> None:
    time.sleep(seconds)
