"""DynamoDB in memory: small, exact where this project uses it, and cheap to put back to an earlier state.

An exploration makes millions of calls and returns to earlier states all the time; moto is a thousand times too slow
for that. `test_table.py` compares this table with moto, call by call.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from boto3.dynamodb.types import Binary, TypeSerializer
from botocore.exceptions import ClientError

from exploration.expressions import Missing, compile_condition, compile_projection, compile_update

MAX_TRANSACTION_ITEMS = 100
OPERATIONS = frozenset(
    {
        "get_item",
        "put_item",
        "update_item",
        "delete_item",
        "query",
        "scan",
        "batch_get_item",
        "transact_get_items",
        "transact_write_items",
    }
)
WRITES = frozenset({"put_item", "update_item", "delete_item", "transact_write_items"})
_NO_NAMES: Mapping[str, str] = {}
_CONDITIONS = ("ConditionExpression", "KeyConditionExpression", "FilterExpression")
_TABLE_KEY = ("pk", "sk")


class ConditionalCheckFailedException(ClientError):  # noqa: N818 - boto3's name
    """As boto3 raises it."""


class TransactionCanceledException(ClientError):  # noqa: N818
    """As boto3 raises it."""


EXCEPTIONS = SimpleNamespace(
    ConditionalCheckFailedException=ConditionalCheckFailedException,
    TransactionCanceledException=TransactionCanceledException,
)


class Frozen(dict[Any, Any]):
    """A dict that nobody changes after it is made, so that it has a hash, computed once."""

    __slots__ = ("_hash",)

    def __hash__(self) -> int:  # type: ignore[override]
        try:
            return self._hash
        except AttributeError:
            self._hash = hash(frozenset(self.items()))
            return self._hash


def freeze(value: Any) -> Any:
    """Return the value as the table keeps it: immutable and hashable."""
    if isinstance(value, Frozen) or value is None or isinstance(value, bool | bytes | int | Decimal):
        return value
    if isinstance(value, str):
        return str(value)  # also of an enum
    if isinstance(value, Mapping):
        return Frozen({name: freeze(part) for name, part in value.items()})
    if isinstance(value, set | frozenset):
        return frozenset(map(freeze, value))
    if isinstance(value, list | tuple):
        return tuple(map(freeze, value))
    if isinstance(value, bytearray | Binary):
        return bytes(value)
    raise TypeError(f"DynamoDB does not take a {type(value).__name__}")


def thaw(value: Any) -> Any:
    """Return a copy of a frozen value as boto3 gives it."""
    if isinstance(value, Mapping):
        return {name: thaw(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [thaw(part) for part in value]
    if isinstance(value, frozenset):
        return {thaw(part) for part in value}
    if isinstance(value, bytes):
        return Binary(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return value


class MemoryTables:
    """Tables with the key ``pk``, ``sk`` and any number of global secondary indexes.

    Parameters
    ----------
    indexes
        By name of the index, its partition key and its sort key (None where it has none). The same for all tables.
    items_per_page
        How many items Query and Scan read in one call; None means all. DynamoDB isolates a Query only item by item,
        so 1 lets an exploration write between any two items.

    Attributes
    ----------
    rows
        Everything stored, by table, ``pk`` and ``sk``. Set it to what it was before to return to that state.
    rewrite
        What is evaluated in place of a ConditionExpression; None means that the write has no condition. A test of
        tests takes conditions away with it.
    update
        UpdateExpression of the write whose condition is evaluated, for ``rewrite``.
    """

    exceptions = EXCEPTIONS

    def __init__(
        self, indexes: Mapping[str, tuple[str, str | None]] | None = None, *, items_per_page: int | None = None
    ) -> None:
        self.rows = Frozen()
        self.rewrite: Callable[[str], str | None] = str
        self.update: str | None = None
        self._indexes = indexes or {}
        self._items_per_page = items_per_page

    def execute(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Carry out one call and return its answer, frozen.

        Raises
        ------
        ClientError
            As boto3 raises it.
        """
        assert operation in OPERATIONS, f"{operation} is not there: add it, and compare it with moto"
        return freeze(getattr(self, f"_{operation}")(**arguments))

    def all_rows(self, table: str) -> list[dict[str, Any]]:
        """Return what a table holds, in order of its keys."""
        return [thaw(row) for key, row in sorted(self.rows.items(), key=lambda entry: entry[0]) if key[0] == table]

    def _get_item(self, TableName: str, Key: Mapping[str, str], **options: Any) -> dict[str, Any]:  # noqa: N803
        row = self.rows.get(_key(TableName, Key))
        return {} if row is None else {"Item": _projected(row, options)}

    def _put_item(self, TableName: str, Item: Mapping[str, Any], **options: Any) -> dict[str, Any]:  # noqa: N803
        new = freeze(Item)
        return self._write(_key(TableName, Item), lambda _: new, options)

    def _delete_item(self, TableName: str, Key: Mapping[str, str], **options: Any) -> dict[str, Any]:  # noqa: N803
        return self._write(_key(TableName, Key), lambda _: None, options)

    def _update_item(self, TableName: str, Key: Mapping[str, str], **options: Any) -> dict[str, Any]:  # noqa: N803
        return self._write(_key(TableName, Key), _updating(Key, options), options)

    def _write(
        self,
        key: tuple[str, ...],
        change: Callable[[Mapping[str, Any] | None], Frozen | None],
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        old = self.rows.get(key)
        if not self._holds(options, old):
            raise _condition_failed(options, old)
        new = change(old)
        self._store({key: new})
        return _returned(options.get("ReturnValues", "NONE"), old, new)

    def _holds(self, options: Mapping[str, Any], row: Mapping[str, Any] | None) -> bool:
        _check_use(options)
        self.update = options.get("UpdateExpression")
        expression = self.rewrite(options["ConditionExpression"]) if "ConditionExpression" in options else None
        if expression is None:
            return True
        condition = compile_condition(expression)
        return condition(row or Frozen(), options.get("ExpressionAttributeNames", _NO_NAMES), _values(options))

    def _store(self, changed: Mapping[tuple[str, ...], Frozen | None]) -> None:
        rows = {**self.rows, **changed}
        self.rows = Frozen({key: row for key, row in rows.items() if row is not None})

    def _transact_write_items(
        self,
        TransactItems: Sequence[Mapping[str, Any]],  # noqa: N803
        ClientRequestToken: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        done = ("", "ClientRequestToken", str(ClientRequestToken))
        if done in self.rows:  # a repeat of a transaction that was carried out changes nothing and succeeds
            return {}
        actions = [(kind, action) for item in TransactItems for kind, action in item.items()]
        keys = [_key(action["TableName"], action.get("Key") or action["Item"]) for _, action in actions]
        if len(set(keys)) < len(keys) or not 1 <= len(keys) <= MAX_TRANSACTION_ITEMS:
            raise _invalid("a transaction has 1 to 100 items, no two of one key", "TransactWriteItems")
        holds = [self._holds(action, self.rows.get(key)) for key, (_, action) in zip(keys, actions, strict=True)]
        if not all(holds):
            raise _cancelled(holds)
        changed: dict[tuple[str, ...], Frozen | None] = {}
        for key, (kind, action) in zip(keys, actions, strict=True):
            match kind:
                case "Put":
                    changed[key] = freeze(action["Item"])
                case "Update":
                    changed[key] = _updating(action["Key"], action)(self.rows.get(key))
                case "Delete":
                    changed[key] = None
                case _:
                    assert kind == "ConditionCheck"
        if ClientRequestToken is not None:
            changed[done] = Frozen()
        self._store(changed)
        return {}

    def _transact_get_items(self, TransactItems: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803
        return {"Responses": [self._get_item(**item["Get"]) for item in TransactItems]}

    def _batch_get_item(self, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803
        found: dict[str, Any] = {}
        for table, request in RequestItems.items():
            options = {name: value for name, value in request.items() if name != "Keys"}
            answers = (self._get_item(table, key, **options) for key in request["Keys"])
            found[table] = [answer["Item"] for answer in answers if answer]
        return {"Responses": found, "UnprocessedKeys": {}}

    def _query(self, **options: Any) -> dict[str, Any]:
        return self._read(options, "KeyConditionExpression")

    def _scan(self, **options: Any) -> dict[str, Any]:
        return self._read(options, None)

    def _read(self, options: dict[str, Any], key_condition: str | None) -> dict[str, Any]:
        index = options.get("IndexName")
        _check_use(options)
        partition, sort = _TABLE_KEY if index is None else self._indexes[index]
        names, values = options.get("ExpressionAttributeNames", _NO_NAMES), _values(options)

        def matches(row: Mapping[str, Any], expression: str | None) -> bool:
            return expression is None or compile_condition(expression)(row, names, values)

        def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
            return (row[partition], row[sort] if sort else "", row["pk"], row["sk"])

        found = sorted(
            (
                row
                for (table, *_), row in self.rows.items()
                if table == options["TableName"]
                and partition in row
                and (sort is None or sort in row)
                and matches(row, options[key_condition] if key_condition else None)
            ),
            key=place,
            reverse=not options.get("ScanIndexForward", True),
        )
        after = options.get("ExclusiveStartKey")
        if after is not None:
            passed = place(after)
            is_later = (
                (lambda row: place(row) > passed)
                if options.get("ScanIndexForward", True)
                else (lambda row: place(row) < passed)
            )
            found = [row for row in found if is_later(row)]
        limit = min(options.get("Limit", len(found)), self._items_per_page or len(found))
        page = found[:limit]
        answer: dict[str, Any] = {}
        if page and len(page) < len(found):
            last = {name for name in (*_TABLE_KEY, partition, sort) if name}
            answer["LastEvaluatedKey"] = {name: page[-1][name] for name in last}
        kept = [row for row in page if matches(row, options.get("FilterExpression"))]
        answer |= {"Count": len(kept), "ScannedCount": len(page)}
        if options.get("Select") != "COUNT":
            answer["Items"] = [_projected(row, options) for row in kept]
        return answer


class MemoryClient:
    """What the adapters call: the operations of boto3's client that speaks Python types.

    Parameters
    ----------
    perform
        Carries out an operation with its arguments and returns the answer, frozen.
    """

    exceptions = EXCEPTIONS

    def __init__(self, perform: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self._perform = perform

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation not in OPERATIONS:
            raise AttributeError(operation)
        return lambda **arguments: thaw(self._perform(operation, arguments))

    def get_paginator(self, operation: str) -> "_Paginator":
        """Return what reads all pages of an operation."""
        return _Paginator(getattr(self, operation))

    @cached_property
    def meta(self) -> SimpleNamespace:
        """Return what a resource of boto3 has there."""
        return SimpleNamespace(client=self)


class _Paginator:
    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self._call(**arguments)
            yield page
            if "LastEvaluatedKey" not in page:
                return
            arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _key(table: str, key: Mapping[str, str]) -> tuple[str, ...]:
    return (table, key["pk"], key["sk"])


def _values(options: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: freeze(value) for name, value in options.get("ExpressionAttributeValues", {}).items()}


def _check_use(options: Mapping[str, Any]) -> None:
    """Refuse names and values that no expression uses, and the other way round, as DynamoDB does."""
    used: set[str] = set()
    for name in _CONDITIONS:
        if name in options:
            used |= compile_condition(options[name]).used
    if "UpdateExpression" in options:
        used |= compile_update(options["UpdateExpression"]).used
    if "ProjectionExpression" in options:
        used |= {name for name in compile_projection(options["ProjectionExpression"]) if name.startswith("#")}
    given = {*options.get("ExpressionAttributeNames", ()), *options.get("ExpressionAttributeValues", ())}
    if used != given:
        raise _invalid(f"used and given names and values differ: {sorted(used ^ given)}")


def _updating(
    key: Mapping[str, Any], options: Mapping[str, Any]
) -> Callable[[Mapping[str, Any] | None], Frozen | None]:
    update = compile_update(options["UpdateExpression"]) if "UpdateExpression" in options else None
    names, values = options.get("ExpressionAttributeNames", _NO_NAMES), _values(options)

    def change(old: Mapping[str, Any] | None) -> Frozen:
        row = dict(freeze(key) if old is None else old)
        if update is not None:
            try:
                update(row, names, values)
            except Missing as error:
                raise _invalid(str(error)) from None
        return Frozen(row)

    return change


def _projected(row: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
    expression = options.get("ProjectionExpression")
    if expression is None:
        return row
    names = compile_projection(expression)
    given = options.get("ExpressionAttributeNames", _NO_NAMES)
    wanted = [given[name] if name.startswith("#") else name for name in names]
    return Frozen({name: row[name] for name in wanted if name in row})


def _returned(kind: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> dict[str, Any]:
    was, now = old or {}, new or {}
    missing = object()
    match kind:
        case "ALL_OLD":
            shown = was
        case "ALL_NEW":
            shown = now
        case "UPDATED_OLD":
            shown = {name: value for name, value in was.items() if now.get(name, missing) != value}
        case "UPDATED_NEW":
            shown = {name: value for name, value in now.items() if was.get(name, missing) != value}
        case _:
            shown = {}
    return {"Attributes": shown} if shown else {}


def _invalid(message: str, operation: str = "UpdateItem") -> ClientError:
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, operation)


def _condition_failed(options: Mapping[str, Any], old: Mapping[str, Any] | None) -> ClientError:
    error = {"Code": "ConditionalCheckFailedException", "Message": "The conditional request failed"}
    response: dict[str, Any] = {"Error": error}
    if options.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and old is not None:
        # boto3 translates answers into Python types, not errors.
        response["Item"] = {name: TypeSerializer().serialize(thaw(value)) for name, value in old.items()}
    return ConditionalCheckFailedException(response, "UpdateItem")  # type: ignore[arg-type]


def _cancelled(holds: Sequence[bool]) -> ClientError:
    reasons = [
        {"Code": "None"} if held else {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
        for held in holds
    ]
    error = {"Code": "TransactionCanceledException", "Message": "Transaction cancelled"}
    response: Any = {"Error": error, "CancellationReasons": reasons}
    return TransactionCanceledException(response, "TransactWriteItems")
