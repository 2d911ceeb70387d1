"""The supplier's list against the orders here, on a real deployment: found, told once, and nothing of a card left.

The tests share one deployment and run in the order of this file. What is young is no difference yet, so the orders
of these tests were placed, claimed and closed long ago.
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


pytestmark = pytest.mark.usefixtures("unknown_orders")  # with them, the API key is set


def rewrite(service: Service, order_id: str, **attributes: str) -> None:
    """Change attributes of an order's row as if everything had happened earlier."""
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


def found(answer: dict[str, Any], order_id: str) -> list[tuple[str, bool]]:
    return [(one["kind"], one["isNew"]) for one in answer["differences"] if one["orderId"] == order_id]


@pytest.fixture(scope="module")
def unclaimed(service: Service) -> str:
    """Give an order that was paid two hours ago and never announced."""
    return service.order(3, **AGED)


@pytest.fixture(scope="module")
def overdue(service: Service, unknown_orders: tuple[str, ...]) -> str:
    """Give an order that is held, and that the supplier has settled since."""
    order_id = unknown_orders[0]
    service.until_status(order_id, OrderStatus.HELD)
    rewrite(service, order_id, claimedAt=timestamp(HOURS_AGO))
    return service.order(2, order_id=order_id, **AGED)


@pytest.fixture(scope="module")
def mismatch(service: Service) -> str:
    """Give an order that was delivered, and whose price the supplier has changed since."""
    order_id = service.order(2, **AGED)
    service.publish({"orderId": order_id, "userId": "bob"})
    service.until_published(order_id)
    service.supplier.control.change_order(order_id, price_per_card=495.5)
    return order_id


@pytest.fixture(scope="module")
def pending_again(service: Service) -> str:
    """Give an order that was delivered hours ago, and that the supplier says to be handling again."""
    order_id = service.order(1, **AGED)
    service.publish({"orderId": order_id, "userId": "carol"})
    service.until_published(order_id)
    rewrite(service, order_id, deliveredAt=timestamp(HOURS_AGO))
    service.supplier.control.change_order(order_id, fulfil_after=36_000)
    return order_id


@pytest.fixture(scope="module")
def alike(service: Service) -> str:
    """Give an order that was delivered as the supplier says."""
    order_id = service.order(4, type_id="TEST_PARTIAL", **AGED)
    service.publish({"orderId": order_id, "userId": "dave"})
    service.until_published(order_id)
    return order_id


def test_differences_are_found_announced_and_told_as_json(
    service: Service, unclaimed: str, overdue: str, mismatch: str, alike: str
) -> None:
    young = service.order(1)
    answer = reconcile(service)

    assert found(answer, unclaimed) == [("UNCLAIMED", True)]
    assert found(answer, overdue) == [("OVERDUE", True)]
    assert found(answer, mismatch) == [("MISMATCH", True)]
    assert found(answer, alike) == found(answer, young) == []
    event = OrderUnclaimed.model_validate(service.until_event(unclaimed, "OrderUnclaimed"))
    assert (event.quantity, event.status) == (3, "FULFILLED")
    late = OrderOverdue.model_validate(service.until_event(overdue, "OrderOverdue"))
    assert (late.user_id, late.status, late.supplier_status) == ("erin", "HELD", "FULFILLED")
    assert 7200 <= late.pending_seconds < 9000
    differs = OrderMismatch.model_validate(service.until_event(mismatch, "OrderMismatch"))
    assert (differs.user_id, differs.fields) == ("bob", ("fulfilledAmount", "pricePerCard"))
    assert "pricePerCard is 490 here and 495.5 at the supplier" in differs.message


def test_an_order_that_is_pending_again_at_the_supplier_is_a_mismatch(service: Service, pending_again: str) -> None:
    assert found(reconcile(service), pending_again) == [("MISMATCH", True)]

    event = OrderMismatch.model_validate(service.until_event(pending_again, "OrderMismatch"))
    assert event.fields == ("status",)


