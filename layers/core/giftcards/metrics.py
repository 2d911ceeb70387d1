"""All metrics. Functions write them into their logs in the embedded metric format, and CloudWatch extracts them.

Each has two dimensions, ``service`` (the stack's name) and ``stage``. Held reasons and results of supplier calls are
separate metrics, because with a dimension for them an alarm would have to name every value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # every function imports this module on its cold start
    from giftcards.contracts.events import HeldReason
    from giftcards.contracts.statuses import OrderStatus
    from giftcards.rules.links import LinkState
    from giftcards.rules.supplier_failure import FailureKind

NAMESPACE = "giftcards"


class Unit(StrEnum):
    """CloudWatch units."""

    COUNT = "Count"
    SECONDS = "Seconds"
    MILLISECONDS = "Milliseconds"


@dataclass(frozen=True)
class _Described:
    name: str
    unit: Unit
    emitted_by: str
    meaning: str


_ASKING = "CheckStatus, DeliverCards, ReconcileOrders"


class Metric(Enum):
    """A metric: its name, its unit, the functions that emit it, and its meaning."""

    ORDER_CLAIMED = _Described(
        "OrderClaimed", Unit.COUNT, "CheckStatus", "An execution checks its order for the first time."
    )
    ORDER_FULFILLED = _Described(
        "OrderDelivered",
        Unit.COUNT,
        "DeliverCards",
        "All cards of an order are stored, and CardsDelivered is published.",
    )
    ORDER_PARTIALLY_FILLED = _Described(
        "OrderPartiallyDelivered",
        Unit.COUNT,
        "DeliverCards",
        "Some cards of an order are stored and published; the rest was refunded.",
    )
    ORDER_REFUNDED = _Described("OrderRefunded", Unit.COUNT, "DeliverCards", "An order was refunded completely.")
    CARDS_DELIVERED = _Described("CardsDelivered", Unit.COUNT, "DeliverCards", "Number of cards delivered.")
    AMOUNT_MISSING = _Described(
        "AmountMissing",
        Unit.COUNT,
        "DeliverCards",
        "An order was delivered without an amount or price, because the supplier sent none that is readable.",
    )
    TIME_TO_DELIVERY = _Described(
        "TimeToDelivery",
        Unit.SECONDS,
        "DeliverCards",
        "From the time the order was placed (the shop's placedAt, otherwise the claim) to the published delivery.",
    )
    DETECTION_LAG = _Described(
        "DetectionLag",
        Unit.SECONDS,
        "CheckStatus",
        "From the first check that could have seen that an order is settled to the check that did. Above 0 if checks "
        "failed or the gate was blocked.",
    )

    ORDER_DELAYED = _Described(
        "OrderDelayed", Unit.COUNT, "CountEvents", "An order is still pending; OrderDelayed was published."
    )
    ORDER_DISPUTED = _Described(
        "OrderDisputed", Unit.COUNT, "CountEvents", "An OrderPlaced event named a different user than the order's."
    )
    ORDER_REPEATED = _Described(
        "OrderRepeated",
        Unit.COUNT,
        "CountEvents",
        "An OrderPlaced event for an order that is in progress or done; ignored.",
    )
    ORDER_HELD = _Described(
        "OrderHeld", Unit.COUNT, "CountEvents", "An order is held and needs a person, for any reason."
    )
    HELD_DEADLINE_PASSED = _Described(
        "OrderHeldDeadlinePassed", Unit.COUNT, "CountEvents", "Held orders, by reason: the deadline passed."
    )
    HELD_ORDER_UNKNOWN = _Described(
        "OrderHeldOrderUnknown", Unit.COUNT, "CountEvents", "The supplier does not know the order."
    )
    HELD_SUPPLIER_CONTRACT_BROKEN = _Described(
        "OrderHeldSupplierContractBroken", Unit.COUNT, "CountEvents", "An answer broke the supplier's contract."
    )
    HELD_INVALID_ORDER = _Described("OrderHeldInvalidOrder", Unit.COUNT, "CountEvents", "The order is invalid.")
    HELD_UNEXPECTED_ERROR = _Described("OrderHeldUnexpectedError", Unit.COUNT, "CountEvents", "A step kept failing.")

    SUPPLIER_LATENCY = _Described(
        "SupplierLatency", Unit.MILLISECONDS, _ASKING, "Duration of a call to the supplier, with any result."
    )
    SUPPLIER_ANSWERED = _Described("SupplierAnswered", Unit.COUNT, _ASKING, "A call got a documented answer.")
    SUPPLIER_BUSY = _Described(
        "SupplierBusy", Unit.COUNT, _ASKING, "A call failed temporarily: 5xx, timeout or network error."
    )
    SUPPLIER_RATE_LIMITED = _Described("SupplierRateLimited", Unit.COUNT, _ASKING, "The supplier answered 429.")
    SUPPLIER_KEY_REFUSED = _Described("SupplierKeyRefused", Unit.COUNT, _ASKING, "The supplier refused the API key.")
    SUPPLIER_ADDRESS_BLOCKED = _Described(
        "SupplierAddressBlocked", Unit.COUNT, _ASKING, "The supplier blocks our address for 15 minutes."
    )
    SUPPLIER_ACCESS_DENIED = _Described(
        "SupplierAccessDenied", Unit.COUNT, _ASKING, "The API key may not be used from this address, or not at all."
    )
    SUPPLIER_ORDER_UNKNOWN = _Described(
        "SupplierOrderUnknown", Unit.COUNT, _ASKING, "The supplier does not know the order."
    )
    SUPPLIER_ORDER_REJECTED = _Described(
        "SupplierOrderRejected", Unit.COUNT, _ASKING, "The supplier rejected the order's id."
    )
    SUPPLIER_ORDER_REFUSED = _Described(
        "SupplierOrderRefused",
        Unit.COUNT,
        _ASKING,
        "The supplier refused one order with a code that does not concern the key or the address.",
    )
    SUPPLIER_CONTRACT_BROKEN = _Described(
        "SupplierContractBroken", Unit.COUNT, _ASKING, "An answer contradicts the supplier's documentation."
    )

    SUPPLIER_CHECK = _Described("SupplierCheck", Unit.COUNT, "CheckStatus", "Calls by kind: the status of one order.")
    SUPPLIER_LIST = _Described(
        "SupplierList", Unit.COUNT, "CheckStatus, ReconcileOrders", "Calls by kind: a page of the supplier's list."
    )
    SUPPLIER_DELIVERY = _Described(
        "SupplierDelivery", Unit.COUNT, "DeliverCards", "Calls by kind: one order with its cards."
    )
    SNAPSHOT_HIT = _Described(
        "SnapshotHit", Unit.COUNT, "CheckStatus", "A check was answered by the shared list, without a call."
    )
    SNAPSHOT_AGE = _Described(
        "SnapshotAge", Unit.SECONDS, "CheckStatus", "Age of the shared list when it answered a check."
    )
    SLOT_WAIT = _Described(
        "SlotWait",
        Unit.SECONDS,
        _ASKING,
        "How long a function looked for a slot before its call.",
    )
    SLOT_NOT_FOUND = _Described(
        "SlotNotFound", Unit.COUNT, _ASKING, "A function gave up; its order waits in the workflow's queue."
    )

    ORDERS_WAITING = _Described("OrdersWaiting", Unit.COUNT, "MeasureOrders", "Open orders, measured each minute.")
    ORDERS_HELD = _Described("OrdersHeld", Unit.COUNT, "MeasureOrders", "Held orders, measured each minute.")
    OLDEST_ORDER_WAITING = _Described(
        "OldestOrderWaiting", Unit.SECONDS, "MeasureOrders", "Age of the oldest open order; 0 if there is none."
    )
    GATE_CLOSED = _Described(
        "GateClosedSeconds",
        Unit.SECONDS,
        "MeasureOrders",
        "60 for each minute in which calls to the supplier are blocked, otherwise 0. The sum is the blocked time.",
    )

    CARDS_REVEALED = _Described("CardsRevealed", Unit.COUNT, "RevealCards", "An order's cards were shown to its user.")
    REVEAL_REFUSED = _Described("RevealRefused", Unit.COUNT, "RevealCards", "A request to see cards was refused.")
    CARDS_UNREADABLE = _Described(
        "CardsUnreadable", Unit.COUNT, "RevealCards", "Stored cards do not match their order: someone has changed them."
    )

    ORDER_SWEPT = _Described(
        "OrderSwept", Unit.COUNT, "SweepOrders", "An open order had lost its execution and was resumed."
    )
    ORDER_UNCLAIMED = _Described(
        "OrderUnclaimed",
        Unit.COUNT,
        "ReconcileOrders",
        "New discrepancies: no OrderPlaced event for the supplier's order.",
    )
    ORDER_OVERDUE = _Described(
        "OrderOverdue", Unit.COUNT, "ReconcileOrders", "New discrepancies: final at the supplier, open here."
    )
    ORDER_MISMATCH = _Described(
        "OrderMismatch", Unit.COUNT, "ReconcileOrders", "New discrepancies: different counts or amounts."
    )
    RECONCILIATION_DIFFERENCE = _Described(
        "ReconciliationDifference", Unit.COUNT, "ReconcileOrders", "New discrepancies of all kinds."
    )
    ORDERS_RECONCILED = _Described(
        "OrdersReconciled", Unit.COUNT, "ReconcileOrders", "Orders of the supplier's list that were compared."
    )
    RECONCILIATION_INCOMPLETE = _Described(
        "ReconciliationIncomplete",
        Unit.COUNT,
        "ReconcileOrders",
        "1 for a run that did not reach the end of the list, otherwise 0.",
    )

    LINK_CREATED = _Described("LinkCreated", Unit.COUNT, "CreateLink, SendLink", "A new link to an order's cards.")
    MAIL_SENT = _Described("LinkMailSent", Unit.COUNT, "CountEvents", "Amazon SES accepted a mail with a link.")
    MAIL_FAILED = _Described(
        "LinkMailFailed",
        Unit.COUNT,
        "CountEvents",
        "A buyer gets no mail: its address is invalid or suppressed, or refused. Expired mails are not counted.",
    )
    MAIL_BOUNCED = _Described("LinkMailBounced", Unit.COUNT, "CountEvents", "A mail bounced or was reported as spam.")
    MAIL_REFUSED = _Described(
        "LinkMailRefused", Unit.COUNT, "SendLink", "Amazon SES refused a mail for now. It stays due and is retried."
    )
    OLDEST_MAIL_DUE = _Described(
        "OldestMailDueAge", Unit.SECONDS, "SendLink", "How long the oldest mail has been due; 0 if none is."
    )
    CARDS_VIEWED = _Described("CardsViewed", Unit.COUNT, "CountEvents", "A link showed its cards for the first time.")
    VIEW = _Described("LinkView", Unit.COUNT, "RedeemLink", "A link showed cards.")
    VIEW_REFUSED = _Described("LinkViewRefused", Unit.COUNT, "RedeemLink", "A link did not show cards, for any reason.")
    VIEW_WRONG_CODE = _Described("LinkViewWrongCode", Unit.COUNT, "RedeemLink", "Of these: a wrong access code.")
    VIEW_CODE_LOCKED = _Described("LinkViewCodeLocked", Unit.COUNT, "RedeemLink", "Of these: too many wrong codes.")
    VIEW_NOT_FOUND = _Described("LinkViewNotFound", Unit.COUNT, "RedeemLink", "Of these: no such link.")
    VIEW_EXPIRED = _Described("LinkViewExpired", Unit.COUNT, "RedeemLink", "Of these: the link has expired.")
    VIEW_USED_UP = _Described("LinkViewUsedUp", Unit.COUNT, "RedeemLink", "Of these: the link has no uses left.")
    VIEW_REPLACED = _Described("LinkViewReplaced", Unit.COUNT, "RedeemLink", "Of these: replaced or revoked.")
    VIEW_CARDS_EXPIRED = _Described(
        "LinkViewCardsExpired", Unit.COUNT, "RedeemLink", "Of these: the cards' retention has ended."
    )
    VIEW_LATER = _Described("LinkViewFailed", Unit.COUNT, "RedeemLink", "Of these: a failure; the use is restored.")

    SHOP_KEY_REFUSED = _Described(
        "ShopKeyRefused", Unit.COUNT, "ServeShop", "A call of the shop's API had no key or a wrong one."
    )
    SHOP_CALL_FAILED = _Described(
        "ShopCallFailed",
        Unit.COUNT,
        "ServeShop",
        "A call of the shop's API was answered with 503; nothing was accepted.",
    )

    @property
    def label(self) -> str:
        """The name in CloudWatch."""
        return self.value.name

    @property
    def unit(self) -> Unit:
        return self.value.unit

    @property
    def emitted_by(self) -> str:
        return self.value.emitted_by

    @property
    def meaning(self) -> str:
        return self.value.meaning

    @classmethod
    def of_hold(cls, reason: "HeldReason") -> Self:
        """Return the metric of a held reason."""
        return cls[f"HELD_{reason}"]

    @classmethod
    def of_status(cls, status: "OrderStatus") -> Self:
        """Return the metric of orders that are closed with a status."""
        return cls[f"ORDER_{status}"]

    @classmethod
    def of_call(cls, failure: "FailureKind | None") -> Self:
        """Return the metric of a call's result; None is a documented answer."""
        return cls[f"SUPPLIER_{failure or 'ANSWERED'}"]

    @classmethod
    def of_refused_view(cls, state: "LinkState") -> Self:
        """Return the metric of a link that showed no card, by the reason."""
        return cls[f"VIEW_{state}"]

    @classmethod
    def of_shop_answer(cls, status: int) -> Self | None:
        """Return the metric of an HTTP status; None for those that need no person."""
        return {401: cls["SHOP_KEY_REFUSED"], 503: cls["SHOP_CALL_FAILED"]}.get(status)


Meter = Callable[[Metric, float], None]
"""Accepts a metric and a value in its unit."""
