"""Orders that need a sweep, an operator or a replay, on a real deployment.

The tests share one deployment and run in the order of this file.
"""

import json
from typing import Any

import pytest

from giftcards.contracts.events import CardsDelivered, HeldReason
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import Order
from giftcards_local import evidence
from giftcards_local.processes import wait_for
from support.service import Service

pytestmark = pytest.mark.usefixtures("unknown_orders")  # the fixture sets the API key


@pytest.fixture(scope="module")
def abandoned(service: Service) -> str:
    """Return a pending order whose execution was stopped."""
    order_id = service.order(fulfil_after=3600)
    service.publish({"orderId": order_id, "userId": "alice", "placedAt": "2026-11-01T10:00:00Z"})
    abort(service, service.until_status(order_id, OrderStatus.HANDLING))
    return order_id


def abort(service: Service, order: Order) -> None:
    service.cloud.client("stepfunctions").stop_execution(executionArn=order.execution_arn)
    assert service.execution(order)["status"] == "ABORTED"


def sweep(service: Service) -> dict[str, Any]:
    return service.stack.invoke("SweepOrders", {})


def without_delay(service: Service, *order_ids: str) -> list[Order | None]:
    """Return orders without ``delayed_at``, which a pending order can get at any time."""
    orders = [service.stack.orders.get(order_id) for order_id in order_ids]
    return [order and order.model_copy(update={"delayed_at": None}) for order in orders]


def dead_letters(service: Service) -> Any:
    return service.cloud.client("sqs"), service.physical_id("OrderPlacedDeadLetterQueue")


def bodies(service: Service) -> list[str]:
    """Return the bodies in the dead-letter queue, and leave the messages there."""
    sqs, url = dead_letters(service)
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0).get("Messages", [])
    return [message["Body"] for message in messages]


def event_of(order_id: str, user_id: str) -> str:
    detail = {"orderId": order_id, "userId": user_id}
    return json.dumps({"version": "0", "id": "1", "source": "shop", "detail-type": "OrderPlaced", "detail": detail})


# --------------------------------------------------------------------- sweep


def test_stopped_order_is_swept_and_delivered_once(service: Service, abandoned: str) -> None:
    swept = sweep(service)

    assert swept["takenUp"] == 1
    assert swept["checked"] >= 1
    order = service.until(abandoned, lambda order: order.execution_arn is not None, "resumed")
    assert order.swept_at is not None
    service.supplier.control.change_order(abandoned, fulfil_after=0)
    assert service.until_published(abandoned).status is OrderStatus.FULFILLED
    CardsDelivered.model_validate(service.until_event(abandoned, "CardsDelivered"))
    assert [event["detail-type"] for event in service.bus.events_about(abandoned)] == ["CardsDelivered"]
    assert sorted(service.executions_of(abandoned)) == ["ABORTED", "SUCCEEDED"]


def test_order_is_swept_once_an_hour(service: Service) -> None:
    order_id = service.order(fulfil_after=3600)
    service.publish({"orderId": order_id, "userId": "bob"})
    first = service.until_status(order_id, OrderStatus.HANDLING)
    abort(service, first)
    assert sweep(service)["takenUp"] == 1
    again = service.until(order_id, lambda order: order.execution_arn is not None, "resumed")
    abort(service, again)

    assert sweep(service)["takenUp"] == 0

    assert service.stack.orders.get(order_id) == again
    assert service.executions_of(order_id) == ["ABORTED"] * 2


def test_running_order_is_not_swept(service: Service) -> None:
    order_id = service.order(fulfil_after=3600)
    service.publish({"orderId": order_id, "userId": "carol"})
    before = service.until_status(order_id, OrderStatus.HANDLING)

    assert sweep(service)["takenUp"] == 0

    assert service.stack.orders.get(order_id) == before
    service.supplier.control.change_order(order_id, fulfil_after=0)
    service.until_published(order_id)


def test_unpublished_order_is_swept_and_published(service: Service) -> None:
    order_id = service.order()
    service.publish({"orderId": order_id, "userId": "dave"})
    delivered = service.until_published(order_id)
    service.execution(delivered)
    table = service.cloud.dynamodb()
    table.update_item(  # as if DeliverCards had been killed before it published
        TableName=service.stack.outputs["CardTableName"],
        Key={"pk": f"ORDER#{order_id}", "sk": "ORDER"},
        UpdateExpression="SET openStatus = :handling REMOVE announcedAt",
        ExpressionAttributeValues={":handling": "HANDLING"},
    )

    assert sweep(service)["takenUp"] == 1

    again = service.until_published(order_id)
    assert (again.delivery_id, again.delivered_at) == (delivered.delivery_id, delivered.delivered_at)
    events = [CardsDelivered.model_validate(event["detail"]) for event in service.bus.events_about(order_id)]
    assert [event.delivery_id for event in events] == [delivered.delivery_id] * 2


def test_sweep_is_scheduled(service: Service) -> None:
    name = service.physical_id("SweepOrdersSchedule")
    schedule = service.cloud.client("scheduler").get_schedule(Name=name)

    assert (schedule["State"], schedule["ScheduleExpression"]) == ("ENABLED", "rate(15 minutes)")
    function = service.physical_id("SweepOrdersFunction")
    assert schedule["Target"]["Arn"].endswith(f":function:{function}:live")


# -------------------------------------------------------------------- resume


