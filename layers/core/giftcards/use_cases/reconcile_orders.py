"""ReconcileOrders: compare the supplier's list with our orders, and announce each difference once.

Every part of it can be done again. A difference is written down after the bus has its event, so a run that breaks
off in between announces it again, and never leaves one out. A run that could not see all of the list says so.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from giftcards.adapters.discrepancy_table import DifferenceTable
from giftcards.adapters.event_bus import EventBus, EventNotPublishedError
from giftcards.adapters.order_table import OrdersNotReadError, OrderTable, UnreadableOrder
from giftcards.contracts.base import Contract
from giftcards.contracts.supplier import OrderPage
from giftcards.contracts.workflow import Level
from giftcards.metrics import Metric
from giftcards.rules.discrepancies import Discrepancy, DiscrepancyKind, compare, event_for, unreadable_row
from giftcards.rules.schedule import queue_wait_seconds
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure
from giftcards.use_cases.gated_supplier import GatedSupplier

MAX_PAGES = 200
"""20,000 orders, which is more than the function's time-out leaves time for."""
STOPS_BEFORE = timedelta(seconds=30)
"""How long before the function's time-out a run stops: longer than a page may take to come and to be compared."""
LISTED_AT_MOST = 1_000
"""Differences in an answer, which must not grow beyond what Lambda returns (6 MB). All are counted and announced."""

_METRICS = {
    DiscrepancyKind.UNCLAIMED: Metric.ORDER_UNCLAIMED,
    DiscrepancyKind.OVERDUE: Metric.ORDER_OVERDUE,
    DiscrepancyKind.MISMATCH: Metric.ORDER_MISMATCH,
}
_OUT_OF_TIME = "The time was over before the end of the supplier's list."

Day = Annotated[date, Field(ge=date(2000, 1, 1))]


class EmptyWindowError(ValueError):
    """No order can have been placed in the window that was asked for. The text is one clear line."""


@dataclass(frozen=True)
class Window:
    """A span of time in which orders were placed.

    Attributes
    ----------
    placed_from, placed_to
        Its ends. The later one is fixed when a run begins: what is placed meanwhile is for the next run.
    """

    placed_from: datetime
    placed_to: datetime


class ReconcileRequest(Contract):
    """What ReconcileOrders is called with: the first and the last day, in UTC. Without, yesterday and today."""

    first_day: Day | None = Field(default=None, alias="from")
    last_day: Day | None = Field(default=None, alias="to")

    def window(self, now: datetime) -> Window:
        """Say which orders to look at: without a first day, those of the last one and of the day before it.

        Raises
        ------
        EmptyWindowError
            If the window ends before it begins, or begins in the future.
        """
        today = now.astimezone(UTC).date()
        last = min(self.last_day or today, today)
        first = self.first_day or last - timedelta(days=1)
        if first > today:
            raise EmptyWindowError(f"the first day {first} is in the future")
        if first > last:
            raise EmptyWindowError(f"the first day {first} is after the last day {last}")
        end_of_last = datetime.combine(last + timedelta(days=1), time(), UTC)
        return Window(datetime.combine(first, time(), UTC), min(now, end_of_last))


class ReconciliationOutcome(StrEnum):
    """What a run comes to."""

    COMPLETE = "COMPLETE"
    """The whole list was compared, whatever was found."""
    SUPPLIER_UNAVAILABLE = "SUPPLIER_UNAVAILABLE"
    """The supplier gave no answer, or may not be called now."""
    KEY_REFUSED = "KEY_REFUSED"
    """The supplier refuses the key, and this run was the one that presented it."""
    SUPPLIER_CONTRACT_BROKEN = "SUPPLIER_CONTRACT_BROKEN"
    """A page of the list contradicts the supplier's documents, or orders on it have no readable id: orders could be
    missed without a word."""
    INCOMPLETE = "INCOMPLETE"
    """Too many pages or too little time, or DynamoDB or EventBridge did not take part."""


_OUTCOMES = {
    FailureKind.KEY_REFUSED: ReconciliationOutcome.KEY_REFUSED,
    FailureKind.CONTRACT_BROKEN: ReconciliationOutcome.SUPPLIER_CONTRACT_BROKEN,
}


class FoundDiscrepancy(Discrepancy):
    """A difference that a run has found."""

    is_new: bool = Field(description="Whether this run has announced it; if not, an earlier one has")


class ReconciliationReport(Contract):
    """What ReconcileOrders answers."""

    outcome: ReconciliationOutcome
    message: str = Field(description="One sentence for a person; never text from the supplier's answer")
    placed_from: AwareDatetime
    placed_to: AwareDatetime
    pages: int = Field(description="Pages of the supplier's list that were compared")
    orders: int = Field(description="Orders that were compared")
    differences_found: int
    new_differences: dict[DiscrepancyKind, int] = Field(description="By kind, how many this run has announced")
    differences: tuple[FoundDiscrepancy, ...] = Field(description=f"What was found, the first {LISTED_AT_MOST} of it")

    @property
    def is_complete(self) -> bool:
        """Whether the whole list was compared."""
        return self.outcome is ReconciliationOutcome.COMPLETE

    @property
    def level(self) -> Level:
        """How loud its line in the log is."""
        return "INFO" if self.is_complete else "WARNING"

    @property
    def metrics(self) -> dict[Metric, int]:
        """What is measured of a run, also where it is 0."""
        counts = {metric: self.new_differences[kind] for kind, metric in _METRICS.items()}
        return counts | {
            Metric.RECONCILIATION_DIFFERENCE: sum(counts.values()),
            Metric.ORDERS_RECONCILED: self.orders,
            Metric.RECONCILIATION_INCOMPLETE: int(not self.is_complete),
        }


