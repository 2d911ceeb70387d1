"""The alarm drill: on a local cloud, each alarm's trouble is made, seen in what it watches, and ended by the runbook.

For every alarm of the template and every held reason: the supplier, a caller or the cloud misbehaves; what the alarm
watches is really emitted or there; the alarm is set off and its message arrives at the topic; the commands of its
section of the runbook are run as they stand there, and the trouble is over. The local cloud makes no metrics of logs,
so nothing but the alarm's own arithmetic is taken for granted (tests/template/test_alarms.py looks at that).
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from rich.console import Console
from rich.table import Table

from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.events import HeldReason
from giftcards.contracts.statuses import OrderStatus
from giftcards.metrics import Metric
from giftcards_local import PROJECT
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY
from stack.commands import run_blocks
from stack.conftest import Service, deployed
from stack.laptop import NO_AWS
from template.pages import Block, blocks, text_of
from template.reading import load, resources

RUNBOOK = blocks("docs/runbook.md")
PARAMETERS = {"PollSchedule": "14:1", "DelayedAfterSeconds": "6", "LogRetentionDays": "1"}
USER = "alice"
MAX_WAIT_SECONDS = 120.0
GOES_ON_SECONDS = 180.0
"""A container knows a new key after a minute, and an order looks at a gate that was closed with growing pauses."""
HURRY = 0.01
"""Where somebody would wait for minutes: the share of its pauses and retries that the workflow takes then."""
AWS_ONLY = "AWS only"

console = Console(width=None if sys.stdout.isatty() else 150)
SupplierFailure = Iterator[str | None]
"""Makes trouble and gives what the alarm would see of it; takes its cause away; and waits until it is over."""


@dataclass
class Scene:
    """The running service while trouble is made in it: the order in question, and since when."""

    service: Service
    order_id: str = ""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def topic_queue(self) -> str:
        """A queue that gets what the alarm topic gets."""
        sqs, sns = self.client("sqs"), self.client("sns")
        url = str(sqs.create_queue(QueueName="on-call")["QueueUrl"])
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topic = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {"Version": "2012-10-17", "Statement": [topic | {"Resource": arn}]}
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        sns.subscribe(TopicArn=self.service.stack.outputs["AlarmTopicArn"], Protocol="sqs", Endpoint=arn)
        return url

    def client(self, service: str) -> Any:
        """Make a client of the cloud."""
        return self.service.cloud.client(service)

    def begin(self) -> None:
        """Forget the trouble before."""
        self.since, self.order_id = datetime.now(UTC), ""
        self.service.supplier.control.clear_faults()
        if (gate := self.service.stack.gate.read()).pause is not None:
            self.service.stack.gate.forget_pause(gate)
        self.hurry(1)

    def hurry(self, share: float) -> None:
        """Have the workflow take this share of its pauses."""
        url = f"{self.service.cloud.url}/_ministack/config"
        httpx.post(url, json={"stepfunctions._SFN_WAIT_SCALE": share}, trust_env=False).raise_for_status()

    def order(self, **terms: Any) -> str:
        """Have an order placed at the supplier and announced."""
        self.order_id = self.service.order(**terms)
        self.announce()
        return self.order_id

    def announce(self, user: str = USER) -> None:
        """Announce the order."""
        self.service.publish({"orderId": self.order_id, "userId": user})

    def name_recipient(self, address: str) -> None:
        """Name the recipient of the order's mail, as a shop does."""
        detail = {"orderId": self.order_id, "userId": USER, "email": address}
        entry = {"EventBusName": self.service.stack.outputs["OrderBusName"], "Source": "shop"}
        entry |= {"DetailType": "RecipientSet", "Detail": json.dumps(detail)}
        self.client("events").put_events(Entries=[entry])

    def make_mail_due_since(self, since: datetime) -> None:
        """Wait until the order's mail is due, and let it have been due for longer."""
        dynamodb, table = self.service.cloud.dynamodb(), self.service.physical_id("LinkTable")
        key = {"pk": f"ORDER#{self.order_id}", "sk": f"USER#{USER}"}

        def is_due() -> bool:
            return "mailDue" in dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})

        assert wait_for(is_due, within_seconds=MAX_WAIT_SECONDS), "no mail is due"
        dynamodb.update_item(
            TableName=table,
            Key=key,
            UpdateExpression="SET mailDueAt = :since REMOVE claimedUntil",
            ExpressionAttributeValues={":since": timestamp(since)},
        )

    def link(self, *options: str) -> str:
        """Create a link to the order's cards and return its address."""
        finished = self.service.giftcards("link", self.order_id, "--user", USER, *options, "--json")
        assert finished.returncode == 0, finished.stderr
        return str(json.loads(finished.stdout)["url"])

    def run(self, function: str) -> None:
        """Run a function as its schedule does, but now."""
        self.client("lambda").invoke(
            FunctionName=self.service.physical_id(f"{function}Function"),
            Qualifier="live",
            InvocationType="Event",
            Payload=b"{}",
        )

    def values(self, metric: Metric) -> list[tuple[float, float]]:
        """Give what functions have emitted of a metric since the trouble began, with the times in seconds."""
        found = list[tuple[float, float]]()
        logs, start = self.client("logs"), int(self.since.timestamp() * 1000)
        for group in logs.describe_log_groups()["logGroups"]:
            for page in logs.get_paginator("filter_log_events").paginate(
                logGroupName=group["logGroupName"], startTime=start
            ):
                for line in (line for event in page["events"] for line in event["message"].splitlines()):
                    if f'"{metric.label}"' not in line or '"_aws"' not in line:
                        continue
                    document = json.loads(line[line.index("{") :])
                    at = document["_aws"]["Timestamp"]
                    if at >= start:
                        values = document[metric.label]
                        found += [(at / 1000, value) for value in (values if isinstance(values, list) else [values])]
        return found

    def emitted(self, metric: Metric, least: float = 1) -> str:
        """Wait until functions have emitted at least this of a metric, and say what."""
        total = [0.0]

        def is_there() -> bool:
            total[0] = sum(value for _, value in self.values(metric))
            return total[0] >= least

        assert wait_for(is_there, within_seconds=MAX_WAIT_SECONDS), f"{metric.label} is {total[0]}, not {least}"
        return f"{metric.label} {total[0]:g}"

    def failed(self, least: int) -> str:
        """Say how often functions have failed in the order's execution, which is what Lambda counts as errors."""
        order = self.service.stack.orders.get(self.order_id)
        assert order is not None
        history = self.client("stepfunctions").get_execution_history(executionArn=order.execution_arn)
        details = [event.get("taskFailedEventDetails", {}) for event in history["events"]]
        times = sum(failure.get("resource", "").endswith("lambda:invoke") for failure in details)
        assert times >= least, f"functions have failed {times} times"
        return f"AWS/Lambda Errors {times}"

    def throttled(self, function: str) -> str:
        """Wait until Lambda has counted that it did not run a function, and say so."""
        name, total = self.service.physical_id(f"{function}Function"), [0.0]

        def is_there() -> bool:
            answer = self.client("cloudwatch").get_metric_statistics(
                Namespace="AWS/Lambda",
                MetricName="Throttles",
                Dimensions=[{"Name": "FunctionName", "Value": name}],
                StartTime=self.since - timedelta(seconds=1),
                EndTime=datetime.now(UTC) + timedelta(seconds=60),
                Period=60,
                Statistics=["Sum"],
            )
            total[0] = sum(point["Sum"] for point in answer["Datapoints"])
            return total[0] >= 1

        assert wait_for(is_there, within_seconds=MAX_WAIT_SECONDS), f"no throttle of {function} is counted"
        return f"AWS/Lambda Throttles {total[0]:g}"

    def lying_in(self, queue: str) -> int:
        """Say how many messages lie in a queue."""
        name = "ApproximateNumberOfMessages"
        answer = self.client("sqs").get_queue_attributes(
            QueueUrl=self.service.physical_id(queue), AttributeNames=[name]
        )
        return int(answer["Attributes"][name])

    def messages(self, queue: str) -> str:
        """Wait until a message lies in a queue, and say how many do."""
        assert wait_for(lambda: self.lying_in(queue) > 0, within_seconds=90), f"nothing comes into {queue}"
        return f"AWS/SQS messages visible {self.lying_in(queue)}"

    def held(self, reason: HeldReason) -> str:
        """Wait until the order is held for this reason, and say what was emitted."""
        order = self.service.until_status(self.order_id, OrderStatus.HELD)
        assert order.held_reason is reason, f"held as {order.held_reason}"
        return f"{self.emitted(Metric.of_hold(reason))}, {self.emitted(Metric.ORDER_HELD)}"

    def closed(self) -> None:
        """Wait until the order is closed and announced."""
        self.service.until_published(self.order_id, within=GOES_ON_SECONDS)

    def ring(self, alarm: str) -> str:
        """Set an alarm off, and wait for its message at the topic. Return where it leads to."""
        name, cloudwatch = self.service.physical_id(alarm), self.client("cloudwatch")
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="drill")
        _ = self.topic_queue
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="drill")
        said: list[str] = []

        def arrives() -> bool:
            sqs = self.client("sqs")
            answer = sqs.receive_message(QueueUrl=self.topic_queue, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                sqs.delete_message(QueueUrl=self.topic_queue, ReceiptHandle=message["ReceiptHandle"])
                with suppress(ValueError):
                    told = json.loads(json.loads(message["Body"])["Message"])
                    is_alarm = isinstance(told, dict)  # the bus sends texts about single orders to the same topic
                    if is_alarm and told.get("AlarmName") == name and told["NewStateValue"] == "ALARM":
                        said.append(told["AlarmDescription"])
            return bool(said)

        assert wait_for(arrives, within_seconds=MAX_WAIT_SECONDS), f"no message of {name} at the topic"
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="drill")
        return said[0]

    def shell(self) -> Mapping[str, str]:
        """Give the variables that the runbook's commands know."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        named = {"ORDER_ID": self.order_id, "USER_ID": USER, "STACK": "giftcards", "PATH": path}
        return NO_AWS | self.service.cloud.environment | named

    def follow(self, part: list[Block]) -> int:
        """Run commands of the runbook, each block until it ends well, and say how many commands these were."""
        for block in part:
            wrong = [""]

            def ends_well(block: Block = block, wrong: list[str] = wrong) -> bool:
                try:
                    run_blocks([block], PROJECT, self.shell(), within_seconds=60)
                except AssertionError as error:
                    wrong[0] = str(error)
                    return False
                return True

            assert wait_for(ends_well, within_seconds=20), wrong[0]
        return sum(len(block.commands.splitlines()) for block in part)


# ------------------------------------------------------------- troubles


def unknown(scene: Scene) -> SupplierFailure:
    """The supplier does not know the order."""
    scene.order_id = uuid4().hex[:24]
    scene.announce()
    reason = scene.held(HeldReason.ORDER_UNKNOWN)
    scene.run("MeasureOrders")
    yield f"{reason}, {scene.emitted(Metric.ORDERS_HELD)}"
    scene.service.supplier.control.add_order(1, order_id=scene.order_id, fulfil_after=0)
    yield None
    scene.closed()


def rejected(scene: Scene) -> SupplierFailure:
    """The supplier does not take the order id, and the execution fails."""
    scene.service.supplier.control.add_fault(status=400)
    scene.order()
    said = scene.held(HeldReason.INVALID_ORDER)
    execution = scene.service.stack.orders.get(scene.order_id)
    assert execution is not None
    assert scene.service.execution(execution)["status"] == "FAILED"
    yield f"AWS/States executions failed 1, {said}"
    scene.service.supplier.control.clear_faults()
    yield None
    scene.closed()


def disputed(scene: Scene) -> SupplierFailure:
    """Another user's shop announces the order too."""
    scene.order()
    scene.closed()
    scene.announce("mallory")
    yield scene.emitted(Metric.ORDER_DISPUTED)
    yield None
    order = scene.service.stack.orders.get(scene.order_id)
    assert order is not None
    assert order.user_id == USER


