"""The shared snapshot of the supplier's list, in the gate's table."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from giftcards.adapters.gate_table import SUPPLIER
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.statuses import OrderStatus, SupplierStatus
from giftcards.rules.snapshot import Snapshot

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_SNAPSHOT = {"pk": SUPPLIER, "sk": "SNAPSHOT"}
_REFRESH = {"pk": SUPPLIER, "sk": "REFRESH"}
"""Which tick is refreshed, and how many checks it had: a small item, because a write costs by the item's size."""


class SnapshotTable:
    """Reads and writes the snapshot, and chooses the one check that refreshes it in a tick."""

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self._table_name = table_name
        self._dynamodb: Any = dynamodb

    def read(self) -> Snapshot:
        """Return the snapshot. The read may miss the last second: the snapshot says how old it is."""
        item = self._dynamodb.get_item(TableName=self._table_name, Key=_SNAPSHOT).get("Item", {})
        fetched_at = item.get("fetchedAt")
        return Snapshot(
            fetched_at=None if fetched_at is None else datetime.fromisoformat(fetched_at),
            statuses={order_id: OrderStatus(status) for order_id, status in item.get("statuses", {}).items()},  # type: ignore[misc]
            failed_tick=int(item["failedTick"]) if "failedTick" in item else None,
        )

    def count(self, tick: int) -> int:
        """Count a check of this tick, and return how many there were; 0 if a later tick has begun."""
        same = {"ConditionExpression": "tick = :tick", "ReturnValues": "UPDATED_NEW"}
        for _ in range(2):
            counted = self._update(_REFRESH, "ADD checks :one", {"one": 1, "tick": tick}, **same)
            if counted is not None:
                return int(counted["Attributes"]["checks"])
            first = "attribute_not_exists(tick) OR tick < :tick"
            begun = self._update(
                _REFRESH, "SET tick = :tick, checks = :one", {"one": 1, "tick": tick}, ConditionExpression=first
            )
            if begun is not None:
                return 1
        return 0

    def claim(self, tick: int) -> bool:
        """Return whether this check, and no other one, refreshes the snapshot in this tick."""
        first = "attribute_not_exists(refreshedTick) OR refreshedTick < :tick"
        return (
            self._update(_REFRESH, "SET refreshedTick = :tick", {"tick": tick}, ConditionExpression=first) is not None
        )

    def write(self, fetched_at: datetime, statuses: Mapping[str, SupplierStatus]) -> None:
        """Replace the snapshot, unless a call that began later has replaced it.

        Parameters
        ----------
        fetched_at
            Start of the call.
        """
        self._update(
            _SNAPSHOT,
            "SET fetchedAt = :fetchedAt, statuses = :statuses",
            {
                "fetchedAt": timestamp(fetched_at),
                "statuses": {order_id: str(status) for order_id, status in statuses.items()},
            },
            ConditionExpression="attribute_not_exists(fetchedAt) OR fetchedAt < :fetchedAt",
        )

    def mark_failed(self, tick: int) -> None:
        """Record that this tick has no snapshot, so that no check waits for it."""
        self._update(_SNAPSHOT, "SET failedTick = :tick", {"tick": tick})

    def _update(self, key: dict[str, str], expression: str, values: dict[str, Any], **options: Any) -> Any:
        """Update an item and return the response; None if its condition is not met."""
        try:
            return self._dynamodb.update_item(
                TableName=self._table_name,
                Key=key,
                UpdateExpression=expression,
                ExpressionAttributeValues={f":{name}": value for name, value in values.items()},
                **options,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None
