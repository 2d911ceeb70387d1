"""Metrics and logs: one set of metrics and one log line per invocation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from giftcards.adapters import aws
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.snapshot_table import SnapshotTable
from giftcards.contracts.events import HeldReason
from giftcards.contracts.statuses import OrderStatus
from giftcards.metrics import NAMESPACE, Metric
from giftcards.rules.gate import Slot, admit
from giftcards.rules.supplier_failure import FailureKind
from support.cloud import Cloud
from support.examples import NOW, ORDER_ID, USER_ID
from support.secrets import MARK, card_data, leaks
from support.supplier import SupplierDouble, answered, order_data, page_data, refused
from unit.container import ASKED, FUNCTIONS, HELD, SERVICE, STEP, Container, measured

LOGGED_BY_POWERTOOLS = {
    "level",
    "location",
    "message",
    "timestamp",
    "service",
    "cold_start",
    "function_name",
    "function_memory_size",
    "function_arn",
    "function_request_id",
}
STEP_KEYS = {"orderId", "execution", "outcome", "note", "ageSeconds"}
REVEAL_KEYS = {"orderId", "outcome", "cards", "note"}
SWEEP_KEYS = {"checked", "takenUp", "unreadable", "failures"}
RECONCILED_KEYS = {"outcome", "note", "pages", "orders", "differences", "newDifferences"}
MEASURED_KEYS = {"waiting", "held", "oldestSeconds", "gate"}
EVENT_KEYS = {"orderId", "execution", "event"}
NOTHING_NEW = {
    "OrderUnclaimed": [0],
    "OrderOverdue": [0],
    "OrderMismatch": [0],
    "ReconciliationDifference": [0],
    "ReconciliationIncomplete": [0],
}
A_CALL = {"SupplierLatency": [0], "SlotWait": [0]}
A_CHECK, A_DELIVERY, A_LIST = (A_CALL | {f"Supplier{kind}": [1]} for kind in ("Check", "Delivery", "List"))

Prepare = Callable[[Container, Cloud, SupplierDouble], None]


@dataclass(frozen=True)
class Case:
    """An invocation, its metrics and its log line."""

    function: str
    measures: dict[str, list[float]]
    level: str
    keys: set[str]
    event: Any = field(default_factory=lambda: STEP)
    prepare: Prepare = lambda _container, _cloud, _supplier: None


def will(*answers: Any, claim: bool = True, **row: Any) -> Prepare:
    """Claim an order and set the supplier's responses."""

    def prepare(_container: Container, cloud: Cloud, supplier: SupplierDouble) -> None:
        if claim:
            cloud.claim(**row)
        supplier.will(*answers)

    return prepare


def delivered(container: Container, cloud: Cloud, supplier: SupplierDouble) -> None:
    will(answered())(container, cloud, supplier)
    container.call("deliver_cards", STEP)


def tampered(container: Container, cloud: Cloud, supplier: SupplierDouble) -> None:
    delivered(container, cloud, supplier)
    row = cloud.card_rows()[0]
    cloud.put(cloud.card_table, row | {"ciphertext": row["ciphertext"].value[:-1]})


def behind_a_closed_gate(container: Container, cloud: Cloud, supplier: SupplierDouble) -> None:
    supplier.will(refused(401, "ERR_AUTH"))
    container.call("check_status", STEP)
    cloud.claim("old", claimed_at=NOW - timedelta(hours=2))
    cloud.claim("new", claimed_at=NOW - timedelta(hours=1))
    cloud.claim("held")
    cloud.hold("held")


def listed(_container: Container, cloud: Cloud, _supplier: SupplierDouble) -> None:
    SnapshotTable(cloud.gate_table, aws.dynamodb()).write(NOW, {ORDER_ID: OrderStatus.HANDLING})


def while_another_tries_the_key(_container: Container, cloud: Cloud, _supplier: SupplierDouble) -> None:
    gate = GateTable(cloud.gate_table, aws.dynamodb())
    slot = admit(gate.read(), NOW, cloud.set_api_key(), "another")
    assert isinstance(slot, Slot)
    assert gate.acquire(slot, gate.read())[0]


