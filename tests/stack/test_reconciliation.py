"""Reconciliation on a real deployment: discrepancies are found and published once.

The tests share one deployment and run in the order of this file. Recent orders are not compared, so the orders of these
tests are dated back.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.events import OrderMismatch, OrderOverdue, OrderUnclaimed
from giftcards.contracts.statuses import OrderStatus
from giftcards_local import evidence
from giftcards_local.processes import wait_for
from support.service import Service

HOURS_AGO = datetime.now(UTC) - timedelta(hours=2)
AGED = {"placed_seconds_ago": 7200}


pytestmark = pytest.mark.usefixtures("unknown_orders")  # the fixture sets the API key


def rewrite(service: Service, order_id: str, **attributes: str) -> None:
    """Change attributes of an order's row, to date it back."""
    service.cloud.dynamodb().update_item(
        TableName=service.stack.outputs["CardTableName"],
        Key={"pk": f"ORDER#{order_id}", "sk": "ORDER"},
        UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in attributes),
        ExpressionAttributeValues={f":{name}": value for name, value in attributes.items()},
    )


def reconcile(service: Service, *options: str) -> dict[str, Any]:
    finished = service.giftcards("reconcile", "--json", *options)
    assert (finished.returncode, finished.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(finished.stdout)
    assert answer["outcome"] == "COMPLETE"
    return answer


def kinds(answer: dict[str, Any], order_id: str) -> list[tuple[str, bool]]:
    return [(found["kind"], found["isNew"]) for found in answer["differences"] if found["orderId"] == order_id]


@pytest.fixture(scope="module")
def unclaimed(service: Service) -> str:
    """Return an order that was paid two hours ago and never placed."""
    return service.order(3, **AGED)


@pytest.fixture(scope="module")
def overdue(service: Service, unknown_orders: tuple[str, ...]) -> str:
    """Return a held order that the supplier has settled."""
    order_id = unknown_orders[0]
    service.until_status(order_id, OrderStatus.HELD)
    rewrite(service, order_id, claimedAt=timestamp(HOURS_AGO))
    return service.order(2, order_id=order_id, **AGED)


@pytest.fixture(scope="module")
def mismatch(service: Service) -> str:
    """Return a delivered order whose price the supplier changed afterwards."""
    order_id = service.order(2, **AGED)
    service.publish({"orderId": order_id, "userId": "bob"})
    service.until_published(order_id)
    service.supplier.control.change_order(order_id, price_per_card=495.5)
    return order_id


@pytest.fixture(scope="module")
def pending_again(service: Service) -> str:
    """Return an order that was delivered hours ago, and is HANDLING at the supplier again."""
    order_id = service.order(1, **AGED)
    service.publish({"orderId": order_id, "userId": "carol"})
    service.until_published(order_id)
    rewrite(service, order_id, deliveredAt=timestamp(HOURS_AGO))
    service.supplier.control.change_order(order_id, fulfil_after=36_000)
    return order_id


@pytest.fixture(scope="module")
def matching(service: Service) -> str:
    """Return a delivered order that matches the supplier's."""
    order_id = service.order(4, type_id="TEST_PARTIAL", **AGED)
    service.publish({"orderId": order_id, "userId": "dave"})
    service.until_published(order_id)
    return order_id


def test_discrepancies_are_published_and_printed_as_json(
    service: Service, unclaimed: str, overdue: str, mismatch: str, matching: str
) -> None:
    recent = service.order(1)
    answer = reconcile(service)

    assert kinds(answer, unclaimed) == [("UNCLAIMED", True)]
    assert kinds(answer, overdue) == [("OVERDUE", True)]
    assert kinds(answer, mismatch) == [("MISMATCH", True)]
    assert kinds(answer, matching) == kinds(answer, recent) == []
    event = OrderUnclaimed.model_validate(service.until_event(unclaimed, "OrderUnclaimed"))
    assert (event.quantity, event.status) == (3, "FULFILLED")
    late = OrderOverdue.model_validate(service.until_event(overdue, "OrderOverdue"))
    assert (late.user_id, late.status, late.supplier_status) == ("erin", "HELD", "FULFILLED")
    assert 7200 <= late.pending_seconds < 9000
    differs = OrderMismatch.model_validate(service.until_event(mismatch, "OrderMismatch"))
    assert (differs.user_id, differs.fields) == ("bob", ("fulfilledAmount", "pricePerCard"))
    assert "pricePerCard is 490 here and 495.5 at the supplier" in differs.message


def test_order_that_is_pending_again_is_a_mismatch(service: Service, pending_again: str) -> None:
    assert kinds(reconcile(service), pending_again) == [("MISMATCH", True)]

    event = OrderMismatch.model_validate(service.until_event(pending_again, "OrderMismatch"))
    assert event.fields == ("status",)


def test_discrepancy_is_published_once(
    service: Service, unclaimed: str, overdue: str, mismatch: str, pending_again: str
) -> None:
    answer = reconcile(service)

    assert kinds(answer, unclaimed) == [("UNCLAIMED", False)]
    assert kinds(answer, overdue) == [("OVERDUE", False)]
    assert kinds(answer, mismatch) == kinds(answer, pending_again) == [("MISMATCH", False)]
    assert sum(answer["newDifferences"].values()) == 0
    for order_id in (unclaimed, overdue, mismatch, pending_again):
        types = [event["detail-type"] for event in service.bus.events_about(order_id)]
        assert sum(name in {"OrderUnclaimed", "OrderOverdue", "OrderMismatch"} for name in types) == 1


def test_resumed_order_is_no_discrepancy(service: Service, overdue: str) -> None:
    assert service.giftcards("resume", overdue).returncode == 0
    service.until_published(overdue)

    assert kinds(reconcile(service), overdue) == []


def test_every_page_of_the_list_is_compared(service: Service) -> None:
    order_ids = [service.order(1, placed_seconds_ago=90_000, fulfil_after=1_000_000) for _ in range(230)]
    service.supplier.control.clear_calls()
    yesterday = f"{datetime.now(UTC) - timedelta(seconds=90_000):%Y-%m-%d}"

    answer = reconcile(service, "--from", yesterday, "--to", yesterday)

    assert answer["pages"] == 3
    assert all(kinds(answer, order_id) == [("UNCLAIMED", True)] for order_id in order_ids)
    assert sum(call.route == "list" for call in service.supplier.control.calls()) == 3
    for order_id in order_ids:
        service.supplier.control.change_order(order_id, fulfil_after=0)


def test_discrepancies_are_printed_as_a_table(service: Service, unclaimed: str) -> None:
    shown = service.giftcards("reconcile")

    assert (shown.returncode, shown.stderr) == (0, "")
    (line,) = (line for line in shown.stdout.splitlines() if unclaimed in line)
    assert line.split()[1:7] == ["UNCLAIMED", "-", "status", "FULFILLED,", "quantity", "3"]
    assert "compared" in shown.stdout.splitlines()[-1]


def test_incomplete_run_fails_with_one_line(service: Service) -> None:
    fault = service.supplier.control.add_fault(route="list", status=500)
    try:
        failed = service.giftcards("reconcile", "--json")
    finally:
        service.supplier.control.clear_faults(fault)

    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "SUPPLIER_UNAVAILABLE" in failed.stderr
    assert json.loads(failed.stdout)["outcome"] == "SUPPLIER_UNAVAILABLE"


def test_invalid_day_is_wrong_usage(service: Service) -> None:
    refused = service.giftcards("reconcile", "--from", "2026-02-30")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1


def test_reconciliation_is_scheduled(service: Service) -> None:
    name = service.physical_id("ReconcileOrdersSchedule")
    schedule = service.cloud.client("scheduler").get_schedule(Name=name)

    assert (schedule["State"], schedule["ScheduleExpression"]) == ("ENABLED", "rate(1 hour)")
    function = service.physical_id("ReconcileOrdersFunction")
    assert schedule["Target"]["Arn"].endswith(f":function:{function}:live")


def test_discrepancy_rows_have_only_these_attributes(service: Service) -> None:
    table = service.physical_id("DifferenceTable")
    rows = service.cloud.client("dynamodb").scan(TableName=table)["Items"]

    assert rows
    assert all(set(row) == {"pk", "sk", "details", "message", "announcedAt", "expiresAt"} for row in rows)


def test_each_run_logs_its_metrics(service: Service) -> None:
    logs = service.cloud.client("logs")

    def lines() -> list[str]:
        groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
        return [
            event["message"]
            for name in groups
            if "reconcile-orders" in name or "ReconcileOrders" in name
            for event in logs.filter_log_events(logGroupName=name)["events"]
        ]

    assert wait_for(lambda: any('"ReconciliationIncomplete":[1.0]' in line for line in lines()), within_seconds=20)
    assert any('"OrderUnclaimed":[0.0]' in line and '"OrdersReconciled"' in line for line in lines())
    assert any('"level":"WARNING"' in line.replace(" ", "") and "orders reconciled" in line for line in lines())


def test_no_card_or_key_leaks(service: Service) -> None:
    searched, leaks = evidence.search(service.evidence(), service.secrets())
    assert searched > 50_000
    assert leaks == []