def slow(scene: Scene) -> SupplierFailure:
    """The supplier takes longer than shops call delayed."""
    scene.order(fulfil_after=7)
    scene.closed()
    yield f"{scene.emitted(Metric.TIME_TO_DELIVERY, float(PARAMETERS['DelayedAfterSeconds']))} s"
    yield None


def down(scene: Scene) -> SupplierFailure:
    """The supplier answers 503 to everything."""
    scene.service.supplier.control.add_fault(status=503)
    scene.order()
    scene.emitted(Metric.SUPPLIER_BUSY)
    scene.run("MeasureOrders")
    said = scene.emitted(Metric.ORDERS_WAITING)
    closed = (Metric.ORDER_DELIVERED, Metric.ORDER_PARTIALLY_DELIVERED, Metric.ORDER_REFUNDED)
    assert [metric.label for metric in closed if scene.values(metric)] == []
    yield f"{said}, nothing delivered"
    scene.service.supplier.control.clear_faults()
    yield None
    scene.closed()


def misdeployed(scene: Scene) -> SupplierFailure:
    """Somebody has deployed a workflow that looks for another table."""
    workflow, machine = scene.client("stepfunctions"), scene.service.stack.outputs["StateMachineArn"]
    right = workflow.describe_state_machine(stateMachineArn=machine)["definition"]
    table = scene.service.stack.outputs["CardTableName"]
    workflow.update_state_machine(stateMachineArn=machine, definition=right.replace(table, "no-such-table"))
    scene.hurry(HURRY)
    scene.order()
    said = scene.messages("OrderPlacedDeadLetterQueue")
    yield said
    workflow.update_state_machine(stateMachineArn=machine, definition=right)
    scene.hurry(1)
    yield None
    scene.closed()
    assert scene.lying_in("OrderPlacedDeadLetterQueue") == 0


