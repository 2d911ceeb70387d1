"""Mistakes of a deployment or an operator, and limits of AWS."""

import time
from datetime import UTC, datetime

from drill.scene import SHORTENED, USER, Failure, Scene
from giftcards.contracts.events import HeldReason
from giftcards.contracts.statuses import OrderStatus
from giftcards.metrics import Metric
from giftcards_local.processes import wait_for


def workflow_uses_another_table(scene: Scene) -> Failure:
    """The deployed workflow writes to a table that does not exist."""
    workflow, machine = scene.client("stepfunctions"), scene.service.stack.outputs["StateMachineArn"]
    definition = workflow.describe_state_machine(stateMachineArn=machine)["definition"]
    table = scene.service.stack.outputs["CardTableName"]
    workflow.update_state_machine(stateMachineArn=machine, definition=definition.replace(table, "no-such-table"))
    scene.scale_waits(SHORTENED)
    scene.order()
    yield scene.queued("OrderPlacedDeadLetterQueue")
    workflow.update_state_machine(stateMachineArn=machine, definition=definition)
    scene.scale_waits(1)
    yield None
    scene.until_published()
    assert scene.queue_length("OrderPlacedDeadLetterQueue") == 0


def execution_is_stopped(scene: Scene) -> Failure:
    """An operator stops the execution of an open order."""
    scene.order(fulfil_after=3600)
    order = scene.service.until_status(scene.order_id, OrderStatus.HANDLING)
    scene.client("stepfunctions").stop_execution(executionArn=order.execution_arn)
    scene.run("SweepOrders")
    yield scene.emitted(Metric.ORDER_SWEPT)
    scene.service.supplier.control.change_order(scene.order_id, fulfil_after=0)
    yield None
    scene.until_published()


def check_status_has_no_permissions(scene: Scene) -> Failure:
    """The role of CheckStatus loses its permissions."""
    with scene.without_permissions("CheckStatus"):
        scene.scale_waits(SHORTENED)
        scene.order()
        held = scene.held(HeldReason.UNEXPECTED_ERROR)
        yield f"{scene.failed_invocations(3)}, {held}"
    scene.scale_waits(1)
    yield None
    scene.until_published()


def ciphertext_is_changed(scene: Scene) -> Failure:
    """The ciphertext of a delivered card is changed."""
    scene.delivered_order()
    (row,) = (item for item in scene.service.items(scene.order_id) if item["sk"]["S"].startswith("CARDS#"))
    table, card = scene.service.stack.outputs["CardTableName"], row["ciphertext"]["B"]
    changed = row | {"ciphertext": {"B": card[:-1] + bytes([card[-1] ^ 1])}}
    scene.client("dynamodb").put_item(TableName=table, Item=changed)
    assert scene.service.giftcards("reveal", scene.order_id, "--user", USER).returncode == 1
    yield scene.emitted(Metric.CARDS_UNREADABLE)
    scene.client("dynamodb").put_item(TableName=table, Item=row)
    yield None


def order_row_is_unreadable(scene: Scene) -> Failure:
    """An order row cannot be read, and every sweep fails."""
    queue, sqs = "FunctionsDeadLetterQueue", scene.client("sqs")
    row = {"pk": "ORDER#planted", "sk": "ORDER", "openStatus": "HANDLING", "claimedAt": "2026-01-01T00:00:00.000Z"}
    table, dynamodb = scene.service.stack.outputs["CardTableName"], scene.service.cloud.dynamodb()
    dynamodb.put_item(TableName=table, Item=row)
    functions, name = scene.client("lambda"), scene.service.physical_id("SweepOrdersFunction")
    config = functions.get_function_event_invoke_config(FunctionName=name, Qualifier="live")
    # The local cloud knows the failure destination of a function, but not of its alias.
    functions.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig=config["DestinationConfig"]
    )
    try:
        functions.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
        yield scene.queued(queue)
    finally:
        dynamodb.delete_item(TableName=table, Key={"pk": row["pk"], "sk": row["sk"]})
    yield None
    sqs.purge_queue(QueueUrl=scene.service.physical_id(queue))
    scene.service.stack.invoke("SweepOrders", {})
    assert scene.queue_length(queue) == 0


def reveal_cards_is_throttled(scene: Scene) -> Failure:
    """Lambda throttles RevealCards."""
    scene.delivered_order()
    with scene.without_concurrency("RevealCards"):
        yield scene.throttled("RevealCards")
    yield None
    assert scene.service.giftcards("reveal", scene.order_id, "--user", USER).returncode == 0


def nothing_is_measured(scene: Scene) -> Failure:
    """The schedule of MeasureOrders is off since the drill began."""
    scene.since = scene.began

    def is_silent() -> bool:
        measured = [at for at, _ in scene.values(Metric.ORDERS_WAITING)]
        return time.time() - max([scene.began.timestamp(), *measured]) > 65

    assert wait_for(is_silent, within_seconds=100), "OrdersWaiting is emitted although the schedule is off"
    yield "OrdersWaiting none for 65 s"
    scene.since = datetime.now(UTC)
    scene.switch_measuring("ENABLED")
    yield None
    is_measured = wait_for(lambda: bool(scene.values(Metric.ORDERS_WAITING)), within_seconds=80)
    assert is_measured, "OrdersWaiting is not emitted again"
