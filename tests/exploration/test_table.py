"""The table in memory answers every call as moto's DynamoDB does, so that an exploration on it can be believed."""

import random
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError
from moto import mock_aws

from exploration.expressions import conjuncts
from exploration.table import MemoryClient, MemoryTables, freeze
from support.cloud import template

TABLE = "cards"
INDEXES = {"open-orders": ("openStatus", "claimedAt"), "orders-by-user": ("userId", "claimedAt")}
SEEDS = range(6)
CALLS = 120


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.resource("dynamodb", region_name="eu-west-1").meta.client
        properties = template()["Resources"]["CardTable"]["Properties"]
        supported = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
        client.create_table(TableName=TABLE, **{name: properties[name] for name in supported})
        yield client


@pytest.fixture
def tables() -> MemoryTables:
    return MemoryTables(INDEXES)


@pytest.fixture
def memory(tables: MemoryTables) -> MemoryClient:
    return MemoryClient(tables.execute)


def outcome(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
    """Return the parts of an answer or error that the table in memory has too."""
    try:
        answer = getattr(client, operation)(**arguments)
    except ClientError as error:
        reasons = [reason["Code"] for reason in error.response.get("CancellationReasons", ())]
        item = {name: TypeDeserializer().deserialize(value) for name, value in error.response.get("Item", {}).items()}
        return (type(error).__name__, error.response["Error"]["Code"], reasons, item)
    compared = ("Item", "Items", "Count", "Attributes", "Responses", "ScannedCount")
    return {name: answer[name] for name in compared if name in answer}


def same_outcome(moto: Any, memory: MemoryClient, operation: str, **arguments: Any) -> Any:
    expected = outcome(moto, operation, arguments)
    assert outcome(memory, operation, arguments) == expected, (operation, arguments)
    return expected


# ------------------------------------------------------------------- random calls


def _given(arguments: dict[str, Any], names: dict[str, str], values: dict[str, Any]) -> dict[str, Any]:
    """The placeholders that the expressions use; any other is refused."""
    texts = [str(value) for name, value in arguments.items() if name.endswith("Expression")]
    used = {word for text in texts for word in re.findall(r"[#:]\w+", text)}
    given = {
        "ExpressionAttributeNames": {name: value for name, value in names.items() if name in used},
        "ExpressionAttributeValues": {name: value for name, value in values.items() if name in used},
    }
    return {name: part for name, part in given.items() if part}


class Calls:
    """Makes random calls, about few rows and few attributes so that conditions hold about as often as not."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def next(self) -> tuple[str, dict[str, Any]]:
        make = self._random.choice(
            [self._update] * 5
            + [self._put, self._delete, self._get, self._transaction, self._transaction]
            + [self._query, self._index, self._scan, self._batch]
        )
        return make()

    def _key(self) -> dict[str, str]:
        return {"pk": self._random.choice(["ORDER#1", "ORDER#2"]), "sk": self._random.choice(["ORDER", "CARD#1", "C2"])}

    def _text(self) -> str:
        return self._random.choice(["a", "b", "2026-03-14T09:26:53.000Z", "2026-03-14T09:27:00.000Z"])

    def _value(self, name: str) -> Any:
        return {
            "count": lambda: self._random.randint(0, 3),
            "tags": lambda: set(self._random.sample(["x", "y", "z"], k=self._random.randint(1, 2))),
        }.get(name, self._text)()

    def _item(self) -> dict[str, Any]:
        names = self._random.sample(["status", "openStatus", "claimedAt", "userId", "count", "tags"], k=4)
        extra = self._random.choice([{}, {"ciphertext": b"\x00\xff", "gone": None, "many": ["a", 1, {"b": True}]}])
        return self._key() | {name: self._value(name) for name in names} | extra

    def _term(self, values: dict[str, Any], names: dict[str, str]) -> str:
        name = self._random.choice(["status", "claimedAt", "count", "tags"])
        names[f"#{name}"] = name

        def value() -> str:
            values[placeholder := f":v{len(values)}"] = self._value(name)
            return placeholder

        def between() -> str:
            low, high = sorted([self._value(name), self._value(name)])  # DynamoDB refuses the other way round
            values.update({f":low{len(values)}": low, f":high{len(values)}": high})
            return f"#{name} BETWEEN " + " AND ".join(list(values)[-2:])

        sign = self._random.choice(["=", "<", "<=", ">", ">=", "<>"])
        kinds = [
            lambda: f"attribute_exists(#{name})",
            lambda: f"attribute_not_exists(#{name})",
            lambda: f"#{name} IN ({value()}, {value()})",
        ]
        if name != "tags":
            kinds += [lambda: f"#{name} {sign} {value()}"] * 4 + [between]
        if name == "status":
            kinds += [lambda: f"begins_with(#{name}, {value()})"]
        return self._random.choice(kinds)()

    def _condition(self, values: dict[str, Any], names: dict[str, str], depth: int = 2) -> str:
        if depth == 0 or self._random.random() < 0.3:
            return self._term(values, names)
        left, right = (self._condition(values, names, depth - 1) for _ in range(2))
        return self._random.choice(
            [f"{left} AND {right}", f"{left} OR {right}", f"NOT ({left})", f"({left}) AND {right}"]
        )

    def _conditional(self, **arguments: Any) -> dict[str, Any]:
        values, names = arguments.pop("values", {}), arguments.pop("names", {})
        if self._random.random() < 0.6:
            arguments["ConditionExpression"] = self._condition(values, names)
        return {"TableName": TABLE, **arguments, **_given(arguments, names, values)}

    def _changing(self, *, may_fail: bool = False) -> dict[str, Any]:
        values = {":t": self._text(), ":n": self._random.randint(1, 3), ":s": self._value("tags"), ":z": 0}
        names = {"#st": "status", "#count": "count"}
        clauses = {
            "SET": [
                "#st = :t",
                "openStatus = :t",
                "claimedAt = if_not_exists(claimedAt, :t)",
                "#count = if_not_exists(#count, :z) + :n",
                *(["userId = userId"] if may_fail else []),
            ],
            "REMOVE": ["gone", "many", "ciphertext"],
            "ADD": ["tags :s", "extra :n"],
        }
        chosen = self._random.sample(sorted(clauses), k=self._random.randint(1, 3))
        parts = [
            f"{clause} {', '.join(self._random.sample(clauses[clause], k=self._random.randint(1, 2)))}"
            for clause in chosen
        ]
        return {"UpdateExpression": " ".join(parts), "values": values, "names": names}

    def _update(self) -> tuple[str, dict[str, Any]]:
        returned = self._random.choice(["NONE", "ALL_OLD", "ALL_NEW"])
        changing = self._conditional(Key=self._key(), ReturnValues=returned, **self._changing(may_fail=True))
        if self._random.random() < 0.3:
            changing["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        return "update_item", changing

    def _put(self) -> tuple[str, dict[str, Any]]:
        return "put_item", self._conditional(Item=self._item())

    def _delete(self) -> tuple[str, dict[str, Any]]:
        return "delete_item", self._conditional(Key=self._key(), ReturnValues="ALL_OLD")

    def _get(self) -> tuple[str, dict[str, Any]]:
        return "get_item", {"TableName": TABLE, "Key": self._key(), "ConsistentRead": True}

    def _batch(self) -> tuple[str, dict[str, Any]]:
        keys = {tuple(self._key().values()) for _ in range(3)}
        request = {
            "Keys": [{"pk": pk, "sk": sk} for pk, sk in sorted(keys)],
            "ProjectionExpression": "#pk, #status",
            "ExpressionAttributeNames": {"#pk": "pk", "#status": "status"},
        }
        return "batch_get_item", {"RequestItems": {TABLE: request}}

    def _transaction(self) -> tuple[str, dict[str, Any]]:
        actions, seen = [], set()
        for _ in range(self._random.randint(1, 3)):
            key = self._key()
            if tuple(key.values()) in seen:
                continue
            seen.add(tuple(key.values()))
            put = {"Put": self._conditional(Item=self._item() | key)}
            update = {"Update": self._conditional(Key=key, **self._changing())}
            delete = {"Delete": self._conditional(Key=key)}
            check = self._conditional(Key=key)
            checks = [{"ConditionCheck": check}] if "ConditionExpression" in check else []
            actions.append(self._random.choice([put, update, delete, *checks]))
        return "transact_write_items", {"TransactItems": actions}

    def _read(self, expression: str, names: dict[str, str], values: dict[str, Any], **options: Any) -> dict[str, Any]:
        if self._random.random() < 0.5:
            options["Limit"] = self._random.randint(1, 3)
        return {
            "TableName": TABLE,
            "KeyConditionExpression": expression,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": self._random.random() < 0.5,
            **options,
        }

    def _query(self) -> tuple[str, dict[str, Any]]:
        starts = self._random.random() < 0.5
        condition = "#pk = :pk AND begins_with(sk, :sk)" if starts else "#pk = :pk"
        values = {":pk": "ORDER#1"} | ({":sk": "CARD"} if starts else {})
        return "query", self._read(condition, {"#pk": "pk"}, values)

    def _index(self) -> tuple[str, dict[str, Any]]:
        values = {":key": self._text()}
        return "query", self._read("#key = :key", {"#key": "openStatus"}, values, IndexName="open-orders")

    def _scan(self) -> tuple[str, dict[str, Any]]:
        values: dict[str, Any] = {}
        names: dict[str, str] = {}
        condition = {"FilterExpression": self._condition(values, names)}
        return "scan", {"TableName": TABLE, **condition, **_given(condition, names, values)}


@pytest.mark.parametrize("seed", SEEDS)
def test_random_calls_give_what_moto_gives(moto: Any, memory: MemoryClient, tables: MemoryTables, seed: int) -> None:
    calls, held = Calls(seed), 0

    for _ in range(CALLS):
        operation, arguments = calls.next()
        before = tables.rows
        answer = outcome(moto, operation, arguments)
        mine = outcome(memory, operation, arguments)
        if operation == "scan":  # the order of a scan is DynamoDB's own
            for given in (answer, mine):
                given["Items"].sort(key=lambda row: (row["pk"], row["sk"]))
        assert mine == answer, (operation, arguments, before)
        held += isinstance(answer, dict)
        stored = sorted(moto.scan(TableName=TABLE)["Items"], key=lambda row: (row["pk"], row["sk"]))
        assert tables.all_rows(TABLE) == stored, (operation, arguments, before)

    assert CALLS / 4 < held < CALLS, "conditions should hold about as often as not"


# ------------------------------------------------------------------- single cases


def test_reading_page_by_page_gives_everything_once(moto: Any, memory: MemoryClient, tables: MemoryTables) -> None:
    for index in range(5):
        item = {"pk": "ORDER#1", "sk": f"CARD#{index}", "openStatus": "HELD", "claimedAt": str(index % 2)}
        same_outcome(moto, memory, "put_item", TableName=TABLE, Item=item)
    tables._items_per_page = 1
    options = {
        "TableName": TABLE,
        "ExpressionAttributeValues": {":pk": "ORDER#1"},
        "KeyConditionExpression": "pk = :pk",
    }
    by_index = {
        "TableName": TABLE,
        "IndexName": "open-orders",
        "KeyConditionExpression": "openStatus = :held",
        "ExpressionAttributeValues": {":held": "HELD"},
    }

    for arguments in (options, options | {"ScanIndexForward": False}, by_index):
        pages = list(memory.get_paginator("query").paginate(**arguments))
        found = [item["sk"] for page in pages for item in page["Items"]]
        assert len(pages) >= 5
        expected = [item["sk"] for item in moto.query(**arguments)["Items"]]
        if "IndexName" in arguments:  # DynamoDB promises no order of items with the same sort key
            assert (len(found), sorted(found)) == (5, sorted(expected))
        else:
            assert found == expected


@pytest.mark.parametrize(
    "arguments",
    [
        {"UpdateExpression": "SET a = b"},
        {"UpdateExpression": "SET a = :v", "ExpressionAttributeValues": {":v": 1, ":w": 2}},
        {"UpdateExpression": "SET a = :v", "ExpressionAttributeValues": {}},
        {"UpdateExpression": "REMOVE a", "ExpressionAttributeNames": {"#unused": "b"}},
    ],
)
def test_what_dynamodb_refuses_is_refused(moto: Any, memory: MemoryClient, arguments: dict[str, Any]) -> None:
    call = {"TableName": TABLE, "Key": {"pk": "ORDER#1", "sk": "ORDER"}, **arguments}

    assert outcome(moto, "update_item", call)[1] == "ValidationException"
    assert outcome(memory, "update_item", call)[1] == "ValidationException"


def test_error_of_a_failed_condition_carries_the_row_where_it_is_asked_for(moto: Any, memory: MemoryClient) -> None:
    item = {"pk": "ORDER#1", "sk": "ORDER", "count": 3, "tags": {"x"}}
    same_outcome(moto, memory, "put_item", TableName=TABLE, Item=item)

    refused = same_outcome(
        moto,
        memory,
        "update_item",
        TableName=TABLE,
        Key={"pk": "ORDER#1", "sk": "ORDER"},
        UpdateExpression="REMOVE tags",
        ConditionExpression="attribute_not_exists(pk)",
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )

    assert refused[3] == item


def test_repeat_of_a_transaction_with_its_token_changes_nothing_and_succeeds(memory: MemoryClient) -> None:
    """As AWS documents it; moto does not know the token."""
    put = {
        "Put": {"TableName": TABLE, "Item": {"pk": "1", "sk": "1"}, "ConditionExpression": "attribute_not_exists(pk)"}
    }

    for _ in range(2):
        memory.transact_write_items(TransactItems=[put], ClientRequestToken="one")
    with pytest.raises(memory.exceptions.TransactionCanceledException):
        memory.transact_write_items(TransactItems=[put], ClientRequestToken="two")


def test_earlier_state_returns_by_one_assignment(memory: MemoryClient, tables: MemoryTables) -> None:
    memory.put_item(TableName=TABLE, Item={"pk": "1", "sk": "1"})
    before = tables.rows
    memory.put_item(TableName=TABLE, Item={"pk": "1", "sk": "1", "a": 1})
    assert (tables.rows != before, hash(tables.rows) != hash(before)) == (True, True)

    tables.rows = before

    assert tables.all_rows(TABLE) == [{"pk": "1", "sk": "1"}]


def test_float_is_refused_as_boto3_refuses_it() -> None:
    with pytest.raises(TypeError):
        freeze({"a": 1.5})


def test_condition_is_split_at_its_own_conjunctions_only() -> None:
    assert conjuncts("a = :a AND (b = :b OR c = :c AND d = :d) AND attribute_exists(e)") == [
        "a = :a",
        "(b = :b OR c = :c AND d = :d)",
        "attribute_exists(e)",
    ]