def stopped(scene: Scene) -> SupplierFailure:
    """Somebody stops the execution of an open order."""
    scene.order(fulfil_after=3600)
    order = scene.service.until_status(scene.order_id, OrderStatus.HANDLING)
    scene.client("stepfunctions").stop_execution(executionArn=order.execution_arn)
    scene.run("SweepOrders")
    yield scene.emitted(Metric.ORDER_SWEPT)
    scene.service.supplier.control.change_order(scene.order_id, fulfil_after=0)
    yield None
    scene.closed()


def revoked(scene: Scene) -> SupplierFailure:
    """The supplier revokes the API key."""
    scene.service.supplier.control.set_keys(["another-key"])
    scene.hurry(HURRY)
    scene.order()
    yield scene.emitted(Metric.SUPPLIER_KEY_REFUSED)
    scene.service.supplier.control.set_keys([SANDBOX_API_KEY, "another-key"])
    scene.service.cloud.set_api_key("another-key")
    yield None
    scene.service.until_published(scene.order_id, within=100)  # functions keep a key for a minute


def left_alone(scene: Scene) -> SupplierFailure:
    """The supplier answers 429 once and asks to be left alone for a day."""
    scene.service.supplier.control.add_fault(status=429, retry_after=86_400, times=1)
    scene.hurry(HURRY)
    scene.order()
    scene.emitted(Metric.SUPPLIER_RATE_LIMITED)
    scene.run("MeasureOrders")
    yield scene.emitted(Metric.GATE_CLOSED, 60)
    yield None
    scene.closed()