def test_order_that_is_not_held_cannot_be_resumed(service: Service) -> None:
    delivered, refunded = service.order(), service.order(1, type_id="TEST_REFUND")
    pending = service.order(fulfil_after=3600)
    for order_id in (delivered, refunded, pending):
        service.publish({"orderId": order_id, "userId": "frank"})
    service.until_published(delivered)
    service.until_published(refunded)
    service.until_status(pending, OrderStatus.HANDLING)
    expected = {delivered: "delivered", refunded: "refunded", pending: "in progress"}
    before = without_delay(service, *expected)

    for order_id, reason in (expected | {"unknown-order": "unknown-order"}).items():
        refused = service.giftcards("resume", order_id)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.count("\n") == 1
        assert reason in refused.stderr

    assert without_delay(service, *expected) == before
    assert all(len(service.executions_of(order_id)) == 1 for order_id in expected)
    assert service.stack.orders.get("unknown-order") is None
    service.supplier.control.change_order(pending, fulfil_after=0)
    service.until_published(pending)


@pytest.fixture(scope="module")
def held(service: Service, unknown_orders: tuple[str, ...]) -> list[Order]:
    """Return two held orders of erin's, which the supplier does not know."""
    return [service.until_status(order_id, OrderStatus.HELD) for order_id in unknown_orders[1:]]


@pytest.fixture(scope="module")
def late(service: Service, late_order: str) -> Order:
    """Return a held order of frank's, whose deadline has passed."""
    return service.until_status(late_order, OrderStatus.HELD)


def until_resumed(service: Service, held: Order) -> Order:
    return service.until(held.order_id, lambda now: now.execution_arn != held.execution_arn, "resumed")


def test_orders_with_other_reasons_stay_held(service: Service, held: list[Order], late: Order) -> None:
    resumed = service.giftcards("resume", "--reason", "UNEXPECTED_ERROR")

    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert resumed.stdout.strip().endswith(": 0")
    for order in (*held, late):
        assert service.stack.orders.get(order.order_id) == order


def test_held_order_is_resumed_by_its_id(service: Service, held: list[Order]) -> None:
    resumed = service.giftcards("resume", held[0].order_id)

    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert until_resumed(service, held[0]).user_id == "erin"


def test_held_orders_are_resumed_by_their_reason(service: Service, held: list[Order], late: Order) -> None:
    resumed = service.giftcards("resume", "--reason", "ORDER_UNKNOWN")

    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert until_resumed(service, held[1]).user_id == "erin"
    assert service.stack.orders.get(late.order_id) == late


def test_all_held_orders_are_resumed(service: Service, late: Order) -> None:
    service.supplier.control.change_order(late.order_id, fulfil_after=0)

    resumed = service.giftcards("resume", "--held")

    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert service.until_published(late.order_id).user_id == "frank"


# -------------------------------------------------------------------- replay


def test_replayed_event_is_delivered_and_an_unreadable_one_stays(service: Service) -> None:
    order_id = service.order(2)
    sqs, url = dead_letters(service)
    sqs.send_message(QueueUrl=url, MessageBody=event_of(order_id, "grace"))
    sqs.send_message(QueueUrl=url, MessageBody="unreadable-body")

    replayed = service.giftcards("replay-dlq")

    assert replayed.returncode == 1
    assert replayed.stdout.strip().endswith(": 1")
    assert "not an event" in replayed.stderr
    assert "unreadable-body" not in replayed.stdout + replayed.stderr
    assert service.until_published(order_id).fulfilled_quantity == 2
    assert bodies(service) == ["unreadable-body"]


def test_event_that_is_replayed_twice_is_delivered_once(service: Service) -> None:
    sqs, url = dead_letters(service)
    sqs.purge_queue(QueueUrl=url)
    order_id = service.order()
    for _ in range(2):
        sqs.send_message(QueueUrl=url, MessageBody=event_of(order_id, "heidi"))

    replayed = service.giftcards("replay-dlq")

    assert (replayed.returncode, replayed.stderr) == (0, "")
    assert bodies(service) == []
    service.until_published(order_id)
    assert wait_for(lambda: service.executions_of(order_id) == ["SUCCEEDED"] * 2, within_seconds=30)
    types = [event["detail-type"] for event in service.bus.events_about(order_id)]
    assert sorted(types) == ["CardsDelivered", "OrderRepeated"]


# ------------------------------------------------------------ resumed orders


def test_resumed_order_is_held_again_for_its_own_user(service: Service, held: list[Order]) -> None:
    for order in held:
        again = service.until(
            order.order_id,
            lambda now, order=order: now.execution_arn != order.execution_arn and now.status is OrderStatus.HELD,
            "held again",
        )
        assert (again.user_id, again.held_reason) == ("erin", HeldReason.ORDER_UNKNOWN)


def test_resumed_order_is_delivered_when_its_cause_is_gone(service: Service, held: list[Order]) -> None:
    order_id = held[0].order_id
    service.orders[service.supplier.control.add_order(2, order_id=order_id, fulfil_after=0)] = 2

    assert service.giftcards("resume", order_id).returncode == 0

    order = service.until_published(order_id)
    assert (order.status, order.user_id, order.held_reason) == (OrderStatus.FULFILLED, "erin", None)


# ------------------------------------------------------------------ evidence


def test_no_card_or_key_leaks(service: Service) -> None:
    searched, leaks = evidence.search(service.evidence(), service.secrets())
    assert searched > 50_000
    assert leaks == []


def test_each_sweep_logs_its_metric(service: Service) -> None:
    logs = service.cloud.client("logs")
    group = f"/aws/lambda/{service.physical_id('SweepOrdersFunction')}"
    groups = [found["logGroupName"] for found in logs.describe_log_groups()["logGroups"]]
    texts = [
        event["message"]
        for name in groups
        if name == group or name.endswith("-sweep-orders")
        for event in logs.filter_log_events(logGroupName=name)["events"]
    ]
    assert any('"OrderSwept":[1.0]' in text for text in texts), texts[:5]
    assert any('"OrderSwept":[0.0]' in text for text in texts)
