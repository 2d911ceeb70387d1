"""`giftcards reveal` shows all cards of an order, however many answers they take."""

import json
from typing import Any

import pytest

from giftcards_cli.stack import Stack
from support.command_line import Giftcards
from support.examples import ORDER_ID, USER_ID

COMMAND = ("reveal", ORDER_ID, "--user", USER_ID, "--reason", "ticket 5")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Answer with two cards of five at a time; returns the requests."""
    requests: list[dict[str, Any]] = []

    def invoke(_stack: Stack, function: str, payload: dict[str, Any]) -> dict[str, Any]:
        assert function == "RevealCards"
        requests.append(payload)
        first = payload["fromIndex"]
        indexes = range(first, min(first + 2, 6))
        cards = [{"index": index, "value": f"value-{index}", "serial": None} for index in indexes]
        return {"outcome": "REVEALED", "message": "", "cards": cards, "nextIndex": first + 2 if first < 5 else None}

    monkeypatch.setattr(Stack, "invoke", invoke)
    monkeypatch.setattr(Stack, "caller", lambda _: "arn:aws:iam::123456789012:user/olga")
    return requests


def test_cards_of_several_answers_are_shown_together(giftcards: Giftcards, asked: list[dict[str, Any]]):
    shown = json.loads(giftcards(*COMMAND, "--json").out)

    assert [card["value"] for card in shown["cards"]] == [f"value-{index}" for index in range(1, 6)]
    assert [request.pop("fromIndex") for request in asked] == [1, 3, 5]
    assert all(request == asked[0] for request in asked)
    assert (asked[0]["reason"], asked[0]["userId"]) == ("ticket 5", USER_ID)


def test_no_card_is_shown_if_a_later_answer_fails(
    giftcards: Giftcards, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    first = Stack.invoke

    def invoke(stack: Stack, function: str, payload: dict[str, Any]) -> dict[str, Any]:
        refused = {"outcome": "KEY_UNAVAILABLE", "message": "Try again.", "cards": [], "nextIndex": None}
        return refused if asked else first(stack, function, payload)

    monkeypatch.setattr(Stack, "invoke", invoke)

    result = giftcards(*COMMAND)

    assert (result.code, result.out) == (1, "")
    assert "Try again." in result.err


def test_answer_of_the_previous_release_is_complete(giftcards: Giftcards, monkeypatch: pytest.MonkeyPatch):
    cards = [{"index": 1, "value": "value-1", "serial": "serial-1"}]
    monkeypatch.setattr(Stack, "invoke", lambda *_: {"outcome": "REVEALED", "message": "", "cards": cards})
    monkeypatch.setattr(Stack, "caller", lambda _: "somebody")

    assert json.loads(giftcards(*COMMAND, "--json").out)["cards"] == cards