def unannounced(scene: Scene) -> SupplierFailure:
    """An order was paid at the supplier twenty minutes ago, and nobody announced it."""
    scene.order_id = scene.service.order(placed_seconds_ago=1200)
    scene.run("ReconcileOrders")
    yield scene.emitted(Metric.RECONCILIATION_DIFFERENCE)
    yield None
    scene.closed()


def no_list(scene: Scene) -> SupplierFailure:
    """The supplier has trouble with its list."""
    scene.service.supplier.control.add_fault(route="list", status=500)
    scene.run("ReconcileOrders")
    yield scene.emitted(Metric.RECONCILIATION_INCOMPLETE)
    scene.service.supplier.control.clear_faults()
    yield None


def tampered(scene: Scene) -> SupplierFailure:
    """Somebody changes the ciphertext of a delivered card."""
    scene.order()
    scene.closed()
    (row,) = (item for item in scene.service.items(scene.order_id) if item["sk"]["S"].startswith("CARD#"))
    table, card = scene.service.stack.outputs["CardTableName"], row["ciphertext"]["B"]
    changed = row | {"ciphertext": {"B": card[:-1] + bytes([card[-1] ^ 1])}}
    scene.client("dynamodb").put_item(TableName=table, Item=changed)
    assert scene.service.giftcards("reveal", scene.order_id, "--user", USER).returncode == 1
    yield scene.emitted(Metric.CARDS_UNREADABLE)
    scene.client("dynamodb").put_item(TableName=table, Item=row)
    yield None


