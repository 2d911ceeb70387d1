"""The one record of the supplier gate."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from giftcards.adapters.timestamps import timestamp
from giftcards.rules.gate import CALLS_AT_ONCE, Closing, Gate, Place
from giftcards.rules.trouble import TroubleKind

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEY = {"pk": "SUPPLIER#oneclickdz", "sk": "GATE"}


class GateTable:
    """Reads and closes the gate, and keeps its places.

    No function opens the gate by a write: the record says when it opens. What only a new key opens and what time
    opens are kept apart, so that neither can shorten the other.
    """

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self._table_name = table_name
        self._dynamodb: Any = dynamodb

    def read(self) -> Gate:
        """Return the record as it is now."""
        item = self._dynamodb.get_item(TableName=self._table_name, Key=_KEY, ConsistentRead=True).get("Item", {})
        return Gate(
            refusal=_closing(item, "refused"),
            refused_versions=frozenset(item.get("refusedKeyVersions", ())),
            pause=_closing(item, "paused"),
            accepted_version=item.get("acceptedKeyVersion"),
            leases={
                number: datetime.fromisoformat(item[f"lease{number}"])
                for number in range(1, CALLS_AT_ONCE + 1)
                if f"lease{number}" in item
            },
            closings=int(item.get("closings", 0)),
        )

    def close(self, closing: Closing) -> None:
        """Close the gate for all orders. A pause does not replace one that lasts longer.

        The key has to prove itself again when the gate opens.
        """
        kind = "refused" if closing.until is None else "paused"
        values = {
            f"{kind}Reason": closing.reason,
            f"{kind}Message": closing.message,
            f"{kind}At": timestamp(closing.at),
            f"{kind}KeyVersion": closing.key_version,
        }
        added: dict[str, Any] = {"closings": 1}
        condition = None
        if closing.until is not None:
            values["pausedUntil"] = timestamp(closing.until)
            condition = "attribute_not_exists(pausedUntil) OR pausedUntil < :pausedUntil"
        elif closing.key_version is not None:
            added["refusedKeyVersions"] = {closing.key_version}
        self._update(
            f"SET {', '.join(f'{name} = :{name}' for name in values)} REMOVE acceptedKeyVersion "
            f"ADD {', '.join(f'{name} :{name}' for name in added)}",
            {f":{name}": value for name, value in (values | added).items()},
            condition,
        )

    def forget_pause(self, seen: Gate) -> bool:
        """Forget what time would open, as a person wants it. The key has to prove itself again, by one call alone.

        Returns
        -------
        Whether it is forgotten; not if the gate has been closed again since the record was read.
        """
        condition, values = _not_closed_since(seen)
        forgotten = ", ".join(f"paused{what}" for what in ("Reason", "Message", "At", "KeyVersion", "Until"))
        return self._update(f"REMOVE {forgotten}, acceptedKeyVersion", values, condition)

    def take(self, place: Place, seen: Gate) -> bool:
        """Take a place, if neither it nor the gate has changed since the record was read.

        Returns
        -------
        Whether it was taken; if not, read the record again.
        """
        lease = f"lease{place.number}"
        condition, values = _not_closed_since(seen)
        condition += f" AND {lease} = :before" if place.before else f" AND attribute_not_exists({lease})"
        if place.before is not None:
            values[":before"] = timestamp(place.before)
        return self._update(f"SET {lease} = :until", values | {":until": timestamp(place.until)}, condition)

    def give_back(self, place: Place) -> None:
        """Give a place back, unless its time was over and another caller has it."""
        lease = f"lease{place.number}"
        self._update(f"REMOVE {lease}", {":until": timestamp(place.until)}, f"{lease} = :until")

    def accept(self, key_version: str | None, seen: Gate) -> None:
        """Write down that the supplier accepts this key, unless the gate was closed since the record was read."""
        condition, values = _not_closed_since(seen)
        self._update("SET acceptedKeyVersion = :version", values | {":version": key_version}, condition)

    def _update(self, expression: str, values: dict[str, Any], condition: str | None) -> bool:
        """Change the record and return whether the condition held."""
        conditional = {} if condition is None else {"ConditionExpression": condition}
        try:
            self._dynamodb.update_item(
                TableName=self._table_name,
                Key=_KEY,
                UpdateExpression=expression,
                ExpressionAttributeValues=values,
                **conditional,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True


def _not_closed_since(seen: Gate) -> tuple[str, dict[str, Any]]:
    """Return the condition that nobody has closed the gate since it was read, with its values."""
    if seen.closings == 0:
        return "attribute_not_exists(closings)", {}
    return "closings = :closings", {":closings": seen.closings}


def _closing(item: dict[str, Any], kind: str) -> Closing | None:
    if f"{kind}At" not in item:
        return None
    until = item.get(f"{kind}Until")
    return Closing(
        reason=TroubleKind(item[f"{kind}Reason"]),
        message=item[f"{kind}Message"],
        at=datetime.fromisoformat(item[f"{kind}At"]),
        key_version=item[f"{kind}KeyVersion"],
        until=None if until is None else datetime.fromisoformat(until),
    )
