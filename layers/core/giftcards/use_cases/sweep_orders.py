"""SweepOrders: find open orders without an execution, and make the workflow resume them.

An execution can be stopped manually, time out or get lost while its order is open. A sweep is idempotent: a condition
in the table releases an order before its event is published, so if a sweep crashes in between, a later one finds it.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.executions import Executions
from giftcards.adapters.order_table import OrderTable, UnreadableOrder
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.workflow import Level
from giftcards.rules.orders import Order, event_to_resume

SOURCE = "giftcards.sweeper"
"""The ``source`` of the events by which a sweep resumes orders."""
ONCE_IN = timedelta(hours=1)
"""Minimum time between two sweeps of an order: an execution that fails at once must not start every 15 minutes."""


class SweepIncompleteError(Exception):
    """Some orders could not be read, checked or resumed. The next sweeps try again."""


@dataclass(frozen=True)
class Swept:
    """Result of a sweep.

    Attributes
    ----------
    unreadable
        Invalid attributes of unreadable rows, by order id.
    failures
        Number of orders that could not be checked or resumed, by error.
    """

    checked: int
    resumed: int
    unreadable: dict[str, tuple[str, ...]]
    failures: dict[str, int]

    @property
    def level(self) -> Level:
        """Level of its log line: WARNING if orders had lost their execution, ERROR if some were not swept."""
        if self.unreadable or self.failures:
            return "ERROR"
        return "WARNING" if self.resumed else "INFO"

    def raise_for_failures(self) -> None:
        """Raise SweepIncompleteError if some orders were not swept. The message has only types of errors."""
        # An order with an unreadable row may have lost its execution, and nothing else finds it.
        failures = self.failures | ({"UnreadableOrder": len(self.unreadable)} if self.unreadable else {})
        if failures:
            raise SweepIncompleteError(f"{sum(failures.values())} orders were not swept: {failures}")


@dataclass(frozen=True)
class OrderSweep:
    """Sweeps the open orders."""

    orders: OrderTable
    executions: Executions
    bus: EventBus
    once_in: timedelta = ONCE_IN

    def sweep(self, *, now: datetime) -> Swept:
        """Check every open order once. A failure for one order does not affect the others."""
        checked = resumed = 0
        unreadable: dict[str, tuple[str, ...]] = {}
        failures: Counter[str] = Counter()
        for order in self.orders.list_open(OrderStatus.HANDLING):
            checked += 1
            if isinstance(order, UnreadableOrder):
                unreadable[order.order_id] = order.fields
                continue
            try:
                resumed += self._resume(order, now)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next order may be without it
                failures[type(error).__name__] += 1
        return Swept(checked, resumed, unreadable, dict(failures))

    def _resume(self, order: Order, now: datetime) -> bool:
        unless_since = now - self.once_in
        if order.swept_at is not None and order.swept_at > unless_since:
            return False
        if order.execution_arn is not None and self.executions.is_running(order.execution_arn):
            return False
        sweep = self.orders.mark_swept if order.status.is_final else self.orders.release
        if not sweep(order, at=now, unless_since=unless_since):  # resumed, closed or swept meanwhile
            return False
        self.bus.publish(event_to_resume(order), source=SOURCE)
        return True