def unreadable(scene: Scene) -> SupplierFailure:
    """Somebody writes an order row that cannot be read, and sweeps fail."""
    queue, sqs = "FunctionsDeadLetterQueue", scene.client("sqs")
    row = {"pk": "ORDER#planted", "sk": "ORDER", "openStatus": "HANDLING", "claimedAt": "2026-01-01T00:00:00.000Z"}
    table, dynamodb = scene.service.stack.outputs["CardTableName"], scene.service.cloud.dynamodb()
    dynamodb.put_item(TableName=table, Item=row)
    functions, name = scene.client("lambda"), scene.service.physical_id("SweepOrdersFunction")
    kept = functions.get_function_event_invoke_config(FunctionName=name, Qualifier="live")
    # The local cloud knows what becomes of failed runs of a function itself, and not of those of its alias.
    functions.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig=kept["DestinationConfig"]
    )
    try:
        functions.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
        yield scene.messages(queue)
    finally:
        dynamodb.delete_item(TableName=table, Key={"pk": row["pk"], "sk": row["sk"]})
    yield None
    sqs.purge_queue(QueueUrl=scene.service.physical_id(queue))
    scene.service.stack.invoke("SweepOrders", {})
    assert scene.lying_in(queue) == 0


def disarmed(scene: Scene) -> SupplierFailure:
    """Somebody takes its rights away from CheckStatus."""
    iam, role = scene.client("iam"), scene.service.physical_id("CheckStatusRole")
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    rights = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    iam.delete_role_policy(RoleName=role, PolicyName=policy)
    scene.hurry(HURRY)
    try:
        scene.order()
        said = scene.held(HeldReason.UNEXPECTED_ERROR)
        yield f"{scene.failed(3)}, {said}"
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(rights))
    scene.hurry(1)
    yield None
    scene.closed()


def crowded_out(scene: Scene) -> SupplierFailure:
    """There is no room for RevealCards to run. The local cloud gives an alias room in any case, so it is left out."""
    scene.order()
    scene.closed()
    functions, name = scene.client("lambda"), scene.service.physical_id("RevealCardsFunction")
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    try:
        with suppress(functions.exceptions.TooManyRequestsException):
            functions.invoke(FunctionName=name, Payload=b"{}")
            raise AssertionError("RevealCards runs without any room")
        yield scene.throttled("RevealCards")
    finally:
        functions.delete_function_concurrency(FunctionName=name)
    yield None
    assert scene.service.giftcards("reveal", scene.order_id, "--user", USER).returncode == 0


def mistyped(scene: Scene) -> SupplierFailure:
    """The shop names an address that is none."""
    scene.order()
    scene.closed()
    scene.name_recipient("alice at mail.example")
    yield scene.emitted(Metric.MAIL_FAILED)
    yield None


def unsent(scene: Scene) -> SupplierFailure:
    """Mails cannot be sent for an hour: SendLink may not open addresses."""
    iam, role = scene.client("iam"), scene.service.physical_id("SendLinkRole")
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    rights = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    kept = [one for one in rights["Statement"] if one["Sid"] != "OpenAddresses"]
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(rights | {"Statement": kept}))
    try:
        scene.order()
        scene.closed()
        scene.name_recipient("alice@mail.example")
        scene.make_mail_due_since(datetime.now(UTC) - timedelta(hours=2))
        scene.since = datetime.now(UTC)
        scene.run("SendLink")
        yield f"{scene.emitted(Metric.OLDEST_MAIL_DUE, 3600)} s"
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(rights))
    scene.make_mail_due_since(datetime.now(UTC))  # and end the lease of the run that failed
    scene.run("SendLink")
    yield None
    scene.emitted(Metric.MAIL_SENT)


