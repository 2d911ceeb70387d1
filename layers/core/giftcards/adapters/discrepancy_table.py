"""Discrepancies whose event is published, so that each is published once."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from giftcards.adapters.timestamps import timestamp
from giftcards.rules.discrepancies import Discrepancy

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEPT = timedelta(days=90)
"""Then the row expires, and the event is published again if the discrepancy still exists."""


class DiscrepancyTable:
    """One row per order and kind of discrepancy, with the details that were published last."""

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self._table_name = table_name
        self._dynamodb: Any = dynamodb

    def is_published(self, discrepancy: Discrepancy) -> bool:
        """Return whether the event that was published last for this order and kind had the same details."""
        answer = self._dynamodb.get_item(TableName=self._table_name, Key=_key(discrepancy), ConsistentRead=True)
        return bool(answer.get("Item", {}).get("details") == discrepancy.details)

    def mark_published(self, discrepancy: Discrepancy, at: datetime) -> None:
        """Record that the event is published. Call this after the event is on the bus."""
        self._dynamodb.put_item(
            TableName=self._table_name,
            Item={
                **_key(discrepancy),
                "details": discrepancy.details,
                "message": discrepancy.message,
                "announcedAt": timestamp(at),
                "expiresAt": int((at + KEPT).timestamp()),
            },
        )


def _key(discrepancy: Discrepancy) -> dict[str, str]:
    # Orders without a readable id share one row.
    return {"pk": f"ORDER#{discrepancy.order_id or ''}", "sk": str(discrepancy.kind)}
