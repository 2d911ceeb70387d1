"""ReconcileOrders: compare the supplier's list with the stored orders, and publish each discrepancy once.

It can be repeated: a discrepancy is recorded after its event is published, so a run that crashes in between publishes
it again and misses none. A run that could not read the whole list says so.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from giftcards.adapters.discrepancy_table import DiscrepancyTable
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
"""20,000 orders, more than the function's timeout allows."""
STOPS_BEFORE = timedelta(seconds=30)
"""A run stops this long before the function's timeout: longer than one page can take."""
MAX_LISTED = 1_000
"""Discrepancies in a result, which Lambda limits to 6 MB. All are counted and published."""

_METRICS = {
    DiscrepancyKind.UNCLAIMED: Metric.ORDER_UNCLAIMED,
    DiscrepancyKind.OVERDUE: Metric.ORDER_OVERDUE,
    DiscrepancyKind.MISMATCH: Metric.ORDER_MISMATCH,
}
_OUT_OF_TIME = "The run ran out of time before the end of the supplier's list."

Day = Annotated[date, Field(ge=date(2000, 1, 1))]


class EmptyWindowError(ValueError):
    """The window contains no time. The message is one line for a person."""


@dataclass(frozen=True)
class Window:
    """Period in which orders were placed. Its end is fixed when a run starts; later orders belong to the next run."""

    placed_from: datetime
    placed_to: datetime


class ReconcileRequest(Contract):
    """Input of ReconcileOrders: the first and the last day in UTC, by default yesterday and today."""

    first_day: Day | None = Field(default=None, alias="from")
    last_day: Day | None = Field(default=None, alias="to")

    def window(self, now: datetime) -> Window:
        """Return the window. Without a first day, it is the last day and the day before it.

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
    """Result of a run."""

    COMPLETE = "COMPLETE"
    """The whole list was compared."""
    SUPPLIER_UNAVAILABLE = "SUPPLIER_UNAVAILABLE"
    """The supplier did not answer, or calls are blocked."""
    KEY_REFUSED = "KEY_REFUSED"
    """The supplier refused the key that this run presented."""
    SUPPLIER_CONTRACT_BROKEN = "SUPPLIER_CONTRACT_BROKEN"
    """A page contradicts the supplier's documentation, or has orders without a readable id: orders could be missed."""
    INCOMPLETE = "INCOMPLETE"
    """Too many pages, too little time, or DynamoDB or EventBridge failed."""


_OUTCOMES = {
    FailureKind.KEY_REFUSED: ReconciliationOutcome.KEY_REFUSED,
    FailureKind.CONTRACT_BROKEN: ReconciliationOutcome.SUPPLIER_CONTRACT_BROKEN,
}


class FoundDiscrepancy(Discrepancy):
    """A discrepancy that a run has found."""

    is_new: bool = Field(description="Whether this run published it; if not, an earlier run did")


class ReconciliationReport(Contract):
    """Result of ReconcileOrders."""

    outcome: ReconciliationOutcome
    message: str = Field(description="One sentence for a person; never text from the supplier's answer")
    placed_from: AwareDatetime
    placed_to: AwareDatetime
    pages: int = Field(description="Pages of the supplier's list that were compared")
    orders: int = Field(description="Orders that were compared")
    differences_found: int
    new_differences: dict[DiscrepancyKind, int] = Field(description="How many this run published, by kind")
    differences: tuple[FoundDiscrepancy, ...] = Field(description=f"The first {MAX_LISTED} discrepancies")

    @property
    def is_complete(self) -> bool:
        """Whether the whole list was compared."""
        return self.outcome is ReconciliationOutcome.COMPLETE

    @property
    def level(self) -> Level:
        """Level of its log line."""
        return "INFO" if self.is_complete else "WARNING"

    @property
    def metrics(self) -> dict[Metric, int]:
        """Metrics of a run, including those that are 0."""
        counts = {metric: self.new_differences[kind] for kind, metric in _METRICS.items()}
        return counts | {
            Metric.RECONCILIATION_DIFFERENCE: sum(counts.values()),
            Metric.ORDERS_RECONCILED: self.orders,
            Metric.RECONCILIATION_INCOMPLETE: int(not self.is_complete),
        }