def about(detail_type: str, **detail: Any) -> dict[str, Any]:
    return HELD | {"detail-type": detail_type, "detail": {"orderId": ORDER_ID, "userId": USER_ID} | detail}


CASES = {
    "first check, pending": Case(
        "check_status",
        {"OrderClaimed": [1], "SupplierAnswered": [1]} | A_CHECK,
        "INFO",
        STEP_KEYS,
        STEP | {"checks": 0},
        will(answered(order_data("HANDLING"))),
    ),
    "settled at once": Case(
        "check_status",
        {"SupplierAnswered": [1], "DetectionLag": [0]} | A_CHECK,
        "INFO",
        STEP_KEYS,
        prepare=will(answered()),
    ),
    "settled after checks that failed for 40 s": Case(
        "check_status",
        {"SupplierAnswered": [1], "DetectionLag": [40]} | A_CHECK,
        "INFO",
        STEP_KEYS,
        STEP | {"failures": 3, "unansweredSince": (NOW - timedelta(seconds=40)).isoformat()},
        will(answered()),
    ),
    "busy": Case(
        "check_status",
        {"SupplierBusy": [1]} | A_CHECK,
        "WARNING",
        STEP_KEYS,
        prepare=will(refused(503, "SERVICE_UNAVAILABLE")),
    ),
    "rate limit": Case(
        "check_status", {"SupplierRateLimited": [1]} | A_CHECK, "WARNING", STEP_KEYS, prepare=will(refused(429, "X"))
    ),
    "key refused": Case(
        "check_status", {"SupplierKeyRefused": [1]} | A_CHECK, "ERROR", STEP_KEYS, prepare=will(refused(401, "X"))
    ),
    "blocked": Case(
        "check_status",
        {"SupplierAddressBlocked": [1]} | A_CHECK,
        "WARNING",
        STEP_KEYS,
        prepare=will(refused(403, "IP_BLOCKED")),
    ),
    "denied": Case(
        "check_status",
        {"SupplierAccessDenied": [1]} | A_CHECK,
        "WARNING",
        STEP_KEYS,
        prepare=will(refused(403, "API_DISABLED")),
    ),
    "refused": Case(
        "check_status", {"SupplierOrderRefused": [1]} | A_CHECK, "WARNING", STEP_KEYS, prepare=will(refused(403, "X"))
    ),
    "unknown": Case(
        "check_status", {"SupplierOrderUnknown": [1]} | A_CHECK, "ERROR", STEP_KEYS, prepare=will(refused(404, "X"))
    ),
    "rejected": Case(
        "check_status", {"SupplierOrderRejected": [1]} | A_CHECK, "ERROR", STEP_KEYS, prepare=will(refused(400, "X"))
    ),
    "contract broken": Case(
        "check_status",
        {"SupplierContractBroken": [1]} | A_CHECK,
        "ERROR",
        STEP_KEYS,
        prepare=will(answered(order_data("LOST"))),
    ),
    "gate closed": Case("check_status", {}, "INFO", STEP_KEYS, prepare=behind_a_closed_gate),
    "answered by the shared list": Case(
        "check_status", {"SnapshotHit": [1], "SnapshotAge": [0]}, "INFO", STEP_KEYS, STEP | {"retryState": {}}, listed
    ),
    "no slot": Case("check_status", {"SlotNotFound": [1]}, "INFO", STEP_KEYS, prepare=while_another_tries_the_key),
    "delivered": Case(
        "deliver_cards",
        {"SupplierAnswered": [1], "OrderDelivered": [1], "CardsDelivered": [2], "TimeToDelivery": [60]} | A_DELIVERY,
        "INFO",
        STEP_KEYS,
        prepare=will(answered()),
    ),
    "delivered without amounts": Case(
        "deliver_cards",
        {"AmountMissing": [1]}
        | {"SupplierAnswered": [1], "OrderDelivered": [1], "CardsDelivered": [2], "TimeToDelivery": [60]}
        | A_DELIVERY,
        "WARNING",
        STEP_KEYS,
        prepare=will(answered(order_data(fulfilled_amount="490 DZD", price_per_card=None))),
    ),
    "partially delivered, ordered long before the claim": Case(
        "deliver_cards",
        {"SupplierAnswered": [1], "OrderPartiallyDelivered": [1], "CardsDelivered": [2], "TimeToDelivery": [3600]}
        | A_DELIVERY,
        "INFO",
        STEP_KEYS,
        prepare=will(answered(order_data("PARTIALLY_FILLED", 4)), placedAt=(NOW - timedelta(hours=1)).isoformat()),
    ),
    "refunded": Case(
        "deliver_cards",
        {"SupplierAnswered": [1], "OrderRefunded": [1]} | A_DELIVERY,
        "INFO",
        STEP_KEYS,
        prepare=will(answered(order_data("REFUNDED"))),
    ),
    "delivered before": Case("deliver_cards", {}, "INFO", STEP_KEYS, prepare=delivered),
    "revealed": Case("reveal_cards", {"CardsRevealed": [1]}, "INFO", REVEAL_KEYS, ASKED, delivered),
    "refused to another user": Case(
        "reveal_cards", {"RevealRefused": [1]}, "WARNING", REVEAL_KEYS, ASKED | {"userId": "mallory"}, delivered
    ),
    "invalid request": Case(
        "reveal_cards", {"RevealRefused": [1]}, "WARNING", REVEAL_KEYS - {"orderId"}, {"orderId": f"{MARK} {MARK}"}
    ),
    "tampered": Case(
        "reveal_cards", {"RevealRefused": [1], "CardsUnreadable": [1]}, "ERROR", REVEAL_KEYS, ASKED, tampered
    ),
    "nothing to sweep": Case("sweep_orders", {"OrderSwept": [0]}, "INFO", SWEEP_KEYS, {}),
    "an order swept": Case("sweep_orders", {"OrderSwept": [1]}, "WARNING", SWEEP_KEYS, {}, will()),
    "nothing to reconcile": Case(
        "reconcile_orders",
        {"SupplierAnswered": [1], "OrdersReconciled": [0]} | NOTHING_NEW | A_LIST,
        "INFO",
        RECONCILED_KEYS,
        {},
        will(answered(page_data()), claim=False),
    ),
    "an unclaimed order": Case(
        "reconcile_orders",
        {"SupplierAnswered": [1], "OrdersReconciled": [1]}
        | NOTHING_NEW
        | {"OrderUnclaimed": [1], "ReconciliationDifference": [1]}
        | A_LIST,
        "INFO",
        RECONCILED_KEYS,
        {},
        will(answered(page_data(order_data(time="2026-03-14T01:00:00.000Z"))), claim=False),
    ),
    "an order that is a mismatch": Case(
        "reconcile_orders",
        {"SupplierAnswered": [1], "OrdersReconciled": [1]}
        | NOTHING_NEW
        | {"OrderMismatch": [1], "ReconciliationDifference": [1]}
        | A_LIST,
        "INFO",
        RECONCILED_KEYS,
        {},
        will(answered(page_data(order_data(status=card_data(1)[0]["value"]))), claim=False),
    ),
    "an order that is overdue": Case(
        "reconcile_orders",
        {"SupplierAnswered": [1], "OrdersReconciled": [1]}
        | NOTHING_NEW
        | {"OrderOverdue": [1], "ReconciliationDifference": [1]}
        | A_LIST,
        "INFO",
        RECONCILED_KEYS,
        {},
        will(answered(page_data(order_data(time="2026-03-14T01:00:00.000Z"))), claimed_at=NOW - timedelta(hours=1)),
    ),
    "an incomplete reconciliation": Case(
        "reconcile_orders",
        {"SupplierBusy": [1], "OrdersReconciled": [0]} | NOTHING_NEW | {"ReconciliationIncomplete": [1]} | A_LIST,
        "WARNING",
        RECONCILED_KEYS,
        {},
        will(refused(500, "INTERNAL_ERROR"), claim=False),
    ),
    "nothing waits": Case(
        "measure_orders",
        {"OrdersWaiting": [0], "OrdersHeld": [0], "OldestOrderWaiting": [0], "GateClosedSeconds": [0]},
        "INFO",
        MEASURED_KEYS,
        {},
    ),
    "orders wait at a blocked gate": Case(
        "measure_orders",
        {"OrdersWaiting": [2], "OrdersHeld": [1], "OldestOrderWaiting": [7200], "GateClosedSeconds": [60]},
        "INFO",
        MEASURED_KEYS,
        {},
        behind_a_closed_gate,
    ),
    "delayed": Case(
        "count_events", {"OrderDelayed": [1]}, "WARNING", EVENT_KEYS, about("OrderDelayed", pendingSeconds=600)
    ),
    "disputed": Case("count_events", {"OrderDisputed": [1]}, "ERROR", EVENT_KEYS, about("OrderDisputed", message="x")),
    "repeated": Case("count_events", {"OrderRepeated": [1]}, "INFO", EVENT_KEYS, about("OrderRepeated")),
    "mailed": Case("count_events", {"LinkMailSent": [1]}, "INFO", EVENT_KEYS, about("LinkMailSent")),
    "not mailed": Case(
        "count_events",
        {"LinkMailFailed": [1]},
        "WARNING",
        EVENT_KEYS | {"reason"},
        about("LinkMailFailed", reason="REFUSED"),
    ),
    "not mailed, because the order was refunded": Case(
        "count_events", {}, "WARNING", EVENT_KEYS | {"reason"}, about("LinkMailFailed", reason="EXPIRED")
    ),
    "bounced": Case(
        "count_events", {"LinkMailBounced": [1]}, "WARNING", EVENT_KEYS, about("LinkMailBounced", kind="PERMANENT")
    ),
    "viewed": Case("count_events", {"CardsViewed": [1]}, "INFO", EVENT_KEYS, about("CardsViewed", count=2)),
    "held without ids": Case(
        "count_events",
        {"OrderHeld": [1], "OrderHeldInvalidOrder": [1]},
        "ERROR",
        {"event", "reason"},
        {"detail-type": "OrderHeld", "detail": {"reason": "INVALID_ORDER", "message": "x"}},
    ),
} | {
    f"held as {reason}": Case(
        "count_events",
        {"OrderHeld": [1], f"OrderHeld{''.join(map(str.capitalize, reason.split('_')))}": [1]},
        "ERROR",
        EVENT_KEYS | {"reason"},
        about("OrderHeld", reason=reason, message="x"),
    )
    for reason in HeldReason
}
by_label = {metric.label: metric for metric in Metric}
OF_THE_BUYER = {"CreateLink, SendLink", "SendLink", "RedeemLink"}