def guessed(scene: Scene) -> SupplierFailure:
    """Somebody guesses the access code of a link."""
    scene.order()
    scene.closed()
    url = scene.link("--code", "4815")
    answers = [httpx.post(url, data={"code": f"000{digit}"}, trust_env=False).status_code for digit in range(6)]
    assert answers == [403] * len(answers)
    yield f"{scene.emitted(Metric.VIEW_WRONG_CODE, 4)}, {scene.emitted(Metric.VIEW_CODE_LOCKED)}"
    yield None
    assert httpx.post(url, data={"code": "4815"}, trust_env=False).status_code == 410


def replaced(scene: Scene) -> SupplierFailure:
    """A buyer uses a link that was replaced."""
    scene.order()
    scene.closed()
    url = scene.link()
    scene.link("--replace")
    assert httpx.post(url, trust_env=False).status_code == 410
    yield f"{scene.emitted(Metric.VIEW_REFUSED)}, {scene.emitted(Metric.VIEW_REPLACED)}"
    yield None


def keyless(scene: Scene) -> SupplierFailure:
    """Somebody takes its rights away from CreateLink."""
    scene.order()
    scene.closed()
    iam, role = scene.client("iam"), scene.service.physical_id("CreateLinkRole")
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    rights = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    iam.delete_role_policy(RoleName=role, PolicyName=policy)
    try:
        request = json.dumps({"orderId": scene.order_id, "userId": USER}).encode()
        name = scene.service.physical_id("CreateLinkFunction")
        answer = scene.client("lambda").invoke(FunctionName=name, Qualifier="live", Payload=request)
        assert "FunctionError" in answer, "CreateLink works without rights"
        yield "AWS/Lambda Errors 1"
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(rights))
    yield None


def overrun(scene: Scene) -> SupplierFailure:
    """There is no room for CreateLink to run. As with RevealCards, the alias is left out."""
    scene.order()
    scene.closed()
    functions, name = scene.client("lambda"), scene.service.physical_id("CreateLinkFunction")
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    try:
        with suppress(functions.exceptions.TooManyRequestsException):
            functions.invoke(FunctionName=name, Payload=b"{}")
            raise AssertionError("CreateLink runs without any room")
        yield scene.throttled("CreateLink")
    finally:
        functions.delete_function_concurrency(FunctionName=name)
    yield None


def contradicted(scene: Scene) -> SupplierFailure:
    """The supplier's answer has a status that its documents do not know."""
    scene.service.supplier.control.add_fault(merge={"status": "LOST"})
    scene.order()
    yield scene.held(HeldReason.SUPPLIER_CONTRACT_BROKEN)
    scene.service.supplier.control.clear_faults()
    yield None
    scene.closed()


def pending(scene: Scene) -> SupplierFailure:
    """The supplier says pending until the end of the schedule."""
    scene.order(fulfil_after=3600)
    yield scene.held(HeldReason.DEADLINE_PASSED)
    scene.service.supplier.control.change_order(scene.order_id, fulfil_after=0)
    yield None
    scene.closed()


def unmeasured(scene: Scene) -> SupplierFailure:
    """Somebody has switched the schedule of MeasureOrders off, before all other troubles."""
    scene.since = scene.began

    def silent() -> bool:
        return time.time() - max([scene.began.timestamp(), *(at for at, _ in scene.values(Metric.ORDERS_WAITING))]) > 65

    assert wait_for(silent, within_seconds=100), "somebody measures although the schedule is off"
    yield "OrdersWaiting none for 65 s"
    scene.since = datetime.now(UTC)
    switch_measuring(scene, "ENABLED")
    yield None
    assert wait_for(lambda: bool(scene.values(Metric.ORDERS_WAITING)), within_seconds=80), "nobody measures again"


