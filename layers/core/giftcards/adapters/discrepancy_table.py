"""Which differences have been announced, so that each is announced once."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from giftcards.adapters.timestamps import timestamp
from giftcards.rules.discrepancies import Discrepancy

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEPT = timedelta(days=90)
"""After which a difference is forgotten, and announced again if it is still there."""


class DifferenceTable:
    """One row for an order and a kind of difference: what of it was announced last."""

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self._table_name = table_name
        self._dynamodb: Any = dynamodb

    def is_known(self, difference: Discrepancy) -> bool:
        """Say whether just this difference was the last of its kind to be announced for its order."""
        answer = self._dynamodb.get_item(TableName=self._table_name, Key=_key(difference), ConsistentRead=True)
        return bool(answer.get("Item", {}).get("details") == difference.details)

    def remember(self, difference: Discrepancy, at: datetime) -> None:
        """Write down that a difference has been announced; call it once the bus has the event."""
        self._dynamodb.put_item(
            TableName=self._table_name,
            Item={
                **_key(difference),
                "details": difference.details,
                "message": difference.message,
                "announcedAt": timestamp(at),
                "expiresAt": int((at + KEPT).timestamp()),
            },
        )


def _key(difference: Discrepancy) -> dict[str, str]:
    # Orders of the supplier's list that have no readable id share one row.
    return {"pk": f"ORDER#{difference.order_id or ''}", "sk": str(difference.kind)}
