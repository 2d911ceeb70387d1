"""The shared list: one page of the supplier's list answers the checks of all orders that are on it.

Time is divided into ticks of ``TICK_SECONDS``. The first check that finds no snapshot of its tick fetches the page, and
the others use its statuses. A status is never older than the start of the call that fetched it, and nothing is
delivered because of it: DeliverCards asks for the order itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil

from giftcards.contracts.statuses import OrderStatus, SupplierStatus

TICK_SECONDS = 5
MIN_OPEN_ORDERS = 5
"""With fewer checks in a tick, each order is checked alone: the page would save hardly a call."""
MIN_PENDING_ORDERS = 3
"""While the last page shows these, the next tick has a page too. Fewer than above, so that the two do not alternate."""
MAX_REFRESH_SECONDS = 4
"""How long a check waits for the page that another one fetches."""
REFRESH_PAUSE_SECONDS = 0.25
MAX_AGE_SECONDS = 2 * TICK_SECONDS
"""An older snapshot answers no check."""
LISTED_SECONDS = 86_400
"""The page has the newest orders of this time."""


@dataclass(frozen=True)
class Snapshot:
    """Statuses from one page of the supplier's list.

    Attributes
    ----------
    fetched_at
        Start of the call; None if there was none yet.
    statuses
        By order id.
    failed_tick
        The last tick in which the page could not be fetched.
    """

    fetched_at: datetime | None = None
    statuses: Mapping[str, SupplierStatus] = field(default_factory=dict)
    failed_tick: int | None = None

    def is_of(self, tick: int) -> bool:
        """Return whether it was fetched in this tick, or in the next one: the clocks of containers differ a little."""
        return self.fetched_at is not None and tick <= tick_of(self.fetched_at) <= tick + 1

    def is_usable(self, now: datetime) -> bool:
        """Return whether it may answer a check if there is no newer one."""
        return self.fetched_at is not None and now <= self.fetched_at + timedelta(seconds=MAX_AGE_SECONDS)

    def shows_many(self, now: datetime) -> bool:
        """Return whether it is recent and shows enough pending orders for a page in each tick."""
        pending = sum(status is OrderStatus.HANDLING for status in self.statuses.values())
        return self.is_usable(now) and pending >= MIN_PENDING_ORDERS


def tick_of(at: datetime) -> int:
    """Return the number of a time's tick since 1970."""
    return int(at.timestamp() // TICK_SECONDS)


def aligned_wait(wait_seconds: int, now: datetime) -> int:
    """Return the wait to the first second of the last tick within a wait, or of the next tick.

    Orders that the snapshot answers are checked when it is new. Otherwise a status would be up to a tick older. The
    nearest tick would save one transition in twenty, and deliver three seconds later (`make bench-scale`).
    """
    past_tick = now.timestamp() % TICK_SECONDS
    ticks = max(1, int((wait_seconds + past_tick) / TICK_SECONDS))
    return max(1, ceil(ticks * TICK_SECONDS - past_tick))
