"""Everything that is measured: the one table of metrics. Functions write them into their logs, CloudWatch reads them.

Each has two dimensions, ``service`` (the stack's name) and ``stage``. What has kinds (held reasons, what a call to the
supplier came to) is one metric for each kind, because a dimension for it would hide the rest from an alarm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Self

from giftcards.contracts.events import HeldReason
from giftcards.rules.supplier_failure import FailureKind

NAMESPACE = "giftcards"


class Unit(StrEnum):
    """Units as CloudWatch names them."""

    COUNT = "Count"
    SECONDS = "Seconds"
    MILLISECONDS = "Milliseconds"


@dataclass(frozen=True)
class _Described:
    name: str
    unit: Unit
    emitted_by: str
    tells: str


_ASKING = "CheckStatus, DeliverCards, ReconcileOrders"


class Metric(Enum):
    """A metric: its name, its unit, which functions emit it, and what it tells."""

    ORDER_CLAIMED = _Described(
        "OrderClaimed", Unit.COUNT, "CheckStatus", "An execution has an order and asks about it for the first time."
    )
    ORDER_DELIVERED = _Described(
        "OrderDelivered", Unit.COUNT, "DeliverCards", "All cards of an order are stored and announced."
    )
    ORDER_PARTIALLY_DELIVERED = _Described(
        "OrderPartiallyDelivered", Unit.COUNT, "DeliverCards", "The cards that came are; the rest was refunded."
    )
    ORDER_REFUNDED = _Described("OrderRefunded", Unit.COUNT, "DeliverCards", "An order was refunded whole.")
    CARDS_DELIVERED = _Described("CardsDelivered", Unit.COUNT, "DeliverCards", "Cards of delivered orders.")
    AMOUNT_MISSING = _Described(
        "AmountMissing",
        Unit.COUNT,
        "DeliverCards",
        "An order was delivered without an amount or price, because the supplier sent none that can be read.",
    )
    TIME_TO_DELIVERY = _Described(
        "TimeToDelivery",
        Unit.SECONDS,
        "DeliverCards",
        "From when the order was placed (as the shop says, or else from the claim) to its announcement.",
    )
    DETECTION_LAG = _Described(
        "DetectionLag",
        Unit.SECONDS,
        "CheckStatus",
        "From the first check that could have seen that an order is settled to the one that did. Not 0 where checks "
        "failed or the gate was closed.",
    )

    ORDER_DELAYED = _Described("OrderDelayed", Unit.COUNT, "CountEvents", "An order is still pending; its shop knows.")
    ORDER_DISPUTED = _Described(
        "OrderDisputed", Unit.COUNT, "CountEvents", "An order was announced for another user than its own."
    )
    ORDER_REPEATED = _Described(
        "OrderRepeated", Unit.COUNT, "CountEvents", "An announcement of an order that is in hand or done: ignored."
    )
    ORDER_HELD = _Described("OrderHeld", Unit.COUNT, "CountEvents", "An order needs a person, whatever the reason.")
    HELD_DEADLINE_PASSED = _Described("OrderHeldDeadlinePassed", Unit.COUNT, "CountEvents", "Of these, by reason.")
    HELD_ORDER_UNKNOWN = _Described("OrderHeldOrderUnknown", Unit.COUNT, "CountEvents", "The same.")
    HELD_SUPPLIER_CONTRACT_BROKEN = _Described(
        "OrderHeldSupplierContractBroken", Unit.COUNT, "CountEvents", "The same."
    )
    HELD_INVALID_ORDER = _Described("OrderHeldInvalidOrder", Unit.COUNT, "CountEvents", "The same.")
    HELD_UNEXPECTED_ERROR = _Described("OrderHeldUnexpectedError", Unit.COUNT, "CountEvents", "The same.")

    SUPPLIER_LATENCY = _Described(
        "SupplierLatency", Unit.MILLISECONDS, _ASKING, "How long a call to the supplier took, whatever it came to."
    )
    SUPPLIER_ANSWERED = _Described("SupplierAnswered", Unit.COUNT, _ASKING, "A call was answered as documented.")
    SUPPLIER_BUSY = _Described("SupplierBusy", Unit.COUNT, _ASKING, "A call came to nothing that lasts: 5xx, network.")
    SUPPLIER_RATE_LIMITED = _Described("SupplierRateLimited", Unit.COUNT, _ASKING, "The supplier answered 429.")
    SUPPLIER_KEY_REFUSED = _Described("SupplierKeyRefused", Unit.COUNT, _ASKING, "The supplier refused the API key.")
    SUPPLIER_ADDRESS_BLOCKED = _Described(
        "SupplierAddressBlocked", Unit.COUNT, _ASKING, "It blocks our address for 15 minutes."
    )
    SUPPLIER_ACCESS_DENIED = _Described(
        "SupplierAccessDenied", Unit.COUNT, _ASKING, "The key may not be used from here, or at all."
    )
    SUPPLIER_ORDER_UNKNOWN = _Described("SupplierOrderUnknown", Unit.COUNT, _ASKING, "It knows no such order.")
    SUPPLIER_ORDER_REJECTED = _Described("SupplierOrderRejected", Unit.COUNT, _ASKING, "It does not take the id.")
    SUPPLIER_ORDER_REFUSED = _Described(
        "SupplierOrderRefused",
        Unit.COUNT,
        _ASKING,
        "It refused one order with a code that is not about the key or the address.",
    )
    SUPPLIER_CONTRACT_BROKEN = _Described(
        "SupplierContractBroken", Unit.COUNT, _ASKING, "Its answer contradicts its documents."
    )

    ORDERS_WAITING = _Described("OrdersWaiting", Unit.COUNT, "MeasureOrders", "Open orders now, each minute.")
    ORDERS_HELD = _Described("OrdersHeld", Unit.COUNT, "MeasureOrders", "Held orders now, each minute.")
    OLDEST_ORDER_WAITING = _Described(
        "OldestOrderWaiting", Unit.SECONDS, "MeasureOrders", "Age of the oldest open order, 0 where there is none."
    )
    GATE_CLOSED = _Described(
        "GateClosedSeconds",
        Unit.SECONDS,
        "MeasureOrders",
        "60 for each minute in which nobody may call the supplier, otherwise 0: a sum is the time that it was closed.",
    )

    CARDS_REVEALED = _Described("CardsRevealed", Unit.COUNT, "RevealCards", "An order's cards were shown to its user.")
    REVEAL_REFUSED = _Described("RevealRefused", Unit.COUNT, "RevealCards", "A request to see cards was not granted.")
    CARDS_UNREADABLE = _Described(
        "CardsUnreadable", Unit.COUNT, "RevealCards", "Stored cards are not what was stored: somebody has changed them."
    )

    ORDER_SWEPT = _Described(
        "OrderSwept", Unit.COUNT, "SweepOrders", "Open orders that no execution had, taken up again."
    )
    ORDER_UNCLAIMED = _Described(
        "OrderUnclaimed", Unit.COUNT, "ReconcileOrders", "New differences: nobody announced the supplier's order."
    )
    ORDER_OVERDUE = _Described(
        "OrderOverdue", Unit.COUNT, "ReconcileOrders", "New differences: final at the supplier, open here."
    )
    ORDER_MISMATCH = _Described(
        "OrderMismatch", Unit.COUNT, "ReconcileOrders", "New differences: other counts or amounts."
    )
    RECONCILIATION_DIFFERENCE = _Described(
        "ReconciliationDifference", Unit.COUNT, "ReconcileOrders", "New differences of all kinds."
    )
    ORDERS_RECONCILED = _Described(
        "OrdersReconciled", Unit.COUNT, "ReconcileOrders", "Orders of the supplier's list that were compared."
    )
    RECONCILIATION_INCOMPLETE = _Described(
        "ReconciliationIncomplete",
        Unit.COUNT,
        "ReconcileOrders",
        "1 for a run that could not see all of the list, else 0.",
    )

    @property
    def label(self) -> str:
        """What CloudWatch calls it."""
        return self.value.name

    @property
    def unit(self) -> Unit:
        """What it is counted in."""
        return self.value.unit

    @property
    def emitted_by(self) -> str:
        """Which functions emit it."""
        return self.value.emitted_by

    @property
    def tells(self) -> str:
        """What it tells, in one sentence."""
        return self.value.tells

    @classmethod
    def of_hold(cls, reason: HeldReason) -> Self:
        """Give the metric of a held reason."""
        return cls[f"HELD_{reason}"]

    @classmethod
    def of_call(cls, failure: FailureKind | None) -> Self:
        """Give the metric of what a call to the supplier came to; None is an answer as documented."""
        return cls[f"SUPPLIER_{failure or 'ANSWERED'}"]


Meter = Callable[[Metric, float], None]
"""Takes a metric and its value in the metric's unit."""
