"""The parts of AWS that the functions call, in memory and in virtual time: DynamoDB, Secrets Manager, EventBridge."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from exploration.table import MemoryClient, MemoryTables

TABLE_SECONDS = 0.01
"""A call to DynamoDB from a function; it takes effect halfway. AWS promises single-digit milliseconds
(https://aws.amazon.com/dynamodb/)."""
SECRET_SECONDS = 0.02
BUS_SECONDS = 0.02
READ_UNIT_BYTES, WRITE_UNIT_BYTES = 4096, 1024
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html"""


class Tables(MemoryTables):
    """DynamoDB that is changed in place, because a simulation never returns to an earlier state.

    Attributes
    ----------
    writes, reads
        Number of calls by the sort key of the item; the number of cards' rows does not matter here.
    write_units, read_units
        What AWS bills, without indexes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows = {}  # type: ignore[assignment]
        self.writes: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.write_units = 0
        self.read_units = 0.0
        self._in_transaction = False

    def _store(self, changed: Mapping[tuple[str, ...], Any]) -> None:
        factor = 2 if self._in_transaction else 1
        for key, row in changed.items():
            if key[0] != "":
                self.write_units += factor * units(row or self.rows.get(key) or {}, WRITE_UNIT_BYTES)
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    def execute(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        self._in_transaction = operation == "transact_write_items"
        key = arguments.get("Key") or arguments.get("Item") or {}
        kind = key.get("sk", operation)
        if operation in {"put_item", "update_item", "delete_item", "transact_write_items"}:
            self.writes[kind] += 1
            before = self.write_units
            try:
                return super().execute(operation, arguments)
            finally:
                self.write_units += self.write_units == before  # a write whose condition fails is billed too
        self.reads[kind] += 1
        answer = super().execute(operation, arguments)
        factor = 1 if arguments.get("ConsistentRead") else 0.5
        self.read_units += factor * units(answer.get("Item") or {}, READ_UNIT_BYTES)
        return answer


def units(item: Mapping[str, Any], size: int) -> int:
    return max(1, math.ceil(item_bytes(item) / size))


def item_bytes(value: Any) -> int:
    """Return the size of a value as DynamoDB counts it.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    if isinstance(value, Mapping):
        return sum(len(str(name)) + item_bytes(part) + 1 for name, part in value.items()) + 3
    if isinstance(value, list | tuple | set | frozenset):
        return sum(item_bytes(part) + 1 for part in value) + 3
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes | bytearray):
        return len(value)
    return 1 if value is None or isinstance(value, bool) else 21 if not hasattr(value, "value") else len(value.value)


class Cloud:
    """AWS, as a function's clients see it."""

    def __init__(self, sleep: Callable[[float], None], key: Callable[[], str]) -> None:
        self.tables = Tables()
        self._sleep = sleep
        self._key = key
        self.dynamodb = MemoryClient(self._in_function)
        missing = type("ResourceNotFoundException", (Exception,), {})
        self.secrets_manager = SimpleNamespace(
            get_secret_value=self._secret, exceptions=SimpleNamespace(ResourceNotFoundException=missing)
        )
        self.event_bridge = SimpleNamespace(put_events=self._put_events)

    def _in_function(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        self._sleep(TABLE_SECONDS / 2)
        try:
            return self.tables.execute(operation, arguments)
        finally:
            self._sleep(TABLE_SECONDS / 2)

    def _secret(self, SecretId: str) -> dict[str, str]:  # noqa: N803 - boto3's name
        self._sleep(SECRET_SECONDS)
        value = self._key()
        return {"ARN": SecretId, "SecretString": value, "VersionId": f"version-of-{value}"}

    def _put_events(self, Entries: list[Mapping[str, str]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self._sleep(BUS_SECONDS)
        return {"FailedEntryCount": 0, "Entries": [{} for _ in Entries]}
