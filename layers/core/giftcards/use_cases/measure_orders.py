"""MeasureOrders: how many orders wait or are held, for how long, and whether calls to the supplier are blocked."""

from dataclasses import dataclass
from datetime import datetime

from giftcards.adapters.api_key import ApiKeySource
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.order_table import OrderTable
from giftcards.contracts.statuses import OrderStatus
from giftcards.metrics import Meter, Metric
from giftcards.rules.supplier_failure import FailureKind

EVERY_SECONDS = 60
"""Interval of the schedule that starts the function."""


@dataclass(frozen=True)
class Measured:
    """Result of a measurement.

    Attributes
    ----------
    oldest_seconds
        Age of the oldest open order; 0 if there is none.
    gate
        Why calls are blocked; None if they are not.
    """

    waiting: int
    held: int
    oldest_seconds: int
    gate: FailureKind | None


@dataclass(frozen=True)
class OrderMeasurement:
    """Measures orders and the gate."""

    orders: OrderTable
    gate: GateTable
    api_key: ApiKeySource
    measure: Meter

    def take(self, *, now: datetime) -> Measured:
        """Measure once."""
        block = self.gate.read().block(now, self.api_key.current_version())
        oldest = self.orders.oldest_claim(OrderStatus.HANDLING)
        measured = Measured(
            waiting=self.orders.count_open(OrderStatus.HANDLING),
            held=self.orders.count_open(OrderStatus.HELD),
            oldest_seconds=0 if oldest is None else max(0, int((now - oldest).total_seconds())),
            gate=None if block is None else block.reason,
        )
        self.measure(Metric.ORDERS_WAITING, measured.waiting)
        self.measure(Metric.ORDERS_HELD, measured.held)
        self.measure(Metric.OLDEST_ORDER_WAITING, measured.oldest_seconds)
        self.measure(Metric.GATE_CLOSED, 0 if measured.gate is None else EVERY_SECONDS)
        return measured
