"""`giftcards watch`: which changes are printed, in which form, and when it ends."""

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

import rows
from giftcards.adapters import aws
from giftcards.adapters.order_table import OrderTable
from giftcards.adapters.timestamps import timestamp
from giftcards.rules.gate import Block
from giftcards.rules.supplier_failure import FailureKind
from giftcards_cli import output
from giftcards_cli.commands import watch
from giftcards_cli.commands.watch import SHOW_ENDED, OpenOrders, View
from support.cloud import Cloud, client_error
from support.command_line import Giftcards
from support.examples import NOW, ORDER_ID, USER_ID
from support.secrets import MARK

SECOND = timedelta(seconds=1)
GATE = Block(FailureKind.RATE_LIMITED, "The supplier answered 429.", NOW, "v1", NOW + 30 * SECOND)


def close(cloud: Cloud, order_id: str = ORDER_ID, *, published: bool = True) -> None:
    """Change the row as DeliverCards does."""
    row = rows.closed(cloud.order_row(order_id), cards=2, closed_at=NOW - 48 * SECOND, checks=4)
    cloud.put(cloud.card_table, rows.published(row) if published else row)


# ---------------------------------------------------------------- polls


@pytest.fixture
def orders(cloud: Cloud) -> OpenOrders:
    return OpenOrders(OrderTable(cloud.card_table, aws.dynamodb()), lambda _: None)


def ids(orders: Any) -> list[str]:
    return [order.order_id for order in orders]


