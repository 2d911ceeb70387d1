"""`giftcards orders` and `show`: invalid rows and crashes are one line that quotes no value."""

import json
from typing import Any

import pytest

from giftcards_cli.stack import Stack
from support.cloud import Cloud
from support.command_line import Giftcards
from support.examples import ORDER_ID, USER_ID
from support.secrets import MARK, card_data, leaks


@pytest.fixture
def one_invalid(cloud: Cloud) -> None:
    """Given a valid order, and one with an invalid row."""
    cloud.claim("good")
    cloud.claim("bad", claimedAt=MARK, quantity=MARK)


@pytest.mark.usefixtures("one_invalid")
@pytest.mark.parametrize("wanted", [[], ["--status", "HANDLING"], ["--user", USER_ID]])
def test_valid_orders_are_listed_next_to_an_invalid_one(giftcards: Giftcards, wanted: list[str]):
    result = giftcards("orders", *wanted, "--json") if wanted else giftcards("orders")

    assert result.code == 1
    assert result.err.endswith(": 1 (bad: claimedAt, quantity)\n")
    assert "good" in result.out
    assert MARK not in result.out + result.err
    if wanted:
        assert [order["orderId"] for order in json.loads(result.out)] == ["good"]


def test_only_some_of_many_invalid_orders_are_named(cloud: Cloud, giftcards: Giftcards):
    for number in range(7):
        cloud.claim(f"bad-{number}", quantity=MARK)

    result = giftcards("orders")

    assert (result.code, result.out) == (1, "")
    assert result.err.count("bad-") == 5
    assert result.err.endswith("; 2 more)\n")


@pytest.mark.parametrize("command", ["show", "resume", "place"])
def test_invalid_order_is_one_line(cloud: Cloud, giftcards: Giftcards, command: str):
    cloud.claim(heldReason=MARK, status="WONDERFUL")

    result = giftcards(command, ORDER_ID, *(["--user", "alice"] if command == "place" else []))

    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert all(name in result.err for name in (ORDER_ID, "heldReason", "status"))
    assert MARK not in result.err


def test_show_prints_the_number_of_checks(cloud: Cloud, giftcards: Giftcards):
    cloud.claim(checks=17)
    cloud.hold()

    assert ["checks", "17"] in [line.split() for line in giftcards("show", ORDER_ID).out.splitlines()]
    assert json.loads(giftcards("show", ORDER_ID, "--json").out)["checks"] == 17


def test_crash_is_one_line_that_names_only_the_error_type(giftcards: Giftcards, monkeypatch: pytest.MonkeyPatch):
    def crash(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"cannot read {card_data(1)}")

    monkeypatch.setattr(Stack, "invoke", crash)
    monkeypatch.setattr(Stack, "caller", lambda _: "operator")

    result = giftcards("reveal", "order-1", "--user", "alice")

    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "RuntimeError" in result.err
    assert not leaks(result.err)
