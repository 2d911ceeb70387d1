"""Rows of the table of buyers' links and mails, for its two adapters: ``LinkTable`` and ``MailTable``.

``LINK#<hash>``/``LINK`` is one link. ``ORDER#<orderId>``/``USER#<userId>`` lists the links of an order and carries the
mail. The table holds no card, no token and no readable address.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_CONFLICT_ATTEMPTS = 4
_CONFLICT_SECONDS = 0.05
NO_NAMES: Mapping[str, str] = {}

Key = Mapping[str, str]


def link_key(link_hash: str) -> Key:
    """Return the key of a link's row."""
    return {"pk": f"LINK#{link_hash}", "sk": "LINK"}


def order_key(order_id: str, user_id: str) -> Key:
    """Return the key of the row of an order and user."""
    return {"pk": f"ORDER#{order_id}", "sk": f"USER#{user_id}"}


def time_in(item: Mapping[str, Any], name: str) -> datetime | None:
    """Read a time; None if the row has none."""
    return datetime.fromisoformat(item[name]) if name in item else None


class LinkRows:
    """Reads and updates rows by key."""

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self.table_name = table_name
        self.dynamodb: Any = dynamodb

    def get(self, key: Key) -> dict[str, Any] | None:
        """Read a row, with all earlier writes."""
        answer = self.dynamodb.get_item(TableName=self.table_name, Key=key, ConsistentRead=True)
        item: dict[str, Any] | None = answer.get("Item")
        return item

    def update(
        self, key: Key, change: str, condition: str, values: Mapping[str, Any], *, names: Mapping[str, str] = NO_NAMES
    ) -> dict[str, Any] | None:
        """Update a row and return all of it; None where the condition does not hold.

        DynamoDB refuses an update during a transaction on the same row, and boto3 does not retry that.
        """
        given: dict[str, Any] = {"ExpressionAttributeValues": dict(values)} if values else {}
        if names:
            given["ExpressionAttributeNames"] = dict(names)
        for attempt in range(1, _CONFLICT_ATTEMPTS + 1):
            try:
                item: dict[str, Any] = self.dynamodb.update_item(
                    TableName=self.table_name,
                    Key=key,
                    UpdateExpression=change,
                    ConditionExpression=condition,
                    ReturnValues="ALL_NEW",
                    **given,
                )["Attributes"]
            except self.dynamodb.exceptions.ConditionalCheckFailedException:
                return None
            except self.dynamodb.exceptions.TransactionConflictException:
                if attempt == _CONFLICT_ATTEMPTS:
                    raise
                time.sleep(_CONFLICT_SECONDS * attempt)
            else:
                return item
        return None
