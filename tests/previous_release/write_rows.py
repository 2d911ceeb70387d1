"""Write rows.json: rows of the card table as the release before `CARDS#` rows wrote them, by the code of that release.

Run ``.venv/bin/python tests/previous_release/write_rows.py`` in the project's folder. It needs git's history, not a
network. The rows are committed because a clone may be shallow.
"""

# ruff: noqa: PLC0415 - the previous code can be imported only once it is there

import base64
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from boto3.dynamodb.types import Binary, TypeSerializer
from botocore.session import Session
from moto import mock_aws
from moto.kms.models import kms_backends

COMMIT = "76715bd"
"""The last one with a row for each card."""
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
REGION, ACCOUNT, USER = "eu-west-1", "123456789012", "user-4711"
TABLE = "cards"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", COMMIT, "layers/core"], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        sys.path.insert(0, str(Path(folder) / "layers/core"))
        with mock_aws():
            rows = written_rows()
    target = Path(__file__).with_name("rows.json")
    target.write_text(json.dumps(rows, indent=1, default=as_text) + "\n", encoding="utf-8")


def as_text(value: Any) -> str:
    if isinstance(value, Binary | bytes):
        return base64.b64encode(bytes(value)).decode()
    return str(value)


def written_rows() -> dict[str, Any]:
    """Deliver orders with the previous code, and return everything that it wrote."""
    from giftcards.adapters import order_table
    from giftcards.adapters.card_cipher import CardCipher
    from giftcards.adapters.order_table import OrderTable
    from giftcards.contracts.supplier import SettledOrder
    from giftcards.rules.orders import Order, close, with_card_expiry

    assert "deliveryAttempt" in order_table.ORDER_ATTRIBUTES, "this is not the previous release"
    client = boto3.resource("dynamodb", REGION).meta.client
    client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    key_arn = boto3.client("kms", REGION).create_key()["KeyMetadata"]["Arn"]
    session = Session()
    session.set_config_variable("region", REGION)
    cipher, orders = CardCipher(key_arn, session), OrderTable(TABLE, client)

    def settled(order_id: str, status: str, quantity: int, fulfilled: int) -> SettledOrder:
        cards = [
            {"value": f"{order_id}-value-{index}-é", "serial": f"{order_id}-serial-{index}" if index % 2 else None}
            for index in range(1, fulfilled + 1)
        ]
        counts = {"quantity": quantity, "fulfilled_quantity": fulfilled, "cards": cards}
        amounts = {"fulfilled_amount": fulfilled * 490, "price_per_card": 490}
        return SettledOrder.model_validate({"_id": order_id, "status": status} | counts | amounts)

    def claim(order_id: str) -> Order:
        row = {
            "pk": f"ORDER#{order_id}", "sk": "ORDER", "orderId": order_id, "userId": USER, "status": "HANDLING",
            "openStatus": "HANDLING", "claimedAt": "2026-03-14T09:25:53.000Z", "executionArn": f"arn:{order_id}",
        }  # fmt: skip
        client.put_item(TableName=TABLE, Item=row)
        return orders.get(order_id)

    def deliver(
        order_id: str,
        status: str,
        quantity: int,
        fulfilled: int,
        *,
        attempt: str | None = "attempt-1",
        retention: timedelta | None = None,
        published: bool = True,
    ) -> None:
        order = claim(order_id)
        answer = settled(order_id, status, quantity, fulfilled)
        closed = with_card_expiry(close(order, answer, attempt, NOW, checks=3), retention)
        orders.close(closed, cipher.encrypt(order_id, USER, attempt, answer.cards))
        if published:
            orders.mark_published(closed, NOW + timedelta(seconds=1))

    deliver("fulfilled", "FULFILLED", 3, 3)
    deliver("partly-filled", "PARTIALLY_FILLED", 3, 2)
    deliver("refunded", "REFUNDED", 2, 0)
    deliver("expiring", "FULFILLED", 2, 2, retention=timedelta(days=30))
    deliver("unpublished", "FULFILLED", 2, 2, published=False)
    deliver("without-attempt", "FULFILLED", 2, 2, attempt=None)  # as releases before attempts wrote it

    order_table.TRANSACTION_ITEMS = 3
    deliver("in-pieces", "FULFILLED", 5, 5)
    calls: list[Any] = []
    transact = client.transact_write_items
    client.transact_write_items = lambda **call: calls.append(call) or (transact(**call) if len(calls) < 3 else {})
    deliver("unfinished", "FULFILLED", 5, 5, published=False)  # three pieces; the last one is still on its way
    client.transact_write_items = transact

    rows: dict[str, list[Any]] = {}
    for item in client.scan(TableName=TABLE)["Items"]:
        rows.setdefault(item["pk"].removeprefix("ORDER#"), []).append(typed(item))
    key_id = key_arn.rpartition("/")[2]
    return {
        "commit": COMMIT,
        "key": {"id": key_id, "material": kms_backends[ACCOUNT][REGION].keys[key_id].key_material},
        "orders": {order_id: sorted(found, key=lambda row: row["sk"]["S"]) for order_id, found in sorted(rows.items())},
        "pieceOnItsWay": [
            {kind: {name: typed(part) if name in TYPED else part for name, part in action.items()}}
            for item in calls[2]["TransactItems"]
            for kind, action in item.items()
        ],
    }


TYPED = {"Item", "Key", "ExpressionAttributeValues"}


def typed(values: dict[str, Any]) -> dict[str, Any]:
    """Return attributes with their types, as DynamoDB's API has them."""
    return {name: TypeSerializer().serialize(value) for name, value in values.items()}


if __name__ == "__main__":
    main()