def invoke(container: Container, cloud: Cloud, supplier: SupplierDouble, case: Case) -> dict[str, Any]:
    """Invoke the function and return its log line."""
    case.prepare(container, cloud, supplier)
    before = len(container.log)
    container.call(case.function, case.event)
    (line,) = container.log[before:]
    return line


@pytest.mark.parametrize("name", CASES)
def test_invocation_measures_exactly_what_happened(
    container: Container, cloud: Cloud, supplier: SupplierDouble, capsys: pytest.CaptureFixture[str], name: str
):
    case = CASES[name]
    case.prepare(container, cloud, supplier)
    capsys.readouterr()

    container.call(case.function, case.event)

    emitted = measured(capsys)
    assert [{label: line[label] for label in by_label if label in line} for line in emitted] == (
        [case.measures] if case.measures else []
    )
    for line in emitted:
        assert set(line) == {"_aws", "service", "stage", *case.measures}
        assert (line["service"], line["stage"]) == (SERVICE, "test")
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], [set(names) for names in directive["Dimensions"]]) == (
            NAMESPACE,
            [{"service", "stage"}],
        )
        assert {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]} == {
            label: by_label[label].unit for label in case.measures
        }


@pytest.mark.parametrize("name", CASES)
def test_invocation_is_one_log_line_of_its_level(
    container: Container, cloud: Cloud, supplier: SupplierDouble, name: str
):
    case = CASES[name]

    line = invoke(container, cloud, supplier, case)

    assert (line["level"], line["service"], line["function_request_id"]) == (case.level, SERVICE, "request-1")
    assert set(line) - LOGGED_BY_POWERTOOLS == case.keys
    assert line.get("orderId", ORDER_ID) == ORDER_ID
    assert line.get("execution", "event-1") == "event-1"
    assert line["location"].startswith("handler:")
    assert not leaks(container.everything_logged)


