"""Rows that the previous release wrote, with a row for each card: tests/previous_release/write_rows.py."""

import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from boto3.dynamodb.types import TypeDeserializer
from moto.core import DEFAULT_ACCOUNT_ID
from moto.kms.models import kms_backends

from support.cloud import Cloud
from support.examples import REGION, ROOT

Row = dict[str, Any]


@cache
def _written() -> dict[str, Any]:
    written: dict[str, Any] = json.loads((ROOT / "tests/previous_release/rows.json").read_text(encoding="utf-8"))
    return written


def rows_of(order_id: str) -> list[Row]:
    """Return the order's rows, the order row last."""
    return [_plain(row) for row in _written()["orders"][order_id]]


def cards_of(order_id: str, count: int) -> list[dict[str, Any]]:
    """Return the cards that these rows were written with."""
    serials = [f"{order_id}-serial-{index}" if index % 2 else None for index in range(1, count + 1)]
    return [{"value": f"{order_id}-value-{index}-é", "serial": serial} for index, serial in enumerate(serials, start=1)]


def put_rows(cloud: Cloud, order_id: str, table: str | None = None) -> list[Row]:
    """Put the order's rows into the card table, or another table."""
    rows = rows_of(order_id)
    for row in rows:
        cloud.put(cloud.card_table if table is None else table, row)
    return rows


def piece_on_its_way(cloud: Cloud) -> list[dict[str, Any]]:
    """Return the last transaction of the order ``unfinished``, which its function has not sent yet."""
    typed = {"Item", "Key", "ExpressionAttributeValues"}
    return [
        {kind: {name: _plain(part) if name in typed else part for name, part in action.items()} | table}
        for item in _written()["pieceOnItsWay"]
        for kind, action in item.items()
        for table in [{"TableName": cloud.card_table}]
    ]


def use_key(cloud: Cloud) -> None:
    """Make the cloud's key of cards the one that encrypted the rows."""
    keys = kms_backends[DEFAULT_ACCOUNT_ID][REGION].keys
    key = keys[cloud.key_arn.rpartition("/")[2]]
    kept = _written()["key"]
    key.arn = key.arn.replace(key.id, kept["id"])
    key.id, key.key_material = kept["id"], base64.b64decode(kept["material"])
    keys[key.id] = key
    cloud.key_arn = key.arn


def _plain(values: Mapping[str, Any]) -> Row:
    return {name: TypeDeserializer().deserialize(_decoded(value)) for name, value in values.items()}


def _decoded(value: dict[str, Any]) -> dict[str, Any]:
    return {"B": base64.b64decode(value["B"])} if "B" in value else value