@dataclass
class _Run:
    """Progress of a run."""

    pages: int = 0
    seen: set[str | None] = field(default_factory=set)
    orders: int = 0
    unidentified: int = 0
    found: int = 0
    new: Counter[DiscrepancyKind] = field(default_factory=Counter)
    listed: list[FoundDiscrepancy] = field(default_factory=list)

    def is_first(self, order_id: str | None) -> bool:
        """Return whether this order is new to the run: while orders are placed, pages shift and overlap."""
        is_first = order_id not in self.seen
        self.seen.add(order_id)
        return is_first

    def add(self, discrepancy: Discrepancy, *, is_new: bool) -> None:
        """Count a discrepancy."""
        self.found += 1
        self.new[discrepancy.kind] += is_new
        if len(self.listed) < MAX_LISTED:
            self.listed.append(FoundDiscrepancy(**dict(discrepancy), is_new=is_new))


def _at_the_end(run: _Run) -> tuple[ReconciliationOutcome, str]:
    """Return the outcome of a run that has read the whole list. An order without an id cannot be compared."""
    if run.unidentified:
        message = f"{run.unidentified} orders of the supplier's list have no readable id and could not be compared."
        return ReconciliationOutcome.SUPPLIER_CONTRACT_BROKEN, message
    return ReconciliationOutcome.COMPLETE, "All of the supplier's list was compared."


@dataclass(frozen=True)
class Reconciliation:
    """Compares the supplier's list with the stored orders."""

    supplier: GatedSupplier
    orders: OrderTable
    discrepancies: DiscrepancyTable
    bus: EventBus
    clock: Callable[[], datetime]
    pause: Callable[[float], None]
    jitter: Callable[[], float]

    def reconcile(self, window: Window, *, time_out: datetime) -> ReconciliationReport:
        """Compare the list once. The run stops ``STOPS_BEFORE`` the function's timeout."""
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
                for discrepancy in self._discrepancies_on(page, run):
                    if self.clock() >= deadline:
                        return ReconciliationOutcome.INCOMPLETE, _OUT_OF_TIME
                    run.add(discrepancy, is_new=self._publish(discrepancy))
            except (OrdersNotReadError, EventNotPublishedError) as error:
                return ReconciliationOutcome.INCOMPLETE, str(error)
            run.pages = number
            if number >= page.pagination.total_pages:
                return _at_the_end(run)
            if self.clock() >= deadline:
                return ReconciliationOutcome.INCOMPLETE, _OUT_OF_TIME
        return ReconciliationOutcome.INCOMPLETE, f"The supplier's list has more than {MAX_PAGES} pages."

    def _ask(self, number: int, window: Window, deadline: datetime) -> OrderPage | SupplierFailure:
        """Get a page; while all slots are in use, queue until the deadline."""
        while True:
            page = self.supplier.list_orders(number, window.placed_from, window.placed_to)
            left = (deadline - self.clock()).total_seconds()
            if isinstance(page, OrderPage) or page.kind is not FailureKind.QUEUED or left <= 0:
                return page
            self.pause(min(left, queue_wait_seconds(1, self.jitter())))

    def _discrepancies_on(self, page: OrderPage, run: _Run) -> Iterator[Discrepancy]:
        run.unidentified += sum(listed.order_id is None for listed in page.items)
        fresh = [listed for listed in page.items if run.is_first(listed.order_id)]
        run.orders += len(fresh)
        rows = self.orders.get_many([listed.order_id for listed in fresh if listed.order_id is not None])
        for listed in fresh:
            row = rows.get(listed.order_id or "")
            if isinstance(row, UnreadableOrder):
                yield unreadable_row(str(listed.order_id), row.fields)
            elif (discrepancy := compare(listed, row, self.clock())) is not None:
                yield discrepancy

    def _publish(self, discrepancy: Discrepancy) -> bool:
        if self.discrepancies.is_published(discrepancy):
            return False
        at = self.clock()
        self.bus.publish(event_for(discrepancy, at))
        self.discrepancies.mark_published(discrepancy, at)
        return True