def test_every_metric_is_emitted_by_its_functions():
    emitters: dict[str, set[str]] = {}
    for case in CASES.values():
        for label in case.measures:
            emitters.setdefault(label, set()).add(case.function)

    # Those of the buyer's functions are in test_buyer_handlers.py.
    tested_elsewhere = OF_THE_BUYER | {"ServeShop"}
    assert set(emitters) == {
        label for label, metric in by_label.items() if metric.emitted_by not in tested_elsewhere
    }, "add a case that measures the metric to CASES"
    for label, functions in emitters.items():
        named = {function for function in FUNCTIONS if _spoken(function) in by_label[label].emitted_by}
        assert functions <= named


def _spoken(function: str) -> str:
    return "".join(map(str.capitalize, function.split("_")))


def test_metric_names_are_unique_and_alphanumeric():
    assert len(by_label) == len(Metric)
    assert all(label.isalnum() and label[0].isupper() for label in by_label)


@pytest.mark.parametrize("reason", HeldReason)
def test_every_held_reason_has_a_metric(reason: HeldReason):
    assert Metric.of_hold(reason).emitted_by == "CountEvents"


@pytest.mark.parametrize(
    "kind", sorted({*FailureKind} - {FailureKind.KEY_MISSING, FailureKind.GATE_CLOSED, FailureKind.QUEUED})
)
def test_every_result_of_a_call_has_a_metric(kind: FailureKind):
    assert Metric.of_call(kind).label.startswith("Supplier")


