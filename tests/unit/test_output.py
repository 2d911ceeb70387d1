"""Ids and cards are printed literally, whatever they contain."""

from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import Order
from giftcards_cli import output

ODD = ["[/]", "[bold]u", ":100:", "[red]x[/red]"]


@pytest.mark.parametrize("odd", ODD)
def test_ids_are_printed_literally(odd: str, monkeypatch: pytest.MonkeyPatch):
    screen = StringIO()
    monkeypatch.setattr(output, "console", Console(file=screen, width=200, emoji=False))
    order = Order(
        order_id=odd,
        user_id=odd,
        status=OrderStatus.HELD,
        claimed_at=datetime(2026, 3, 14, tzinfo=UTC),
        execution_arn="arn",
        held_message=odd,
    )

    output.console.print(output.orders_table([order]))
    link = {"linkId": odd, "channel": odd, "state": "READY", "uses": 0, "maxUses": 1, "expiresAt": odd}
    output.show_order(order, odd, [link], None)

    assert screen.getvalue().count(odd) >= 7


@pytest.mark.parametrize("value", ["AAAA:100:BBBB", "[/]", "x" * 500, "ключ"])
def test_card_is_printed_whole_and_literally(value: str, capsys: pytest.CaptureFixture[str]):
    output.print_cards([{"index": 1, "value": value, "serial": "s"}])

    assert capsys.readouterr().out.splitlines()[1].split() == ["1", value, "s"]


def test_card_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]):
    output.print_cards([{"index": 1, "value": "\x1b[2Jboo", "serial": "s"}])

    assert "\x1b" not in capsys.readouterr().out
