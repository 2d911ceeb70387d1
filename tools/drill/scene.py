"""The service while the drill causes a failure in it."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from drill.observation import MAX_WAIT_SECONDS, Observation
from giftcards.adapters.timestamps import timestamp
from giftcards_local import PROJECT
from giftcards_local.processes import wait_for
from support.laptop import NO_AWS
from support.page_commands import run_blocks
from template.pages import Block

USER = "alice"
SHORTENED = 0.01
"""The share of its waits that the workflow takes where a failure would otherwise last minutes."""

Failure = Iterator[str | None]
"""A failure in three steps: cause it and yield what its alarm watches; remove the cause and yield; check the end."""


@dataclass
class Scene(Observation):
    """The service, with what shops, operators and failures do to it.

    Attributes
    ----------
    began
        Start of the whole drill.
    """

    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    def begin(self) -> None:
        """Remove what the previous failure left."""
        self.since, self.order_id = datetime.now(UTC), ""
        self.service.supplier.control.clear_faults()
        if self.service.stack.gate.read().pause is not None:
            finished = self.service.giftcards("gate", "--open")
            assert finished.returncode == 0, finished.stderr
        self.scale_waits(1)

    def scale_waits(self, share: float) -> None:
        """Set the share of its waits that the workflow takes."""
        url = f"{self.service.cloud.url}/_ministack/config"
        httpx.post(url, json={"stepfunctions._SFN_WAIT_SCALE": share}, trust_env=False).raise_for_status()

    def order(self, **terms: Any) -> str:
        """Order at the supplier, and place the order."""
        self.order_id = self.service.order(**terms)
        self.place()
        return self.order_id

    def delivered_order(self) -> None:
        """Place an order and wait until it is delivered."""
        self.order()
        self.until_published()

    def place(self, user: str = USER) -> None:
        """Publish OrderPlaced for the order."""
        self.service.publish({"orderId": self.order_id, "userId": user})

    def set_recipient(self, address: str) -> None:
        """Publish RecipientSet for the order."""
        detail = {"orderId": self.order_id, "userId": USER, "email": address}
        entry = {"EventBusName": self.service.stack.outputs["OrderBusName"], "Source": "shop"}
        entry |= {"DetailType": "RecipientSet", "Detail": json.dumps(detail)}
        self.client("events").put_events(Entries=[entry])

    def make_mail_due_since(self, since: datetime) -> None:
        """Wait until the order's mail is due, and date this back."""
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
        """Invoke a function now as its schedule does."""
        self.client("lambda").invoke(
            FunctionName=self.service.physical_id(f"{function}Function"),
            Qualifier="live",
            InvocationType="Event",
            Payload=b"{}",
        )

    @contextmanager
    def without_permissions(self, function: str, *, sid: str | None = None) -> Iterator[None]:
        """Remove the policy of a function's role meanwhile, or only the statement with this Sid."""
        iam, role = self.client("iam"), self.service.physical_id(f"{function}Role")
        (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        kept = [statement for statement in document["Statement"] if sid and statement["Sid"] != sid]
        iam.delete_role_policy(RoleName=role, PolicyName=policy)
        if kept:
            changed = json.dumps(document | {"Statement": kept})
            iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=changed)
        try:
            yield
        finally:
            iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))

    @contextmanager
    def without_concurrency(self, function: str) -> Iterator[None]:
        """Throttle every invocation of a function meanwhile.

        Not of its alias: the local cloud ignores the limit there.
        """
        functions, name = self.client("lambda"), self.service.physical_id(f"{function}Function")
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
        try:
            with suppress(functions.exceptions.TooManyRequestsException):
                functions.invoke(FunctionName=name, Payload=b"{}")
                raise AssertionError(f"{function} is not throttled")
            yield
        finally:
            functions.delete_function_concurrency(FunctionName=name)

    def switch_measuring(self, state: str) -> None:
        """Set the schedule of MeasureOrders to ENABLED or DISABLED."""
        scheduler = self.client("scheduler")
        schedule = scheduler.get_schedule(Name=self.service.physical_id("MeasureOrdersSchedule"))
        kept = ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target", "Description")
        scheduler.update_schedule(**{key: schedule[key] for key in kept if key in schedule}, State=state)

    def shell(self) -> Mapping[str, str]:
        """Return the environment of the runbook's commands."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        variables = {"ORDER_ID": self.order_id, "USER_ID": USER, "STACK": "giftcards", "PATH": path}
        return NO_AWS | self.service.cloud.environment | variables

    def follow(self, part: list[Block]) -> int:
        """Run blocks of the runbook, each until it succeeds, and return the number of their commands."""
        for block in part:
            error = ""

            def succeeds(block: Block = block) -> bool:
                nonlocal error
                try:
                    run_blocks([block], PROJECT, self.shell(), within_seconds=60)
                except AssertionError as failed:
                    error = str(failed)
                    return False
                return True

            assert wait_for(succeeds, within_seconds=20), error
        return sum(len(block.commands.splitlines()) for block in part)
