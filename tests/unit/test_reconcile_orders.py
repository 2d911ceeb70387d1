"""ReconcileOrders compares the whole list or reports that it did not, and publishes each discrepancy once."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from pydantic import ValidationError

from giftcards.adapters import aws
from giftcards.adapters.discrepancy_table import DiscrepancyTable
from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.order_table import OrderTable
from giftcards.adapters.timestamps import timestamp
from giftcards.metrics import Metric
from giftcards.rules.discrepancies import DiscrepancyKind
from giftcards.rules.gate import Lease, Slot
from giftcards.use_cases import reconcile_orders
from giftcards.use_cases.reconcile_orders import (
    MAX_LISTED,
    MAX_PAGES,
    EmptyWindowError,
    ReconcileRequest,
    Reconciliation,
    ReconciliationOutcome,
    ReconciliationReport,
    Window,
)
from support.cloud import Cloud, client_error
from support.examples import NOW
from support.gate import Clock, Measures, supplier_on
from support.secrets import MARK, card_data, leaks
from support.supplier import SupplierDouble, answered, order_data, page_data, refused

LONG_AGO = NOW - timedelta(hours=5)
WINDOW = Window(datetime(2026, 3, 13, tzinfo=UTC), NOW)
COMPLETE, INCOMPLETE = ReconciliationOutcome.COMPLETE, ReconciliationOutcome.INCOMPLETE
UNAVAILABLE = ReconciliationOutcome.SUPPLIER_UNAVAILABLE
NOT_TAKEN = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": MARK}]}


def order(order_id: str, status: str = "FULFILLED", quantity: int = 2, **changes: Any) -> dict[str, Any]:
    """Return an order as the supplier lists it, placed long ago, with its cards in plaintext."""
    return order_data(status, quantity, **{"_id": order_id, "time": timestamp(LONG_AGO)} | changes)


def listing(orders: Sequence[Any], page: int = 1, page_size: int = 100) -> httpx.Response:
    """Return the response with a page of these orders, newest first."""
    found = orders[(page - 1) * page_size : page * page_size]
    pages = -(-len(orders) // page_size)
    return answered(page_data(*found, page=page, page_size=page_size, pages=pages, results=len(orders)))


class Bench:
    """A reconciliation with a double of the supplier and a clock."""

    def __init__(self, cloud: Cloud, supplier: SupplierDouble) -> None:
        self.clock = Clock()
        self.pauses: list[float] = []
        self.measures = Measures()
        self.reconciliation = Reconciliation(
            supplier=supplier_on(cloud, supplier, self.clock, self.measures),
            orders=OrderTable(cloud.card_table, aws.dynamodb(), pause=self.pause),
            discrepancies=DiscrepancyTable(cloud.discrepancy_table, aws.dynamodb()),
            bus=EventBus(cloud.bus, aws.event_bridge()),
            clock=self.clock,
            pause=self.pause,
            jitter=lambda: 0.5,
        )
        self._supplier = supplier

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    def run(self, *answers: httpx.Response | Exception, seconds: float = 300) -> ReconciliationReport:
        """Reconcile once, with these responses and this much time."""
        self._supplier.will(*answers)
        report = self.reconciliation.reconcile(WINDOW, time_out=self.clock.at + timedelta(seconds=seconds))
        assert not leaks(repr(report), report.model_dump_json())
        return report


@pytest.fixture
def bench(cloud: Cloud, supplier: SupplierDouble) -> Bench:
    cloud.set_api_key()
    return Bench(cloud, supplier)


def deliver(cloud: Cloud, order_id: str, **changes: Any) -> None:
    """Write the row of an order that was delivered as the supplier lists it."""
    numbers = {"quantity": 2, "fulfilledQuantity": 2, "fulfilledAmount": 981, "pricePerCard": Decimal("490.5")}
    closed = {"status": "FULFILLED", **numbers, "deliveryId": "d", "deliveredAt": timestamp(LONG_AGO)}
    cloud.claim(order_id, claimed_at=LONG_AGO, **closed | changes)


def kinds(report: ReconciliationReport) -> dict[str | None, tuple[DiscrepancyKind, bool]]:
    return {found.order_id: (found.kind, found.is_new) for found in report.differences}


# ------------------------------------------------------------- what is found


def test_equal_orders_are_no_discrepancy(cloud: Cloud, bench: Bench):
    deliver(cloud, "done")
    cloud.claim("pending", claimed_at=LONG_AGO)

    report = bench.run(listing([order("pending", "HANDLING"), order("done")]))

    assert (report.outcome, report.pages, report.orders, report.differences) == (COMPLETE, 1, 2, ())
    assert (cloud.announced(), cloud.rows(cloud.discrepancy_table)) == ([], [])


def test_each_kind_of_discrepancy_is_published(cloud: Cloud, bench: Bench):
    cloud.claim("overdue", claimed_at=LONG_AGO)
    cloud.claim("held", claimed_at=LONG_AGO)
    cloud.hold("held")
    deliver(cloud, "mismatch", fulfilledAmount=980)

    report = bench.run(listing([order(name) for name in ("nobody's", "overdue", "held", "mismatch")]))

    assert (report.outcome, report.orders, report.differences_found) == (COMPLETE, 4, 4)
    assert kinds(report) == {
        "nobody's": (DiscrepancyKind.UNCLAIMED, True),
        "overdue": (DiscrepancyKind.OVERDUE, True),
        "held": (DiscrepancyKind.OVERDUE, True),
        "mismatch": (DiscrepancyKind.MISMATCH, True),
    }
    published = {detail["orderId"]: (kind, detail) for kind, detail in cloud.announced()}
    assert {order_id: kind for order_id, (kind, _) in published.items()} == {
        "nobody's": "OrderUnclaimed",
        "overdue": "OrderOverdue",
        "held": "OrderOverdue",
        "mismatch": "OrderMismatch",
    }
    assert published["held"][1]["status"] == "HELD"
    assert published["mismatch"][1]["fields"] == ["fulfilledAmount"]


def test_metrics_count_new_discrepancies_and_zeros(cloud: Cloud, bench: Bench):
    cloud.claim("overdue", claimed_at=LONG_AGO)
    orders = [order("overdue"), order("one"), order("two")]

    assert bench.run(listing(orders)).metrics == {
        Metric.ORDER_UNCLAIMED: 2,
        Metric.ORDER_OVERDUE: 1,
        Metric.ORDER_MISMATCH: 0,
        Metric.RECONCILIATION_DIFFERENCE: 3,
        Metric.ORDERS_RECONCILED: 3,
        Metric.RECONCILIATION_INCOMPLETE: 0,
    }
    again = bench.run(listing(orders)).metrics
    assert again == dict.fromkeys(again, 0) | {Metric.ORDERS_RECONCILED: 3}


@pytest.mark.parametrize("changes", [{"status": "LOST"}, {"quantity": 0}, {"fulfilled_quantity": 1}])
def test_broken_order_is_published_and_hides_no_other(cloud: Cloud, bench: Bench, changes: dict[str, Any]):
    broken = order("broken") | changes

    report = bench.run(listing([order("one"), broken, order("two")]))

    assert report.outcome is COMPLETE
    assert {order_id: kind for order_id, (kind, _) in kinds(report).items()} == {
        "one": DiscrepancyKind.UNCLAIMED,
        "broken": DiscrepancyKind.MISMATCH,
        "two": DiscrepancyKind.UNCLAIMED,
    }


@pytest.mark.parametrize("field", ["quantity", "fulfilled_quantity"])
@pytest.mark.parametrize("number", [10**60, 1e200, 1e-200, f"0.{'1' * 50}"])
def test_unstorable_number_is_published_and_hides_no_other(cloud: Cloud, bench: Bench, field: str, number: float | str):
    deliver(cloud, "huge")
    orders = [order("huge") | {field: number}, order("two")]

    for is_new in (True, False):
        assert kinds(bench.run(listing(orders))) == {
            "huge": (DiscrepancyKind.MISMATCH, is_new),
            "two": (DiscrepancyKind.UNCLAIMED, is_new),
        }


def test_orders_without_a_readable_id_fail_every_run(cloud: Cloud, bench: Bench):
    orders = [order(card_data(1)[0]["value"]), order("one"), MARK]

    for expected in ([True, True], [False, False]):
        report = bench.run(listing(orders))
        assert report.outcome is ReconciliationOutcome.SUPPLIER_CONTRACT_BROKEN
        assert report.message.startswith("2 orders ")
        assert report.metrics[Metric.RECONCILIATION_INCOMPLETE] == 1
        assert [(found.order_id, found.is_new) for found in report.differences] == [
            (None, expected[0]),
            ("one", expected[1]),
        ]
    assert [detail.get("orderId") for _, detail in cloud.announced()] == [None, "one"]


def test_unreadable_row_is_published_and_hides_no_other(cloud: Cloud, bench: Bench):
    cloud.claim("wrong", claimedAt=f"{MARK}", userId=f"{MARK} {MARK}")
    cloud.claim("overdue", claimed_at=LONG_AGO)

    report = bench.run(listing([order("wrong"), order("overdue")]))

    assert kinds(report)["wrong"] == (DiscrepancyKind.MISMATCH, True)
    assert kinds(report)["overdue"] == (DiscrepancyKind.OVERDUE, True)
    (detail,) = (detail for kind, detail in cloud.announced() if kind == "OrderMismatch")
    assert "claimedAt, userId" in detail["message"]


def test_no_card_of_the_list_is_published_stored_or_returned(cloud: Cloud, bench: Bench):
    cloud.claim("overdue", claimed_at=LONG_AGO)
    deliver(cloud, "mismatch")
    cards = card_data(1)[0]
    orders = [
        order("overdue", note=cards),
        order("mismatch", price_per_card=1, type=cards["value"]),
        order("nobody's", product=cards["serial"]),
        order("broken", status=cards["value"]),
        order("broken-too", time=cards["serial"]) | {"quantity": cards},
        order("broken-as-well", cards=MARK, fulfilled_amount=MARK),
        cards,
        [cards],
    ]

    report = bench.run(listing(orders))

    assert report.differences_found == 7
    stored = [cloud.rows(table) for table in (cloud.discrepancy_table, cloud.card_table, cloud.gate_table)]
    assert not leaks(cloud.announced(), stored, cloud.sent("PutItem"), report.model_dump())


def test_report_lists_some_discrepancies_and_counts_all(cloud: Cloud, bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconcile_orders, "MAX_LISTED", 2)

    report = bench.run(listing([order(f"order-{number}") for number in range(5)]))

    assert [found.order_id for found in report.differences] == ["order-0", "order-1"]
    assert (report.differences_found, report.metrics[Metric.ORDER_UNCLAIMED]) == (5, 5)
    assert len(cloud.announced()) == 5


def test_largest_answer_fits_into_what_lambda_returns(bench: Bench):
    report = bench.run(listing([order("x" * 128, status="LOST")]))
    (found,) = report.differences

    largest = report.model_copy(update={"differences": (found,) * MAX_LISTED})

    assert len(largest.model_dump_json(by_alias=True)) < 3_000_000


# ------------------------------------------------------------- published once


def test_discrepancy_is_published_once_over_many_runs(cloud: Cloud, bench: Bench):
    cloud.claim("overdue", claimed_at=LONG_AGO)
    deliver(cloud, "mismatch", pricePerCard=1)
    orders = [order("overdue"), order("mismatch"), order("nobody's"), order("broken", status="LOST")]

    reports = []
    for _ in range(3):
        reports.append(bench.run(listing(orders)))
        bench.clock.advance(3600)

    assert [report.differences_found for report in reports] == [4, 4, 4]
    assert [report.metrics[Metric.RECONCILIATION_DIFFERENCE] for report in reports] == [4, 0, 0]
    assert len(cloud.announced()) == 4


def test_discrepancy_with_other_details_is_published_again(cloud: Cloud, bench: Bench):
    for status in ("HANDLING", "HANDLING", "FULFILLED", "FULFILLED"):
        bench.run(listing([order("nobody's", status)]))

    assert [detail["status"] for _, detail in cloud.announced()] == ["HANDLING", "FULFILLED"]


def test_another_kind_of_the_same_order_is_published(cloud: Cloud, bench: Bench):
    bench.run(listing([order("late")]))
    cloud.claim("late", claimed_at=LONG_AGO)
    bench.run(listing([order("late")]))

    assert [kind for kind, _ in cloud.announced()] == ["OrderUnclaimed", "OrderOverdue"]


def test_record_of_a_discrepancy_is_kept_for_90_days(cloud: Cloud, bench: Bench):
    bench.run(listing([order("nobody's")]))

    (record,) = cloud.rows(cloud.discrepancy_table)
    assert record["message"]
    assert [record] == [
        {
            "pk": "ORDER#nobody's",
            "sk": "UNCLAIMED",
            "details": {"ours": {}, "theirs": {"status": "FULFILLED", "quantity": 2}, "fields": []},
            "message": record["message"],
            "announcedAt": "2026-03-14T09:26:53.000Z",
            "expiresAt": int((NOW + timedelta(days=90)).timestamp()),
        }
    ]


def test_discrepancy_is_published_again_after_a_crash(cloud: Cloud, bench: Bench):
    cloud.at_next("PutItem", client_error("PutItem"))
    with pytest.raises(ClientError):
        bench.run(listing([order("nobody's")]))

    assert kinds(bench.run(listing([order("nobody's")]))) == {"nobody's": (DiscrepancyKind.UNCLAIMED, True)}

    assert len(cloud.announced()) == 2


def test_unpublished_discrepancy_is_not_recorded(cloud: Cloud, bench: Bench):
    cloud.at_next("PutEvents", client_error("PutEvents"))
    with pytest.raises(ClientError):
        bench.run(listing([order("nobody's")]))
    assert cloud.rows(cloud.discrepancy_table) == []

    assert bench.run(listing([order("nobody's")])).metrics[Metric.ORDER_UNCLAIMED] == 1


def test_rejected_event_ends_the_run_as_incomplete(cloud: Cloud, bench: Bench):
    cloud.at_next("PutEvents", NOT_TAKEN)

    report = bench.run(listing([order("one"), order("two")]))

    assert report.outcome is INCOMPLETE
    assert "OrderUnclaimed: InternalFailure" in report.message
    assert report.metrics[Metric.RECONCILIATION_INCOMPLETE] == 1
    assert cloud.rows(cloud.discrepancy_table) == []
    assert bench.run(listing([order("one"), order("two")])).metrics[Metric.ORDER_UNCLAIMED] == 2


# --------------------------------------------------------------------- pages


def test_250_orders_on_three_pages_are_all_compared(cloud: Cloud, supplier: SupplierDouble, bench: Bench):
    orders = [order(f"order-{number}") for number in range(250)]
    deliver(cloud, "order-7")
    cloud.forget()

    report = bench.run(*(listing(orders, page) for page in (1, 2, 3)))

    assert (report.outcome, report.pages, report.orders, report.differences_found) == (COMPLETE, 3, 250, 249)
    assert [dict(request.url.params) for request in supplier.requests] == [
        {"page": page, "pageSize": "100", "from": "2026-03-13T00:00:00.000Z", "to": "2026-03-14T09:26:53.000Z"}
        for page in "123"
    ]
    assert [len(params["RequestItems"]["CardTable"]["Keys"]) for params in cloud.sent("BatchGetItem")] == [100, 100, 50]
    assert {detail["orderId"] for _, detail in cloud.announced()} == {
        f"order-{number}" for number in range(250) if number != 7
    }


def test_shifting_pages_miss_and_repeat_nothing(cloud: Cloud, bench: Bench):
    # The supplier ignores the end of the window, and gets orders between two pages.
    orders = [order(f"order-{number}") for number in range(150)]
    later = [order("later-1"), order("later-2"), *orders]

    report = bench.run(listing(orders, 1), listing(later, 2))

    # Shifted orders appear twice, and none is missing.
    published = [detail["orderId"] for _, detail in cloud.announced()]
    assert sorted(published) == sorted(f"order-{number}" for number in range(150))
    assert (report.outcome, report.orders) == (COMPLETE, 150)


def test_list_that_grows_by_a_page_is_read_to_its_new_end(bench: Bench):
    orders = [order(f"order-{number}", "HANDLING") for number in range(200)]
    grown = [order("later"), *orders]

    report = bench.run(listing(orders, 1), listing(grown, 2), listing(grown, 3))

    assert (report.outcome, report.pages, report.orders) == (COMPLETE, 3, 200)


def test_empty_list_is_complete(bench: Bench):
    report = bench.run(listing([]))

    assert (report.outcome, report.pages, report.orders) == (COMPLETE, 1, 0)


def test_too_many_pages_make_a_run_incomplete(supplier: SupplierDouble, bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reconcile_orders, "MAX_PAGES", 2)
    orders = [order(f"order-{number}", "HANDLING") for number in range(250)]

    report = bench.run(listing(orders, 1), listing(orders, 2))

    assert (report.outcome, report.pages, report.orders) == (INCOMPLETE, 2, 200)
    assert "2 pages" in report.message


def test_200_pages_are_read_at_most():
    assert MAX_PAGES == 200


# ----------------------------------------------------------- incomplete runs


@pytest.mark.parametrize(
    ("answer", "outcome", "message"),
    [
        (refused(500, "INTERNAL_ERROR"), UNAVAILABLE, "500 INTERNAL_ERROR"),
        (refused(429, "RATE_LIMIT_EXCEEDED"), UNAVAILABLE, "429 RATE_LIMIT_EXCEEDED"),
        (refused(401, "INVALID_ACCESS_TOKEN"), ReconciliationOutcome.KEY_REFUSED, "401 INVALID_ACCESS_TOKEN"),
        (refused(403, "IP_BLOCKED"), UNAVAILABLE, "403 IP_BLOCKED"),
        (refused(400, "ERR_VALIDATION"), UNAVAILABLE, "400 ERR_VALIDATION"),
        (httpx.Response(404, json={"statusCode": 404}), UNAVAILABLE, "404"),
        (httpx.ReadTimeout(MARK), UNAVAILABLE, "ReadTimeout"),
        (answered({"items": [order("one")]}), ReconciliationOutcome.SUPPLIER_CONTRACT_BROKEN, "data.pagination"),
        (
            answered(page_data(order("one"), page=2, pages=9, results=150)),
            ReconciliationOutcome.SUPPLIER_CONTRACT_BROKEN,
            "totalPages",
        ),
    ],
)
def test_failure_on_a_page_keeps_what_was_found(
    cloud: Cloud, bench: Bench, answer: httpx.Response | Exception, outcome: ReconciliationOutcome, message: str
):
    orders = [order(f"order-{number}") for number in range(150)]

    report = bench.run(listing(orders, 1), answer)

    assert (report.outcome, report.pages, report.orders) == (outcome, 1, 100)
    assert message in report.message
    assert (report.differences_found, report.metrics[Metric.RECONCILIATION_INCOMPLETE]) == (100, 1)
    assert len(cloud.announced()) == 100


def test_supplier_is_not_called_while_the_gate_is_blocked(cloud: Cloud, supplier: SupplierDouble, bench: Bench):
    bench.run(refused(429, "RATE_LIMIT_EXCEEDED", Retry_After="600"))

    report = bench.run()

    assert (report.outcome, report.pages, report.orders) == (UNAVAILABLE, 0, 0)
    assert len(supplier.requests) == 1


def test_run_without_a_key_is_not_complete(cloud: Cloud, supplier: SupplierDouble):
    report = Bench(cloud, supplier).run()

    assert report.outcome is UNAVAILABLE
    assert supplier.requests == []


def occupy(cloud: Cloud, until: datetime) -> None:
    """Acquire the only slot of an unproven key."""
    gate = GateTable(cloud.gate_table, aws.dynamodb())
    assert gate.acquire(Slot(1, Lease(until, "caller", None), alone=True), gate.read())[0]


def test_run_queues_while_others_call_the_supplier(cloud: Cloud, bench: Bench):
    occupy(cloud, NOW + timedelta(seconds=4))

    report = bench.run(listing([order("one", "HANDLING")]))

    assert report.outcome is COMPLETE
    assert sum(bench.pauses) >= 4


def test_run_that_queues_until_its_timeout_is_incomplete(cloud: Cloud, bench: Bench):
    occupy(cloud, NOW + timedelta(hours=1))

    report = bench.run(seconds=98)

    assert report.outcome is UNAVAILABLE
    assert bench.clock.at == NOW + timedelta(seconds=68)


def test_run_stops_30_seconds_before_its_timeout(
    supplier: SupplierDouble, bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    orders = [order(f"order-{number}", "HANDLING", time=timestamp(NOW)) for number in range(500)]
    handle = supplier._handle

    def slowly(request: httpx.Request) -> httpx.Response:
        bench.clock.advance(15)
        return handle(request)

    monkeypatch.setattr(supplier, "_handle", slowly)
    bench.reconciliation.supplier.supplier._client = supplier.client()

    report = bench.run(listing(orders, 1), listing(orders, 2), seconds=60)

    assert (report.outcome, report.pages) == (INCOMPLETE, 2)


def test_run_stops_between_two_events_too(cloud: Cloud, bench: Bench):
    cloud.at_next("PutEvents", lambda: bench.clock.advance(11), times=99)

    report = bench.run(listing([order(f"order-{number}") for number in range(9)]), seconds=60)

    assert (report.outcome, report.differences_found, report.pages) == (INCOMPLETE, 3, 0)
    assert len(cloud.announced()) == len(cloud.rows(cloud.discrepancy_table)) == 3


def test_run_that_cannot_read_all_rows_is_not_complete(cloud: Cloud, bench: Bench):
    unprocessed = {"CardTable": {"Keys": [{"pk": "ORDER#one", "sk": "ORDER"}]}}
    cloud.at_next("BatchGetItem", {"Responses": {}, "UnprocessedKeys": unprocessed}, times=99)

    report = bench.run(listing([order("one")]))

    assert report.outcome is INCOMPLETE
    assert "1 of 1 orders" in report.message
    assert cloud.announced() == []


# -------------------------------------------------------------------- window


@pytest.mark.parametrize(
    ("arguments", "placed_from", "placed_to"),
    [
        ({}, "2026-03-13T00:00:00.000Z", "2026-03-14T09:26:53.000Z"),
        ({"from": "2026-03-10"}, "2026-03-10T00:00:00.000Z", "2026-03-14T09:26:53.000Z"),
        ({"from": "2026-03-14"}, "2026-03-14T00:00:00.000Z", "2026-03-14T09:26:53.000Z"),
        ({"to": "2026-03-10"}, "2026-03-09T00:00:00.000Z", "2026-03-11T00:00:00.000Z"),
        ({"to": "9999-12-31"}, "2026-03-13T00:00:00.000Z", "2026-03-14T09:26:53.000Z"),
        ({"from": "2026-03-01", "to": "2026-03-01"}, "2026-03-01T00:00:00.000Z", "2026-03-02T00:00:00.000Z"),
        ({"source": "aws.scheduler"}, "2026-03-13T00:00:00.000Z", "2026-03-14T09:26:53.000Z"),
    ],
)
def test_window_is_whole_days_in_utc_up_to_now(arguments: dict[str, Any], placed_from: str, placed_to: str):
    window = ReconcileRequest.model_validate(arguments).window(NOW)

    assert (timestamp(window.placed_from), timestamp(window.placed_to)) == (placed_from, placed_to)


def test_days_are_days_in_utc_wherever_the_clock_is():
    elsewhere = datetime.fromisoformat("2026-03-15T01:00:00+03:00")

    assert ReconcileRequest().window(elsewhere).placed_from == datetime(2026, 3, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first_day": date(2026, 3, 15)}, "future"),
        ({"first_day": date(2026, 3, 12), "last_day": date(2026, 3, 11)}, "last day"),
    ],
)
def test_empty_window_is_refused(arguments: dict[str, Any], message: str):
    with pytest.raises(EmptyWindowError, match=message):
        ReconcileRequest(**arguments).window(NOW)


@pytest.mark.parametrize(
    "arguments", [{"from": MARK}, {"to": "2026-13-01"}, {"from": "1999-12-31"}, {"to": "0001-01-01"}]
)
def test_invalid_day_is_refused_by_its_field(arguments: dict[str, Any]):
    with pytest.raises(ValidationError, match=next(iter(arguments))) as refusal:
        ReconcileRequest.model_validate(arguments)

    assert not leaks(refusal.value)


# ----------------------------------------------------------------------- gate


def test_failure_of_the_list_blocks_the_gate(cloud: Cloud, supplier: SupplierDouble, bench: Bench):
    bench.run(refused(401, "INVALID_ACCESS_TOKEN"))
    again = bench.run()

    # The call with the refused key returns KEY_REFUSED; all others are blocked
    assert [metric for metric, _ in bench.measures.taken].count(Metric.SUPPLIER_KEY_REFUSED) == 1
    assert again.outcome is UNAVAILABLE
    (record,) = cloud.rows(cloud.gate_table)
    assert record["refusedReason"] == "KEY_REFUSED"
    assert not leaks(record)


def test_each_page_acquires_and_releases_one_slot(cloud: Cloud, bench: Bench):
    orders = [order(f"order-{number}", "HANDLING") for number in range(250)]

    bench.run(*(listing(orders, page) for page in (1, 2, 3)))

    taken = [params for params in cloud.sent("UpdateItem") if re.match(r"SET lease\d", params["UpdateExpression"])]
    assert len(taken) == 4  # the first write finds that no key is accepted yet, and changes nothing
    (record,) = cloud.rows(cloud.gate_table)
    assert not [name for name in record if name.startswith("lease")]


# -------------------------------------------------------------------- writing


def test_only_discrepancies_and_the_gate_are_written(cloud: Cloud, bench: Bench):
    cloud.claim("overdue", claimed_at=LONG_AGO)
    before = cloud.rows(cloud.card_table)

    bench.run(listing([order("overdue"), order("nobody's")]))

    written = {params["TableName"] for name in ("PutItem", "UpdateItem") for params in cloud.sent(name)}
    assert written == {cloud.discrepancy_table, cloud.gate_table}
    assert cloud.rows(cloud.card_table) == before


def test_rows_are_read_in_batches_of_order_attributes(cloud: Cloud, bench: Bench):
    bench.run(listing([order("one")]))

    reads = {name for name, params in cloud.calls if "CardTable" in str(params)}
    assert reads == {"BatchGetItem"}
    (params,) = cloud.sent("BatchGetItem")
    arguments = params["RequestItems"]["CardTable"]
    assert "ciphertext" not in str(arguments)
    assert set(arguments["ProjectionExpression"].split(", ")) == set(arguments["ExpressionAttributeNames"])
