"""What the commands say when rows cannot be read, or when they crash: one line, which quotes nothing."""

import json
from typing import Any

import pytest

from giftcards_cli.stack import Stack
from support.cloud import Cloud
from support.command_line import CommandResult, Giftcards
from support.examples import ORDER_ID, USER_ID
from support.secrets import MARK, card_data


@pytest.fixture
def one_unreadable(cloud: Cloud) -> None:
    """Given an order as it should be, and one whose row somebody has written to."""
    cloud.claim("good")
    cloud.claim("bad", claimedAt=MARK, quantity=MARK)


@pytest.mark.usefixtures("one_unreadable")
@pytest.mark.parametrize("wanted", [[], ["--status", "HANDLING"], ["--user", USER_ID]])
def test_orders_that_can_be_read_are_listed_beside_one_that_cannot(giftcards: Giftcards, wanted: list[str]):
    said = giftcards("orders", *wanted, "--json") if wanted else giftcards("orders")

    assert said.code == 1
    assert said.err == "giftcards: orders whose rows cannot be read: 1 (bad: claimedAt, quantity)\n"
    assert "good" in said.out
    assert MARK not in said.out + said.err
    if wanted:
        assert [order["orderId"] for order in json.loads(said.out)] == ["good"]


def test_a_few_of_many_orders_that_cannot_be_read_are_named(cloud: Cloud, giftcards: Giftcards):
    for number in range(7):
        cloud.claim(f"bad-{number}", quantity=MARK)

    said = giftcards("orders")

    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("giftcards: orders whose rows cannot be read: 7 (bad-")
    assert said.err.endswith("; 2 more)\n")


@pytest.mark.parametrize("command", ["show", "resume", "place"])
def test_an_order_that_cannot_be_read_is_one_line(cloud: Cloud, giftcards: Giftcards, command: str):
    cloud.claim(heldReason=MARK, status="WONDERFUL")

    said = giftcards(command, ORDER_ID, *(["--user", "alice"] if command == "place" else []))

    assert said == CommandResult(1, "", f"giftcards: order {ORDER_ID} cannot be read: heldReason, status\n")


def test_an_order_is_shown_with_how_often_it_was_checked(cloud: Cloud, giftcards: Giftcards):
    cloud.claim(checks=17)
    cloud.hold()

    assert ["checks", "17"] in [line.split() for line in giftcards("show", ORDER_ID).out.splitlines()]
    assert json.loads(giftcards("show", ORDER_ID, "--json").out)["checks"] == 17


def test_crash_is_one_line_that_names_the_error_and_quotes_nothing(
    giftcards: Giftcards, monkeypatch: pytest.MonkeyPatch
):
    def crash(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"cannot read {card_data(1)}")

    monkeypatch.setattr(Stack, "invoke", crash)
    monkeypatch.setattr(Stack, "caller", lambda _: "operator")

    said = giftcards("reveal", "order-1", "--user", "alice")

    assert said == CommandResult(
        1, "", "giftcards: unexpected RuntimeError; please report it with the command you ran\n"
    )