def test_unanswered_since_is_the_first_failed_check(container: Container, cloud: Cloud, supplier: SupplierDouble):
    first = (NOW - timedelta(seconds=50)).isoformat()
    supplier.will(refused(503, "X"), answered(order_data("HANDLING")))

    failed = container.call("check_status", STEP | {"failures": 2, "unansweredSince": first})
    pending = container.call("check_status", STEP | {"failures": 3, "unansweredSince": first})

    assert (failed["failures"], failed["unansweredSince"]) == (3, "2026-03-14T09:26:03Z")
    assert pending["failures"] == 0


def test_sweep_logs_unreadable_orders_and_failures(container: Container, cloud: Cloud):
    container.module("sweep_orders")  # the import silences the libraries
    cloud.claim("gone", claimed_at=NOW - timedelta(hours=2))
    cloud.claim("wrong", claimedAt=f"{MARK}", userId=f"{MARK} {MARK}")
    cloud.claim("stuck")
    cloud.at_next("PutEvents", {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]})

    with pytest.raises(Exception, match="2 orders"):  # unreadable rows need an operator
        container.call("sweep_orders", {})

    (line,) = container.log
    assert (line["level"], line["checked"], line["takenUp"]) == ("ERROR", 3, 1)
    assert line["unreadable"] == {"wrong": ["claimedAt", "userId"]}
    assert line["failures"] == {"EventNotPublishedError": 1}
    assert not leaks(container.everything_logged)


@pytest.mark.parametrize("name", ["check_status", "deliver_cards"])
def test_log_context_of_one_order_ends_with_its_call(
    container: Container, cloud: Cloud, supplier: SupplierDouble, name: str
):
    for order_id in ("order-1", "order-2"):
        cloud.claim(order_id)
        supplier.will(answered(order_data(_id=order_id)))
        container.call(name, STEP | {"orderId": order_id})
    with pytest.raises(ValueError, match="orderId"):
        container.call(name, {})

    assert [line["orderId"] for line in container.log] == ["order-1", "order-2"]
    assert "orderId" not in container.module(name).logger.get_current_keys()


@pytest.mark.parametrize("event", [{}, {"detail-type": "OrderPlaced", "detail": {}}, {"detail-type": "OrderHeld"}])
def test_event_that_is_not_counted_is_refused(container: Container, event: Any):
    with pytest.raises(ValueError, match="detail"):
        container.call("count_events", event)
