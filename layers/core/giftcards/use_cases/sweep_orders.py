"""SweepOrders: find open orders that no execution has, and have the workflow take them up again.

An execution can end without an end for its order: stopped by hand, timed out, or lost. Every part of a sweep can be
done again. An order is released by a condition in the table before it is announced, so a sweep that breaks off in
between leaves an order that nobody has, and a later sweep finds it.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.executions import Executions
from giftcards.adapters.order_table import OrderTable, UnreadableOrder
from giftcards.contracts.workflow import Level
from giftcards.rules.orders import Order, OrderStatus, event_to_resume

SOURCE = "giftcards.sweeper"
"""The ``source`` of the events by which a sweep has orders taken up again."""
ONCE_IN = timedelta(hours=1)
"""How often an order is taken up again at most: an execution that ends at once must not start every 15 minutes."""


class SweepIncompleteError(Exception):
    """Some orders could not be read, looked at or announced. The next sweeps try again."""


@dataclass(frozen=True)
class Swept:
    """What a sweep came to.

    Attributes
    ----------
    checked
        Open orders that were looked at.
    taken_up
        Those that were announced again.
    unreadable
        By the id of each order whose row could not be read, which of its fields are wrong.
    failures
        By error, how many orders it kept from being looked at or announced.
    """

    checked: int
    resumed: int
    unreadable: dict[str, tuple[str, ...]]
    failures: dict[str, int]

    @property
    def level(self) -> Level:
        """How loud its line in the log is: WARNING where orders had lost their way, ERROR where some were not swept."""
        if self.unreadable or self.failures:
            return "ERROR"
        return "WARNING" if self.resumed else "INFO"

    def raise_for_failures(self) -> None:
        """Fail if the sweep could not do all that it had to.

        Raises
        ------
        SweepIncompleteError
            If so. The message holds types of errors only.
        """
        # An order whose row cannot be read may have lost its execution, and nobody else looks for it.
        failures = self.failures | ({"UnreadableOrder": len(self.unreadable)} if self.unreadable else {})
        if failures:
            raise SweepIncompleteError(f"{sum(failures.values())} orders were not swept: {failures}")


@dataclass(frozen=True)
class OrderSweep:
    """Sweeps the open orders.

    Attributes
    ----------
    orders
        Where they are.
    executions
        Who knows whether somebody has them.
    bus
        Where they are announced again.
    once_in
        How often an order is taken up again at most.
    """

    orders: OrderTable
    executions: Executions
    bus: EventBus
    once_in: timedelta = ONCE_IN

    def sweep(self, *, now: datetime) -> Swept:
        """Look at every open order once. Trouble with one order does not keep the others from being looked at."""
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
        sweep = self.orders.mark_swept if order.status.is_closed else self.orders.release
        if not sweep(order, at=now, unless_since=unless_since):  # somebody has just taken it up, closed or swept it
            return False
        self.bus.publish(event_to_resume(order), source=SOURCE)
        return True
