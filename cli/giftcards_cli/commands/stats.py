"""``giftcards stats``: how recent orders ended, how long they took and what they cost."""

import re
import statistics
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from pydantic.alias_generators import to_camel
from rich.table import Table

from giftcards.adapters.order_table import UnreadableOrder
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import Order, time_to_delivery
from giftcards_cli import costs, output
from giftcards_cli.arguments import AsJson, StackName
from giftcards_cli.stack import CommandError, Stack, aws_errors, unreadable_orders
from giftcards_local import STACK_NAME

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def stats(
    since: Annotated[
        str,
        typer.Option("--since", metavar="AGE", help="How far to look back, in minutes, hours or days: 90m, 24h, 7d."),
    ] = "24h",
    stack: StackName = STACK_NAME,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Summarize recently closed and open orders: counts, time to delivery, supplier calls, cost.

    Reads the whole table, which takes some seconds per 10,000 orders.
    """
    start = _start(since, datetime.now(UTC))
    tally = Tally()
    with aws_errors(stack):
        tally.add(Stack.connect(stack).orders.list_since(start))
    if as_json:
        output.print_json(tally.document(start))
    else:
        output.console.print(_summary_table(tally, since, start), highlight=False)
    if tally.unreadable:
        raise unreadable_orders(tally.unreadable)


def _start(since: str, now: datetime) -> datetime:
    try:
        number, unit = re.fullmatch(r"([1-9][0-9]*)([mhd])", since).groups()  # type: ignore[union-attr]
        return now - timedelta(**{_UNITS[unit]: int(number)})
    except (AttributeError, OverflowError):
        raise CommandError(
            "--since must be a number of minutes, hours or days, for example 90m, 24h or 7d", exit_code=2
        ) from None


def percentiles(seconds: Iterable[float]) -> dict[str, float] | None:
    """Return the median, the 95th percentile and the maximum; None without values."""
    times = sorted(seconds)
    if not times:
        return None
    if len(times) == 1:  # quantiles() needs two values
        return dict.fromkeys(("p50", "p95", "max"), times[0])
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "max": times[-1]}


@dataclass
class Tally:
    """Running totals over a stream of orders. Memory grows by one number per delivered order.

    Attributes
    ----------
    reasons
        Number of held orders by reason.
    seconds
        Time from order to delivery, one value per delivered order.
    oldest
        When the oldest waiting order was placed.
    checks, supplier_calls, usage
        Totals over the closed orders whose row holds its number of checks.
    priced
        Number of these orders. Orders closed by an earlier release lack the number.
    """

    statuses: Counter[OrderStatus] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    oldest: datetime | None = None
    checks: int = 0
    supplier_calls: int = 0
    usage: Counter[str] = field(default_factory=Counter)
    priced: int = 0
    unreadable: list[UnreadableOrder] = field(default_factory=list)

    def add(self, rows: Iterable[Order | UnreadableOrder]) -> None:
        for row in rows:
            if isinstance(row, UnreadableOrder):
                self.unreadable.append(row)
            else:
                self._add(row)

    def _add(self, order: Order) -> None:
        self.statuses[order.status] += 1
        if order.status is OrderStatus.HANDLING:
            self.oldest = min(self.oldest or order.ordered_at, order.ordered_at)
        elif order.status is OrderStatus.HELD:
            self.reasons[str(order.held_reason)] += 1
        elif order.checks is not None:
            self.priced += 1
            self.checks += order.checks
            self.supplier_calls += costs.supplier_calls(order)
            self.usage.update(costs.usage(order))
        took = time_to_delivery(order)
        if took is not None:
            self.seconds.append(took.total_seconds())

    @property
    def closed(self) -> int:
        """Number of closed orders."""
        return sum(count for status, count in self.statuses.items() if status.is_final)

    @property
    def usd(self) -> float:
        """Cost of the ``priced`` orders."""
        return costs.prices().usd(self.usage)

    @property
    def usd_per_order(self) -> float | None:
        """Average cost of a ``priced`` order."""
        return self.usd / self.priced if self.priced else None

    def document(self, since: datetime) -> dict[str, Any]:
        """Return the totals as ``--json`` prints them."""
        prices = costs.prices()
        return {
            "since": timestamp(since),
            **{to_camel(word.replace(" ", "_")): self.statuses[status] for status, word in output.CLOSED_AS.items()},
            "waiting": self.statuses[OrderStatus.HANDLING],
            "waitingSince": None if self.oldest is None else timestamp(self.oldest),
            "held": self.statuses[OrderStatus.HELD],
            "heldByReason": dict(sorted(self.reasons.items())),
            "secondsToDelivery": percentiles(self.seconds),
            "supplierCalls": self.supplier_calls,
            "checks": self.checks,
            "usd": self.usd,
            "usdPerOrder": self.usd_per_order,
            "usage": dict(self.usage),
            "ordersPriced": self.priced,
            "pricesAsOf": prices.as_of,
            "pricesRegion": prices.region,
            "unreadable": [row.order_id for row in self.unreadable],
        }


def _summary_table(tally: Tally, since: str, start: datetime) -> Table:
    grid = Table.grid(padding=(0, 2))
    for style in ("dim", "", "dim"):
        grid.add_column(style=style)
    grid.columns[1].justify = "right"
    count = tally.statuses
    grid.add_row(f"closed in the last {since}", "[bold]orders[/]", f"since {output.clock(start)}")
    for status, word in output.CLOSED_AS.items():
        grid.add_row(f"  {word}", str(count[status]))
    grid.add_row("open now")
    oldest = "" if tally.oldest is None else f"oldest: {output.duration_text(datetime.now(UTC) - tally.oldest)}"
    grid.add_row("  waiting", str(count[OrderStatus.HANDLING]), oldest)
    why = ", ".join(f"{number} × {reason}" for reason, number in tally.reasons.most_common())
    held = str(count[OrderStatus.HELD])
    grid.add_row("  held", f"[bold red]{held}[/]" if tally.reasons else held, why)
    times = percentiles(tally.seconds)
    if times is not None:
        grid.add_row("placed to delivered", "[bold]seconds[/]")
        for name, word in (("p50", "50 % within"), ("p95", "95 % within"), ("max", "longest")):
            grid.add_row(f"  {name}", f"{times[name]:.1f}", word)
    if tally.usd_per_order is not None:
        prices = costs.prices()
        each = f"{tally.supplier_calls / tally.priced:.1f} per order: {tally.checks} checks, {tally.priced} deliveries"
        grid.add_row("supplier calls", str(tally.supplier_calls), each)
        grid.add_row("cost", f"{tally.usd:.4f}", f"USD, at the list prices of {prices.region} on {prices.as_of}")
        grid.add_row("  per million orders", f"{tally.usd_per_order * 1e6:.0f}", "USD")
    if tally.closed > tally.priced:
        grid.add_row(
            "  not included", str(tally.closed - tally.priced), "closed by an earlier release, number of checks unknown"
        )
    return grid