def test_what_was_announced_is_not_announced_again(
    service: Service, unclaimed: str, overdue: str, mismatch: str, pending_again: str
) -> None:
    answer = reconcile(service)

    assert found(answer, unclaimed) == [("UNCLAIMED", False)]
    assert found(answer, overdue) == [("OVERDUE", False)]
    assert found(answer, mismatch) == found(answer, pending_again) == [("MISMATCH", False)]
    assert sum(answer["newDifferences"].values()) == 0
    for order_id in (unclaimed, overdue, mismatch, pending_again):
        kinds = [event["detail-type"] for event in service.bus.heard_of(order_id)]
        assert sum(kind in {"OrderUnclaimed", "OrderOverdue", "OrderMismatch"} for kind in kinds) == 1


def test_an_order_that_is_taken_up_is_no_difference_any_more(service: Service, overdue: str) -> None:
    assert service.giftcards("resume", overdue).returncode == 0
    service.until_published(overdue)

    assert found(reconcile(service), overdue) == []


def test_a_list_of_several_pages_is_compared_to_its_end(service: Service) -> None:
    order_ids = [service.order(1, placed_seconds_ago=90_000, fulfil_after=1_000_000) for _ in range(230)]
    service.supplier.control.clear_calls()
    yesterday = f"{datetime.now(UTC) - timedelta(seconds=90_000):%Y-%m-%d}"

    answer = reconcile(service, "--from", yesterday, "--to", yesterday)

    assert answer["pages"] == 3
    assert all(found(answer, order_id) == [("UNCLAIMED", True)] for order_id in order_ids)
    assert sum(call.route == "list" for call in service.supplier.control.calls()) == 3
    for order_id in order_ids:
        service.supplier.control.change_order(order_id, fulfil_after=0)


def test_differences_are_shown_as_a_table(service: Service, unclaimed: str) -> None:
    shown = service.giftcards("reconcile")

    assert (shown.returncode, shown.stderr) == (0, "")
    (line,) = (line for line in shown.stdout.splitlines() if unclaimed in line)
    assert line.split()[1:7] == ["UNCLAIMED", "-", "status", "FULFILLED,", "quantity", "3"]
    assert "compared" in shown.stdout.splitlines()[-1]


def test_a_run_that_cannot_be_completed_fails_with_one_line(service: Service) -> None:
    fault = service.supplier.control.add_fault(route="list", status=500)
    try:
        failed = service.giftcards("reconcile", "--json")
    finally:
        service.supplier.control.clear_faults(fault)

    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "SUPPLIER_UNAVAILABLE" in failed.stderr
    assert json.loads(failed.stdout)["outcome"] == "SUPPLIER_UNAVAILABLE"


def test_days_that_cannot_be_are_bad_usage(service: Service) -> None:
    refused = service.giftcards("reconcile", "--from", "2026-02-30")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1


def test_the_reconciliation_is_scheduled(service: Service) -> None:
    name = service.physical_id("ReconcileOrdersSchedule")
    schedule = service.cloud.client("scheduler").get_schedule(Name=name)

    assert (schedule["State"], schedule["ScheduleExpression"]) == ("ENABLED", "rate(1 hour)")
    function = service.physical_id("ReconcileOrdersFunction")
    assert schedule["Target"]["Arn"].endswith(f":function:{function}:live")


def test_the_roles_of_the_stack_let_nobody_else_read_the_list_of_differences(service: Service) -> None:
    table = service.physical_id("DifferenceTable")
    rows = service.cloud.client("dynamodb").scan(TableName=table)["Items"]

    assert rows
    assert all(set(row) == {"pk", "sk", "details", "message", "announcedAt", "expiresAt"} for row in rows)


def test_each_run_leaves_its_metrics_in_its_log(service: Service) -> None:
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


def test_no_card_and_no_key_is_found_in_anything_that_all_this_left_behind(service: Service) -> None:
    searched, leaks = evidence.search(service.evidence(), service.secrets())
    assert searched > 50_000
    assert leaks == []