@dataclass
class _Run:
    """What a run has seen so far."""

    pages: int = 0
    seen: set[str | None] = field(default_factory=set)
    orders: int = 0
    unidentified: int = 0
    found: int = 0
    new: Counter[DiscrepancyKind] = field(default_factory=Counter)
    listed: list[FoundDiscrepancy] = field(default_factory=list)

    def is_first(self, order_id: str | None) -> bool:
        """Say whether this order is met for the first time: while orders come in, pages shift and overlap."""
        is_first = order_id not in self.seen
        self.seen.add(order_id)
        return is_first

    def add(self, difference: Discrepancy, *, is_new: bool) -> None:
        """Count a difference."""
        self.found += 1
        self.new[difference.kind] += is_new
        if len(self.listed) < LISTED_AT_MOST:
            self.listed.append(FoundDiscrepancy(**dict(difference), is_new=is_new))


def _at_the_end(run: _Run) -> tuple[ReconciliationOutcome, str]:
    """Say what a run came to that has seen the whole list. Nobody knows whose an order without an id is."""
    if run.unidentified:
        message = f"{run.unidentified} orders of the supplier's list have no readable id and could not be compared."
        return ReconciliationOutcome.SUPPLIER_CONTRACT_BROKEN, message
    return ReconciliationOutcome.COMPLETE, "All of the supplier's list was compared."


@dataclass(frozen=True)
class Reconciliation:
    """Compares the supplier's list with our orders.

    Attributes
    ----------
    supplier
        Who has the list.
    orders
        Where ours are.
    differences
        What has been announced before.
    bus
        Where differences are announced.
    clock
        Returns the time, with a time zone.
    pause
        Waits for so many seconds.
    jitter
        Draws a number in [0, 1).
    """

    supplier: GatedSupplier
    orders: OrderTable
    differences: DifferenceTable
    bus: EventBus
    clock: Callable[[], datetime]
    pause: Callable[[float], None]
    jitter: Callable[[], float]

    def reconcile(self, window: Window, *, time_out: datetime) -> ReconciliationReport:
        """Go through the list once.

        Parameters
        ----------
        window
            Which orders.
        time_out
            When the function is ended from outside; the run stops ``STOPS_BEFORE`` it.
        """
        run = _Run()
        outcome, message = self._go_through(window, time_out - STOPS_BEFORE, run)
        return ReconciliationReport(
            outcome=outcome,
            message=message,
            placed_from=window.placed_from,
            placed_to=window.placed_to,
            pages=run.pages,
            orders=run.orders,
            differences_found=run.found,
            new_differences={kind: run.new[kind] for kind in DiscrepancyKind},
            differences=tuple(run.listed),
        )

    def _go_through(self, window: Window, deadline: datetime, run: _Run) -> tuple[ReconciliationOutcome, str]:
        for number in range(1, MAX_PAGES + 1):
            page = self._ask(number, window, deadline)
            if isinstance(page, SupplierFailure):
                return _OUTCOMES.get(page.kind, ReconciliationOutcome.SUPPLIER_UNAVAILABLE), page.message
            try:
                for difference in self._discrepancies_on(page, run):
                    if self.clock() >= deadline:
                        return ReconciliationOutcome.INCOMPLETE, _OUT_OF_TIME
                    run.add(difference, is_new=self._announce(difference))
            except (OrdersNotReadError, EventNotPublishedError) as error:
                return ReconciliationOutcome.INCOMPLETE, str(error)
            run.pages = number
            if number >= page.pagination.total_pages:
                return _at_the_end(run)
            if self.clock() >= deadline:
                return ReconciliationOutcome.INCOMPLETE, _OUT_OF_TIME
        return ReconciliationOutcome.INCOMPLETE, f"The supplier's list has more than {MAX_PAGES} pages."

    def _ask(self, number: int, window: Window, deadline: datetime) -> OrderPage | SupplierFailure:
        """Ask for a page; queue for as long as there is time where others only have to be let through first."""
        tries = 0
        while True:
            page = self.supplier.list_orders(number, window.placed_from, window.placed_to)
            left = (deadline - self.clock()).total_seconds()
            if isinstance(page, OrderPage) or page.kind is not FailureKind.QUEUED or left <= 0:
                return page
            tries += 1
            self.pause(min(left, queue_wait_seconds(tries, self.jitter())))

    def _discrepancies_on(self, page: OrderPage, run: _Run) -> Iterator[Discrepancy]:
        run.unidentified += sum(listed.order_id is None for listed in page.items)
        fresh = [listed for listed in page.items if run.is_first(listed.order_id)]
        run.orders += len(fresh)
        rows = self.orders.get_many([listed.order_id for listed in fresh if listed.order_id is not None])
        for listed in fresh:
            row = rows.get(listed.order_id or "")
            if isinstance(row, UnreadableOrder):
                yield unreadable_row(str(listed.order_id), row.fields)
            elif (difference := compare(listed, row, self.clock())) is not None:
                yield difference

    def _announce(self, difference: Discrepancy) -> bool:
        if self.differences.is_known(difference):
            return False
        at = self.clock()
        self.bus.publish(event_for(difference, at))
        self.differences.remember(difference, at)
        return True
