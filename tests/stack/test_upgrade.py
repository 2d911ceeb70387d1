"""An upgrade while orders wait: a new layer, function and workflow are deployed over running executions."""

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from giftcards.adapters.order_table import order_key
from giftcards.contracts.statuses import OrderStatus
from giftcards_local import PROJECT, evidence
from giftcards_local.cloud import TEMPLATE
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY, cards_of
from previous_release.write_rows import COMMIT
from support.service import Service, deployed

PARAMETERS = {"PollSchedule": "600:10", "DelayedAfterSeconds": "540", "LogRetentionDays": "1"}
"""No order reaches its deadline."""
MAX_CONCURRENT_FUNCTIONS = "5"
"""The local cloud needs a second for each, to unpack its layers."""
ORDERS = 20
CARDS = 120
"""The previous release stores them in two writes, this one in one."""
USERS = ("alice", "bob", "carol")
MAX_WAIT_SECONDS = 120.0


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} no longer contains: {old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def previous_release(folder: Path) -> Path:
    """Return the template of the previous release, or of this one if git's history lacks it, as in a shallow clone."""
    parts = ("functions", "layers", "statemachine", "template.yaml", "observability.yaml", "LICENSE", "README.md")
    archive = subprocess.run(["git", "archive", COMMIT, *parts], cwd=PROJECT, capture_output=True, check=False)
    if archive.returncode != 0:
        return TEMPLATE
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder / "template.yaml"


def interrupt_delivery(service: Service, order_id: str, delivered: str) -> None:
    """Leave an open order as the previous release leaves it between the writes of a large delivery."""
    dynamodb, table = service.cloud.dynamodb(), service.stack.outputs["CardTableName"]
    dynamodb.update_item(
        TableName=table, Key=order_key(order_id), UpdateExpression="SET deliveryAttempt = :attempt",
        ExpressionAttributeValues={":attempt": "interrupted"},
    )  # fmt: skip
    for row in service.items(delivered):
        if row["sk"]["S"] != "ORDER":
            row["pk"] = {"S": order_key(order_id)["pk"]}
            service.cloud.client("dynamodb").put_item(TableName=table, Item=row)


def next_release(folder: Path) -> Path:
    """Return the template of a release with another layer, function and workflow."""
    for name in ("functions", "layers", "statemachine"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("template.yaml", "wiring.yaml", "LICENSE", "README.md"):
        shutil.copy(PROJECT / name, folder / name)
    events = folder / "layers/core/giftcards/contracts/events.py"
    replace(events, "    schema_version: ", "    release: int = 2\n    schema_version: ")
    replace(folder / "functions/check_status/app.py", '"""CheckStatus: ', '"""CheckStatus of release 2: ')
    definition = folder / "statemachine/fulfil_order.asl.json"
    workflow = json.loads(definition.read_text(encoding="utf-8"))
    workflow["States"]["CheckStatus"]["Next"] = "Release2"
    workflow["States"]["Release2"] = {"Type": "Pass", "Next": "Route"}
    definition.write_text(json.dumps(workflow), encoding="utf-8")
    return folder / "template.yaml"


@dataclass(frozen=True)
class Updated:
    """A service after an update.

    Attributes
    ----------
    waiting
        User by id of each order that waited during the update.
    delivered
        Id of an order of ``CARDS`` cards that was delivered before the update, for erin.
    """

    service: Service
    waiting: dict[str, str]
    delivered: str


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Updated]:
    """Deploy release 2 over the previous release while orders wait, then settle them at the supplier."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LAMBDA_ACCOUNT_CONCURRENCY", MAX_CONCURRENT_FUNCTIONS)
        previous = previous_release(tmp_path_factory.mktemp("previous"))
        with deployed(tmp_path_factory.mktemp("update"), PARAMETERS, template=previous) as service:
            service.cloud.set_api_key(SANDBOX_API_KEY)
            delivered = service.order(CARDS)
            service.publish({"orderId": delivered, "userId": "erin"})
            service.until_published(delivered, within=MAX_WAIT_SECONDS)
            waiting = {service.order(2, fulfil_after=3600): USERS[number % 3] for number in range(ORDERS)}
            for order_id, user_id in waiting.items():
                service.publish({"orderId": order_id, "userId": user_id})
            for order_id in waiting:
                service.until_status(order_id, OrderStatus.HANDLING)
            interrupt_delivery(service, next(iter(waiting)), delivered)
            template = next_release(tmp_path_factory.mktemp("release2"))
            service.cloud.deploy(PARAMETERS | {"SupplierBaseUrl": service.supplier.url}, template)
            for order_id in waiting:
                service.supplier.control.change_order(order_id, fulfil_after=0)
            for order_id in waiting:
                service.until_published(order_id, within=MAX_WAIT_SECONDS)
            yield Updated(service, waiting, delivered)


def announced(service: Service, order_id: str) -> list[dict[str, Any]]:
    return [event for event in service.bus.events_about(order_id) if event["detail-type"] != "OrderDelayed"]


def states_of(service: Service, order_id: str) -> set[str]:
    order = service.stack.orders.get(order_id)
    assert order is not None
    arn = order.execution_arn
    pages = service.cloud.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=arn)
    events = [event for page in pages for event in page["events"]]
    return {event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event}


def test_orders_that_waited_are_each_delivered_once(updated: Updated) -> None:
    service, waiting = updated.service, updated.waiting
    assert wait_for(lambda: all(announced(service, order_id) for order_id in waiting), within_seconds=30)
    for order_id in waiting:
        (event,) = announced(service, order_id)
        assert (event["detail-type"], event["detail"]["fulfilledQuantity"]) == ("CardsDelivered", 2)
        assert service.executions_of(order_id) == ["SUCCEEDED"]
    assert {call.order_id for call in service.supplier.control.calls() if call.status == 200} >= set(waiting)


def test_waiting_orders_are_delivered_by_the_new_release(updated: Updated) -> None:
    service, waiting = updated.service, updated.waiting
    assert {announced(service, order_id)[0]["detail"].get("release") for order_id in waiting} == {2}


def test_cards_of_waiting_orders_are_readable(updated: Updated) -> None:
    service, waiting = updated.service, updated.waiting
    for order_id, user_id in waiting.items():
        cards = service.stack.invoke("RevealCards", {"orderId": order_id, "userId": user_id})["cards"]
        assert [card["value"] for card in cards] == [card["value"] for card in cards_of(order_id, 2)]


def test_cards_of_an_order_that_was_delivered_before_are_readable(updated: Updated) -> None:
    shown = updated.service.giftcards("reveal", updated.delivered, "--user", "erin", "--json")
    cards = json.loads(shown.stdout)["cards"]
    assert [card["value"] for card in cards] == [card["value"] for card in cards_of(updated.delivered, CARDS)]


def test_new_order_runs_the_new_workflow(updated: Updated) -> None:
    service = updated.service
    order_id = service.order()
    service.publish({"orderId": order_id, "userId": "dave"})
    service.until_published(order_id)
    assert "Release2" in states_of(service, order_id)


def test_no_message_is_queued_and_no_card_leaks(updated: Updated) -> None:
    service = updated.service
    assert service.dead_letters() == []
    _, leaks = evidence.search(service.evidence(), service.secrets())
    assert leaks == []