def test_unchanged_order_is_open_but_not_a_change(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    first, second = orders.poll(NOW), orders.poll(NOW + SECOND)

    assert (ids(first.open), ids(first.changed)) == ([ORDER_ID], [ORDER_ID])
    assert (ids(second.open), ids(second.changed)) == ([ORDER_ID], [])


def test_ended_order_is_shown_for_some_seconds(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    orders.poll(NOW)
    close(cloud)

    ended = orders.poll(NOW + SECOND)
    still = orders.poll(NOW + SHOW_ENDED)
    gone = orders.poll(NOW + SECOND + SHOW_ENDED)

    assert (ids(ended.open), ids(ended.ended), ids(ended.changed)) == ([], [ORDER_ID], [ORDER_ID])
    assert ended.changed[0].status == "FULFILLED"
    assert (ids(still.ended), ids(still.changed)) == ([ORDER_ID], [])
    assert (gone.rows, gone.changed) == ([], ())


def test_closed_order_without_its_event_is_still_open(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    orders.poll(NOW)
    close(cloud, published=False)

    assert ids(orders.poll(NOW + SECOND).open) == [ORDER_ID]


def test_stale_index_does_not_reopen_an_order(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    stale = cloud.order_row()
    orders.poll(NOW)
    close(cloud)
    orders.poll(NOW + SECOND)
    cloud.at_next("Query", {"Items": [stale]})

    view = orders.poll(NOW + 2 * SECOND)

    assert (ids(view.open), ids(view.ended), ids(view.changed)) == ([], [ORDER_ID], [])


def test_order_resumed_between_the_queries_has_not_ended(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    cloud.hold()
    orders.poll(NOW)
    held = cloud.order_row()

    def resume() -> None:  # after the query for orders in progress
        if len(cloud.sent("Query")) % 2 == 0:
            row = held | {"status": "HANDLING", "openStatus": "HANDLING"}
            cloud.put(cloud.card_table, {key: row[key] for key in row if not key.startswith("held")})

    cloud.forget()
    cloud.at_next("Query", resume, times=2)
    view = orders.poll(NOW + SECOND)

    assert (ids(view.open), ids(view.ended)) == ([ORDER_ID], [])
    assert view.open[0].status == "HANDLING"


def test_poll_makes_two_queries_and_reads_ended_orders_once(cloud: Cloud, orders: OpenOrders):
    for number in range(3):
        cloud.claim(f"order-{number}")
    orders.poll(NOW)
    close(cloud, "order-1")
    cloud.forget()

    for later in range(1, 4):
        orders.poll(NOW + later * SECOND)

    assert [operation for operation, _ in cloud.calls] == ["Query", "Query", "BatchGetItem", *["Query"] * 4]
    assert {params["IndexName"] for params in cloud.sent("Query")} == {"open-orders"}


def test_failed_poll_loses_no_change(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    orders.poll(NOW)
    close(cloud)
    cloud.at_next("BatchGetItem", client_error("BatchGetItem"))
    with pytest.raises(Exception, match="BatchGetItem"):
        orders.poll(NOW + SECOND)

    assert ids(orders.poll(NOW + SECOND).ended) == [ORDER_ID]


def test_orders_that_need_a_person_come_first(cloud: Cloud, orders: OpenOrders):
    for minutes, order_id in enumerate(["young", "older", "oldest", "held", "bad"]):
        cloud.claim(order_id, claimed_at=NOW - timedelta(minutes=minutes))
    cloud.hold("held")
    cloud.put(cloud.card_table, cloud.order_row("bad") | {"quantity": MARK})

    assert ids(orders.poll(NOW).rows) == ["bad", "held", "oldest", "older", "young"]


# ------------------------------------------------------------------ the command


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Run one scene in each pause between polls; after the last, press Ctrl-C."""
    monkeypatch.setattr(watch, "end_on_signals", nothing)  # do not replace the test runner's signal handlers

    def play(*scenes: Callable[[], None]) -> list[float]:
        pauses: list[float] = []
        left: Iterator[Callable[[], None]] = iter(scenes)

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            try:
                next(left)()
            except StopIteration:
                raise KeyboardInterrupt from None

        monkeypatch.setattr(watch, "_pause", pause)
        return pauses

    return play


def nothing() -> None:
    """Let time pass."""


def test_each_change_is_one_line_in_a_pipe(cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]):
    cloud.claim(placedAt=timestamp(NOW - 60 * SECOND))
    pauses = meanwhile(nothing, cloud.hold, lambda: close(cloud))

    result = giftcards("watch", "--interval", "5")

    assert (result.code, result.err) == (0, "")
    lines = [re.split(" {2,}", line) for line in result.out.splitlines()]
    assert [line[1:4] for line in lines] == [
        [ORDER_ID, USER_ID, status] for status in ("HANDLING", "HELD", "FULFILLED")
    ]
    assert lines[0][5] == "the next check"
    assert lines[1][5].startswith("DEADLINE_PASSED for ")
    assert lines[2][4:] == ["12s", "2 of 2 cards, checked 4×"]
    assert pauses == [5.0] * 4


def test_each_change_is_one_json_document_per_line(
    cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]
):
    cloud.claim()
    meanwhile(cloud.hold, lambda: close(cloud))

    result = giftcards("watch", "--json")

    changes = [json.loads(line) for line in result.out.splitlines()]
    assert [(order["orderId"], order["status"], order["isOpen"]) for order in changes] == [
        (ORDER_ID, "HANDLING", True),
        (ORDER_ID, "HELD", True),
        (ORDER_ID, "FULFILLED", False),
    ]
    assert changes[1]["heldReason"] == "DEADLINE_PASSED"
    assert changes[2]["checks"] == 4
    assert all(order["at"].endswith("Z") for order in changes)


def test_invalid_row_is_printed_once_with_its_fields(
    cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]
):
    cloud.claim(quantity=MARK)
    cloud.claim("good")
    meanwhile(nothing, nothing)

    result = giftcards("watch")

    assert sorted(line.split("  ")[1:] for line in result.out.splitlines())[0] == [
        ORDER_ID,
        "its row is invalid: quantity",
    ]
    assert len(result.out.splitlines()) == 2
    assert MARK not in result.out


def test_failed_poll_is_one_line_and_polling_continues(
    cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]
):
    cloud.claim()
    throttled = client_error("Query", "ThrottlingException")

    def fail() -> None:
        cloud.at_next("Query", throttled, times=3)

    meanwhile(fail, nothing, nothing, lambda: close(cloud))
    result = giftcards("watch")

    assert result.code == 0
    lines = result.err.splitlines()
    assert (len(lines), "ThrottlingException" in lines[0]) == (2, True)
    assert [re.split(" {2,}", line)[3] for line in result.out.splitlines()] == ["HANDLING", "FULFILLED"]


def test_until_empty_ends_after_two_empty_polls(
    cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]
):
    pauses = meanwhile(cloud.claim, lambda: close(cloud), nothing, nothing, nothing)

    result = giftcards("watch", "--until-empty")

    assert (result.code, len(result.out.splitlines())) == (0, 2)
    assert pauses == [2.0] * 3


def test_until_empty_waits_for_held_orders(cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]):
    cloud.claim()
    cloud.hold()
    pauses = meanwhile(nothing, nothing, nothing)

    giftcards("watch", "--until-empty")

    assert len(pauses) == 4


def test_blocked_gate_is_printed_once_with_its_end(
    cloud: Cloud,
    giftcards: Giftcards,
    meanwhile: Callable[..., list[float]],
    monkeypatch: pytest.MonkeyPatch,
):
    cloud.claim()
    blocks = iter([None, GATE, GATE, None])
    monkeypatch.setattr("giftcards_cli.stack.Stack.block", lambda *_: next(blocks))
    meanwhile(nothing, nothing, nothing)

    result = giftcards("watch")

    gate = [line.partition("  ")[2] for line in result.out.splitlines() if "gate" in line]
    assert gate == [
        "supplier gate blocked, RATE_LIMITED: The supplier answered 429. (until 2026-03-14 09:27:23 UTC)",
        "supplier gate unblocked",
    ]


def test_key_version_is_read_only_after_a_refused_key(
    cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]
):
    version = cloud.set_api_key()
    meanwhile(nothing)
    giftcards("watch")
    assert cloud.sent("DescribeSecret") == []

    row = {"pk": "SUPPLIER#oneclickdz", "sk": "GATE", "refusedReason": "KEY_REFUSED", "refusedMessage": "Refused."}
    cloud.put(cloud.gate_table, row | {"refusedAt": timestamp(NOW), "refusedKeyVersion": version})
    meanwhile(nothing)
    assert "KEY_REFUSED: Refused." in giftcards("watch").out


@pytest.mark.parametrize("interval", ["0", "-1", "soon"])
def test_invalid_interval_is_wrong_usage(giftcards: Giftcards, interval: str):
    result = giftcards("watch", "--interval", interval)

    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1


# ------------------------------------------------------------------- the screen


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], Console]:
    """Return a function that sets a terminal of a given size."""

    def of(width: int, height: int) -> Console:
        screen = Console(file=_Terminal(), width=width, height=height, force_terminal=True, _environ={})
        monkeypatch.setattr(output, "console", screen)
        return screen

    return of


def drawn(screen: Console, view: View, *, failure: str = "") -> list[str]:
    with screen.capture() as captured:
        screen.print(watch._Screen("giftcards", None)._layout(view, failure))  # type: ignore[arg-type]
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize(("width", "height"), [(100, 30), (70, 20), (40, 8)])
def test_output_fits_the_screen(
    cloud: Cloud, orders: OpenOrders, terminal: Callable[[int, int], Console], width: int, height: int
):
    for number in range(40):
        cloud.claim(f"{number:024x}", f"user-with-a-long-name-{number}")
    cloud.hold(f"{7:024x}", "SUPPLIER_CONTRACT_BROKEN")
    screen = terminal(width, height)

    lines = drawn(screen, orders.poll(NOW), failure="AWS refused Query: ThrottlingException " * 4)

    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert "39 waiting" in lines[0]
    shown = sum(bool(re.match("0{5}", line)) for line in lines)
    assert lines[-1].strip() == f"{40 - shown} more"
    assert shown == height - 4
    assert "HELD" in lines[3]


def test_narrow_screen_shows_the_reason_but_not_the_user(
    cloud: Cloud, orders: OpenOrders, terminal: Callable[[int, int], Console]
):
    cloud.claim("6" * 24, "a-user")
    cloud.hold("6" * 24, "SUPPLIER_CONTRACT_BROKEN")

    view = orders.poll(NOW)
    narrow, wide = drawn(terminal(70, 20), view), drawn(terminal(100, 30), view)

    assert "6" * 24 + "  HELD" in narrow[2]
    assert "SUPPLIER_CONTRACT_BROKEN" in narrow[2]
    assert "a-user" not in narrow[2]
    assert wide[1].split() == ["ORDER", "USER", "STATUS", "AGE", "CHECKS", "WAITS", "FOR"]
    assert "a-user" in wide[2]


@pytest.mark.parametrize("odd", ["[/]", "[bold]u", ":100:"])
def test_ids_are_printed_literally(cloud: Cloud, orders: OpenOrders, terminal: Callable[[int, int], Console], odd: str):
    cloud.claim(odd, odd)
    cloud.claim(f"{odd}2", quantity=MARK)
    screen = terminal(100, 30)
    screen._emoji = False

    assert "".join(drawn(screen, orders.poll(NOW))).count(odd) == 3


def test_terminal_is_restored_at_the_end(
    cloud: Cloud,
    giftcards: Giftcards,
    meanwhile: Callable[..., list[float]],
    terminal: Callable[[int, int], Console],
    monkeypatch: pytest.MonkeyPatch,
):
    cloud.claim()
    screen = terminal(100, 30)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    meanwhile(lambda: close(cloud))

    assert giftcards("watch").code == 0

    written = screen.file.getvalue()  # type: ignore[attr-defined]
    assert written.index("\x1b[?1049h") < written.index("HANDLING") < written.index("FULFILLED")
    assert written.rindex("\x1b[?1049l") > written.rindex("FULFILLED")
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
