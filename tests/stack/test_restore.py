"""Backup and restore on a real deployment: damaged rows are restored from an earlier copy of the table."""

import json
from collections.abc import Iterator

import pytest

from giftcards.contracts.statuses import OrderStatus
from giftcards_local.supplier import cards_of
from support.service import Service

COPY = "cards-restored"
pytestmark = pytest.mark.usefixtures("unknown_orders")  # the fixture sets the API key


@pytest.fixture(scope="module")
def delivered(service: Service) -> str:
    """Return a delivered order of alice's with two cards."""
    order_id = service.order(2)
    service.publish({"orderId": order_id, "userId": "alice"})
    service.until_published(order_id)
    return order_id


@pytest.fixture(scope="module")
def waiting(service: Service, delivered: str) -> str:
    """Return an order of bob's that the supplier has not settled yet."""
    order_id = service.order(1, fulfil_after=3600)
    service.publish({"orderId": order_id, "userId": "bob"})
    service.until_status(order_id, OrderStatus.HANDLING)
    return order_id


@pytest.fixture(scope="module")
def copy(service: Service, delivered: str, waiting: str) -> Iterator[str]:
    """Copy the card table while one order is delivered and the other waits."""
    dynamodb = service.cloud.client("dynamodb")
    dynamodb.restore_table_to_point_in_time(
        SourceTableName=service.stack.outputs["CardTableName"], TargetTableName=COPY, UseLatestRestorableTime=True
    )
    dynamodb.get_waiter("table_exists").wait(TableName=COPY)
    yield COPY
    dynamodb.delete_table(TableName=COPY)


def lose(service: Service, order_id: str) -> None:
    """Delete every row of an order."""
    for row in service.items(order_id):
        service.cloud.client("dynamodb").delete_item(
            TableName=service.stack.outputs["CardTableName"], Key={"pk": row["pk"], "sk": row["sk"]}
        )
    assert service.items(order_id) == []


def tamper(service: Service, order_id: str) -> None:
    """Change one byte of a card."""
    card = next(row for row in service.items(order_id) if row["sk"]["S"].startswith("CARDS#"))
    changed = bytearray(card["ciphertext"]["B"])
    changed[-1] ^= 1
    service.cloud.client("dynamodb").put_item(
        TableName=service.stack.outputs["CardTableName"], Item=card | {"ciphertext": {"B": bytes(changed)}}
    )


def revealed(service: Service, order_id: str) -> list[str]:
    answer = service.giftcards("reveal", order_id, "--user", "alice", "--json")
    return [card["value"] for card in json.loads(answer.stdout)["cards"]] if answer.returncode == 0 else []


def values(order_id: str) -> list[str]:
    return [card["value"] for card in cards_of(order_id, 2)]


def test_lost_orders_are_restored_with_their_cards(service: Service, copy: str, delivered: str, waiting: str) -> None:
    before = service.items(delivered)
    lose(service, delivered)
    lose(service, waiting)

    restored = service.giftcards("restore", "--from", copy)

    assert (restored.returncode, restored.stdout, restored.stderr) == (0, "orders restored: 2\n", "")
    assert service.items(delivered) == before
    assert revealed(service, delivered) == values(delivered)


def test_second_run_changes_nothing(service: Service, copy: str) -> None:
    assert service.giftcards("restore", "--from", copy).stdout == "orders restored: 0\n"


def test_changed_cards_of_one_order_are_restored(service: Service, copy: str, delivered: str) -> None:
    tamper(service, delivered)
    assert revealed(service, delivered) == []

    restored = service.giftcards("restore", delivered, "--from", copy)

    assert (restored.returncode, restored.stdout) == (0, "cards restored: 2\n")
    assert revealed(service, delivered) == values(delivered)


def test_order_that_waited_is_delivered_once(service: Service, copy: str, waiting: str) -> None:
    service.supplier.control.change_order(waiting, fulfil_after=0)
    service.until_published(waiting)
    assert [event["detail-type"] for event in service.bus.events_about(waiting)].count("CardsDelivered") == 1


def test_cards_of_another_delivery_are_not_overwritten(service: Service, copy: str, waiting: str) -> None:
    before = service.items(waiting)

    refused = service.giftcards("restore", waiting, "--from", copy)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"giftcards: the copy has no delivered order {waiting!r}\n"
    assert service.items(waiting) == before


def test_missing_copy_is_one_line(service: Service) -> None:
    refused = service.giftcards("restore", "--from", "no-such-table")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "giftcards: AWS refused Scan: ResourceNotFoundException\n"
