"""The one record of the supplier gate."""

from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from giftcards.rules.gate import Gate

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEY = {"pk": "SUPPLIER#oneclickdz", "sk": "GATE"}
_GATE = TypeAdapter(Gate)


class GateTable:
    """Reads and closes the gate. It is never opened by a write: the record says when it opens."""

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self._table_name = table_name
        self._dynamodb = dynamodb

    def read(self) -> Gate | None:
        """Return what last closed the gate, or None where nothing ever has."""
        item = self._dynamodb.get_item(TableName=self._table_name, Key=_KEY, ConsistentRead=True).get("Item")
        return None if item is None else _GATE.validate_python({"key_version": None, "until": None} | item)

    def close(self, gate: Gate) -> None:
        """Close the gate for all orders, unless it is closed for longer already.

        A check that was under way when another one closed the gate must not shorten that: a refused key
        stays refused whatever comes after it, and a short wait does not replace a long one.
        """
        record = _GATE.dump_python(gate, mode="json", exclude_none=True)
        if gate.until is None:
            self._dynamodb.put_item(TableName=self._table_name, Item=_KEY | record)
            return
        with suppress(self._dynamodb.exceptions.ConditionalCheckFailedException):
            self._dynamodb.put_item(
                TableName=self._table_name,
                Item=_KEY | record,
                ConditionExpression="attribute_not_exists(pk) OR attribute_not_exists(key_version) "
                "OR key_version <> :version OR (attribute_exists(#until) AND #until < :until)",
                ExpressionAttributeNames={"#until": "until"},
                ExpressionAttributeValues={":version": gate.key_version, ":until": record["until"]},
            )
