"""One page of the supplier's list for the checks of all orders on it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from giftcards.contracts.supplier import OrderProgress
from giftcards.metrics import Meter, Metric
from giftcards.rules.snapshot import (
    LISTED_SECONDS,
    MAX_REFRESH_SECONDS,
    MIN_OPEN_ORDERS,
    REFRESH_PAUSE_SECONDS,
    Snapshot,
    tick_of,
)
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure

if TYPE_CHECKING:
    from giftcards.adapters.snapshot_table import SnapshotTable
    from giftcards.use_cases.gated_supplier import GatedSupplier

_OF_ALL_CALLS = {
    FailureKind.RATE_LIMITED,
    FailureKind.KEY_MISSING,
    FailureKind.KEY_REFUSED,
    FailureKind.ADDRESS_BLOCKED,
    FailureKind.ACCESS_DENIED,
    FailureKind.GATE_CLOSED,
    FailureKind.QUEUED,
}
"""Failures that another call would meet too. So it would if the supplier takes long to fail."""


@dataclass(frozen=True)
class SharedList:
    """Answers checks from the snapshot, and refreshes it.

    Attributes
    ----------
    pause
        Sleeps for some seconds.
    """

    supplier: "GatedSupplier"
    snapshots: "SnapshotTable"
    clock: Callable[[], datetime]
    pause: Callable[[float], None]
    measure: Meter

    def ask(self, order_id: str) -> OrderProgress | SupplierFailure | None:
        """Return an order's status from the snapshot, or None if the order has to be checked alone."""
        now = self.clock()
        tick, snapshot = tick_of(now), self.snapshots.read()
        if snapshot.is_of(tick):
            return self._status(order_id, snapshot)
        if not snapshot.shows_many(now) and self.snapshots.count(tick) < MIN_OPEN_ORDERS:
            return None
        if self.snapshots.claim(tick):
            return self._refresh(order_id, tick)
        return self._status(order_id, self._refreshed(tick))

    def _refresh(self, order_id: str, tick: int) -> OrderProgress | SupplierFailure | None:
        began = self.clock()
        listed = self.supplier.list_statuses(timedelta(seconds=LISTED_SECONDS))
        if isinstance(listed, SupplierFailure):
            self.snapshots.mark_failed(tick)
            is_slow = self.clock() >= began + timedelta(seconds=MAX_REFRESH_SECONDS)
            return listed if listed.kind in _OF_ALL_CALLS or is_slow else None
        fetched_at, statuses = listed
        self.snapshots.write(fetched_at, statuses)
        return self._status(order_id, Snapshot(fetched_at, statuses))

    def _refreshed(self, tick: int) -> Snapshot:
        """Return the snapshot that another check fetches now, or the last one if it takes too long."""
        waited = 0.0
        while True:
            self.pause(REFRESH_PAUSE_SECONDS)
            waited += REFRESH_PAUSE_SECONDS
            snapshot = self.snapshots.read()
            if snapshot.is_of(tick) or snapshot.failed_tick == tick or waited >= MAX_REFRESH_SECONDS:
                return snapshot

    def _status(self, order_id: str, snapshot: Snapshot) -> OrderProgress | None:
        status = snapshot.statuses.get(order_id)
        now = self.clock()
        if status is None or snapshot.fetched_at is None or not snapshot.is_usable(now):
            return None
        self.measure(Metric.SNAPSHOT_HIT, 1)
        self.measure(Metric.SNAPSHOT_AGE, max(0.0, (now - snapshot.fetched_at).total_seconds()))
        return OrderProgress(_id=order_id, status=status)
