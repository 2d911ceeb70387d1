"""The shortcut to moto gives what the way over HTTP gives."""

import logging
from typing import Any

import pytest
from botocore.exceptions import ClientError

import rows
from giftcards.adapters import aws
from support.cloud import Cloud

KEY = {"pk": f"ORDER#{rows.ORDER_ID}", "sk": "ORDER"}
NO_ROW = {"TableName": "CardTable", "ConditionExpression": "attribute_not_exists(pk)"}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "read": ("get_item", {"TableName": "CardTable", "Key": KEY}),
    "read nothing": ("get_item", {"TableName": "CardTable", "Key": {"pk": "1", "sk": "1"}}),
    "read in one go": ("batch_get_item", {"RequestItems": {"CardTable": {"Keys": [KEY]}}}),
    "read in a transaction": (
        "transact_get_items",
        {"TransactItems": [{"Get": {"TableName": "CardTable", "Key": KEY}}]},
    ),
    "list": ("scan", {"TableName": "CardTable"}),
    "update": (
        "update_item",
        {
            "TableName": "CardTable",
            "Key": KEY,
            "UpdateExpression": "SET checks = :one",
            "ExpressionAttributeValues": {":one": 1},
            "ReturnValues": "ALL_NEW",
        },
    ),
    "refused by its condition": (
        "put_item",
        NO_ROW | {"Item": KEY, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"},
    ),
    "refused in a transaction": (
        "transact_write_items",
        {"TransactItems": [{"Put": NO_ROW | {"Item": KEY}}, {"Put": NO_ROW | {"Item": KEY | {"pk": "1"}}}]},
    ),
    "no such table": ("get_item", {"TableName": "NoTable", "Key": KEY}),
    "no such value": ("update_item", {"TableName": "CardTable", "Key": KEY, "UpdateExpression": "SET checks = :one"}),
}


@pytest.mark.parametrize("call", CALLS)
def test_shortcut_gives_what_http_gives(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
):
    cloud.put(cloud.card_table, rows.claimed(ciphertext=b"\x00\xff", checks=3))
    operation, arguments = CALLS[call]

    def answer() -> Any:
        try:
            response = getattr(aws.dynamodb(), operation)(**arguments)
        except ClientError as error:
            response = {"class": type(error).__name__} | error.response
        assert response["ResponseMetadata"]["RequestId"]  # Step Functions reads it
        return {name: value for name, value in response.items() if name != "ResponseMetadata"}

    shortcut = answer()
    caplog.set_level(logging.DEBUG, logger="botocore")
    monkeypatch.setattr("support.quick_moto._Direct", None)

    assert answer() == shortcut