def switch_measuring(scene: Scene, state: str) -> None:
    """Switch the schedule of MeasureOrders on or off."""
    scheduler = scene.client("scheduler")
    held = scheduler.get_schedule(Name=scene.service.physical_id("MeasureOrdersSchedule"))
    kept = ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target", "Description")
    scheduler.update_schedule(**{key: held[key] for key in kept if key in held}, State=state)


@dataclass(frozen=True)
class Drill:
    """A trouble, the alarms that it sets off, and the held reasons that it shows."""

    make: Callable[[Scene], SupplierFailure]
    alarms: tuple[str, ...] = ()
    reasons: tuple[HeldReason, ...] = ()

    @property
    def sections(self) -> list[str]:
        """The sections of the runbook, by what leads there."""
        return [*self.alarms, *self.reasons]


DRILLS = (
    Drill(left_alone, ("GateClosedAlarm",)),
    Drill(down, ("NoDeliveriesAlarm",)),
    Drill(unknown, ("OrdersHeldAlarm",), (HeldReason.ORDER_UNKNOWN,)),
    Drill(rejected, ("ExecutionsFailedAlarm",), (HeldReason.INVALID_ORDER,)),
    Drill(contradicted, reasons=(HeldReason.SUPPLIER_CONTRACT_BROKEN,)),
    Drill(pending, reasons=(HeldReason.DEADLINE_PASSED,)),
    Drill(disputed, ("OrdersDisputedAlarm",)),
    Drill(slow, ("DeliveryLagAlarm",)),
    Drill(misdeployed, ("DeadLettersAlarm",)),
    Drill(stopped, ("OrdersSweptAlarm",)),
    Drill(revoked, ("KeyRefusedAlarm",)),
    Drill(unannounced, ("ReconciliationAlarm",)),
    Drill(no_list, ("ReconciliationIncompleteAlarm",)),
    Drill(tampered, ("CardsUnreadableAlarm",)),
    Drill(unreadable, ("FailedSchedulesAlarm",)),
    Drill(disarmed, ("FunctionErrorsAlarm",), (HeldReason.UNEXPECTED_ERROR,)),
    Drill(crowded_out, ("FunctionThrottlesAlarm",)),
    Drill(mistyped, ("MailsFailingAlarm",)),
    Drill(unsent, ("MailsDueAlarm",)),
    Drill(guessed, ("WrongCodesAlarm",)),
    Drill(replaced, ("ViewsRefusedAlarm",)),
    Drill(keyless, ("BuyerFunctionErrorsAlarm",)),
    Drill(overrun, ("BuyerFunctionThrottlesAlarm",)),
    Drill(unmeasured, ("MeasurementsMissingAlarm",)),
)


# -------------------------------------------------------------- the runbook


def anchor(name: str) -> str:
    """Name the section of the runbook to which an alarm or a held reason leads."""
    name = name.removesuffix("Alarm")
    return name.lower().replace("_", "-") if name.isupper() else re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def runbook() -> dict[tuple[str, str], list[Block]]:
    """Give the blocks of the runbook that need no AWS, by section and part (Check, Fix, Resolved)."""
    places, section, part = list[tuple[str, str]](), "", ""
    for line in text_of("docs/runbook.md").splitlines():
        if line.startswith("## "):
            section, part = line.removeprefix("## ").lower().replace(" ", "-"), ""
        elif (lead := re.match(r"\*\*(Check|Fix|Resolved)\b", line)) is not None:
            part = lead[1]
        places.append((section, part))
    local = [block for block in RUNBOOK if not block.needs_aws]
    return {place: list(of_it) for place, of_it in groupby(local, lambda block: places[block.line - 1])}


@dataclass(frozen=True)
class Row:
    """How the drill of an alarm or of a held reason ended."""

    name: str
    seen: str
    notified: str
    commands: int
    seconds: float
    failure: str = ""


def rehearse(scene: Scene, drill: Drill, parts: Mapping[tuple[str, str], list[Block]], on_aws: set[str]) -> list[Row]:
    """Make one trouble, and end it by the runbook."""
    scene.begin()
    began, failure = time.monotonic(), drill.make(scene)
    seen, notified, commands, wrong = "", dict[str, str](), dict.fromkeys(drill.sections, 0), ""

    def follow(part: str) -> None:
        for name in drill.sections:
            commands[name] += scene.follow(parts.get((anchor(name), part), []))

    try:
        seen = next(failure) or ""
        for alarm in drill.alarms:
            if alarm in on_aws:
                notified[alarm] = AWS_ONLY
                continue
            leads_to = scene.ring(alarm)
            assert leads_to.endswith(f"runbook.md#{anchor(alarm)}"), f"{alarm} leads to {leads_to}"
            notified[alarm] = "arrived"
        follow("Check")
        next(failure)
        follow("Fix")
        next(failure, None)
        follow("Resolved")
        assert min(commands.values()) > 0, f"a section without commands: {commands}"
    except Exception as error:  # noqa: BLE001 - the next alarm has its drill whatever became of this one
        wrong = f"{type(error).__name__}: {error}"
        failure.close()  # type: ignore[attr-defined]
    took = time.monotonic() - began
    return [Row(name, seen, notified.get(name, "-"), commands[name], took, wrong) for name in drill.sections]


def laid_out(rows: list[Row]) -> Table:
    """Lay the rows out: alarm, what it watches, its section."""
    table = Table(title="Alarm drill", title_style="bold", header_style="bold", pad_edge=False, box=None)
    for column in ("ALARM OR REASON", "EMITTED, OR THERE", "MESSAGE", "RUNBOOK", "COMMANDS", ""):
        table.add_column(column, justify="right" if column == "COMMANDS" else "left", overflow="fold")
    for row in rows:
        done = "[bold red]✘[/]" if row.failure else "[bold green]✔[/]"
        style = "dim" if row.notified == AWS_ONLY else ""
        message = f"[{style}]{row.notified}[/]" if style else row.notified
        table.add_row(
            row.name.removesuffix("Alarm"), row.seen, message, f"#{anchor(row.name)}", str(row.commands), done
        )
    return table


def missing(parts: Mapping[tuple[str, str], list[Block]], alarms: set[str]) -> list[str]:
    """Say which alarms, held reasons and sections nobody rehearses."""
    rehearsed = {name for drill in DRILLS for name in drill.sections}
    wanted = alarms | {reason.value for reason in HeldReason}
    sections = {section for section, _ in parts} - {""} - {anchor(name) for name in rehearsed}
    return [*sorted(wanted - rehearsed), *sorted(sections)]


def main() -> int:
    """Rehearse every alarm on one local cloud."""
    template, parts = load(), runbook()
    every = resources(template, "AWS::CloudWatch::Alarm")
    on_aws = {name for name, alarm in every.items() if "Condition" in alarm}
    rows, began = list[Row](), time.monotonic()
    console.print("[dim]Building and deploying to a local cloud …[/]")
    with tempfile.TemporaryDirectory() as folder, deployed(Path(folder), PARAMETERS) as service:
        service.cloud.set_api_key(SANDBOX_API_KEY)
        scene = Scene(service)
        switch_measuring(scene, "DISABLED")  # it takes a minute until that is seen; the last trouble looks at it
        scene.follow(parts["", ""])
        for drill in DRILLS:
            ended = rehearse(scene, drill, parts, on_aws)
            rows += ended
            names = ", ".join(row.name.removesuffix("Alarm") for row in ended)
            console.print(f"[dim]{ended[0].seconds:5.1f} s  {names}[/]", highlight=False)
            if ended[0].failure:
                console.print(ended[0].failure, style="red", highlight=False, markup=False)
    console.print(laid_out(rows))
    left, failed = missing(parts, set(every)), sum(bool(row.failure) for row in rows)
    for name in left:
        console.print(f"[bold red]✘ nobody rehearses {name}[/]")
    took = time.monotonic() - began
    console.print(f"{len(every)} alarms and {len(HeldReason)} held reasons: {failed} failed ({took:.0f} s)")
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())
