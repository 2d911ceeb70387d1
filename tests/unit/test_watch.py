"""`giftcards watch`: what is told of each change, what is left out, and how it ends."""

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
from giftcards_cli import output, watch
from giftcards_cli.watch import SHOW_ENDED, OpenOrders, View
from support.cloud import Cloud, client_error
from support.command_line import Giftcards
from support.examples import NOW, ORDER_ID, USER_ID
from support.secrets import MARK

SECOND = timedelta(seconds=1)
GATE = Block(FailureKind.RATE_LIMITED, "The supplier answered 429.", NOW, "v1", NOW + 30 * SECOND)


def close(cloud: Cloud, order_id: str = ORDER_ID, *, announced: bool = True) -> None:
    """Change the row as DeliverCards changes it."""
    row = rows.closed(cloud.order_row(order_id), cards=2, closed_at=NOW - 48 * SECOND, checks=4)
    cloud.put(cloud.card_table, rows.published(row) if announced else row)


# ---------------------------------------------------------------- look by look


@pytest.fixture
def orders(cloud: Cloud) -> OpenOrders:
    return OpenOrders(OrderTable(cloud.card_table, aws.dynamodb()), lambda _: None)


def ids(orders: Any) -> list[str]:
    return [order.order_id for order in orders]


def test_what_has_not_changed_is_open_and_no_change(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    first, second = orders.look(NOW), orders.look(NOW + SECOND)

    assert (ids(first.open), ids(first.changed)) == ([ORDER_ID], [ORDER_ID])
    assert (ids(second.open), ids(second.changed)) == ([ORDER_ID], [])


def test_an_order_that_has_ended_is_seen_with_its_end_for_a_moment_and_then_goes(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    orders.look(NOW)
    close(cloud)

    ended = orders.look(NOW + SECOND)
    still = orders.look(NOW + SHOW_ENDED)
    gone = orders.look(NOW + SECOND + SHOW_ENDED)

    assert (ids(ended.open), ids(ended.ended), ids(ended.changed)) == ([], [ORDER_ID], [ORDER_ID])
    assert ended.changed[0].status == "FULFILLED"
    assert (ids(still.ended), ids(still.changed)) == ([ORDER_ID], [])
    assert (gone.rows, gone.changed) == ([], ())


def test_an_order_that_is_closed_and_not_announced_is_still_open(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    orders.look(NOW)
    close(cloud, announced=False)

    assert ids(orders.look(NOW + SECOND).open) == [ORDER_ID]


def test_an_index_that_is_a_moment_behind_brings_no_order_back(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    stale = cloud.order_row()
    orders.look(NOW)
    close(cloud)
    orders.look(NOW + SECOND)
    cloud.at_next("Query", {"Items": [stale]})

    view = orders.look(NOW + 2 * SECOND)

    assert (ids(view.open), ids(view.ended), ids(view.changed)) == ([], [ORDER_ID], [])


def test_an_order_that_moves_between_the_two_queries_has_not_ended(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    cloud.hold()
    orders.look(NOW)
    held = cloud.order_row()

    def resume() -> None:  # after the query for those in hand
        if len(cloud.sent("Query")) % 2 == 0:
            row = held | {"status": "HANDLING", "openStatus": "HANDLING"}
            cloud.put(cloud.card_table, {key: row[key] for key in row if not key.startswith("held")})

    cloud.forget()
    cloud.at_next("Query", resume, times=2)
    view = orders.look(NOW + SECOND)

    assert (ids(view.open), ids(view.ended)) == ([ORDER_ID], [])
    assert view.open[0].status == "HANDLING"


def test_a_look_costs_two_queries_and_reads_what_is_gone_once(cloud: Cloud, orders: OpenOrders):
    for number in range(3):
        cloud.claim(f"order-{number}")
    orders.look(NOW)
    close(cloud, "order-1")
    cloud.forget()

    for later in range(1, 4):
        orders.look(NOW + later * SECOND)

    assert [operation for operation, _ in cloud.calls] == ["Query", "Query", "BatchGetItem", *["Query"] * 4]
    assert {params["IndexName"] for params in cloud.sent("Query")} == {"open-orders"}


def test_a_look_that_fails_forgets_nothing(cloud: Cloud, orders: OpenOrders):
    cloud.claim()
    orders.look(NOW)
    close(cloud)
    cloud.at_next("BatchGetItem", client_error("BatchGetItem"))
    with pytest.raises(Exception, match="BatchGetItem"):
        orders.look(NOW + SECOND)

    assert ids(orders.look(NOW + SECOND).ended) == [ORDER_ID]


def test_what_needs_a_person_comes_first_and_then_the_oldest(cloud: Cloud, orders: OpenOrders):
    for minutes, order_id in enumerate(["young", "older", "oldest", "held", "bad"]):
        cloud.claim(order_id, claimed_at=NOW - timedelta(minutes=minutes))
    cloud.hold("held")
    cloud.put(cloud.card_table, cloud.order_row("bad") | {"quantity": MARK})

    assert ids(orders.look(NOW).rows) == ["bad", "held", "oldest", "older", "young"]


# ------------------------------------------------------------------ the command


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Have something happen in each pause; after the last of them, somebody presses Ctrl-C."""

    monkeypatch.setattr(watch, "end_on_signals", nothing)  # the signals are the test runner's

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
    """Let a moment pass."""


def test_each_change_is_a_line_in_a_pipe(cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]):
    cloud.claim(placedAt=timestamp(NOW - 60 * SECOND))
    pauses = meanwhile(nothing, cloud.hold, lambda: close(cloud))

    said = giftcards("watch", "--interval", "5")

    assert (said.code, said.err) == (0, "")
    lines = [re.split(" {2,}", line) for line in said.out.splitlines()]
    assert [line[1:4] for line in lines] == [
        [ORDER_ID, USER_ID, status] for status in ("HANDLING", "HELD", "FULFILLED")
    ]
    assert lines[0][5] == "its next check"
    assert lines[1][5].startswith("DEADLINE_PASSED for ")
    assert lines[2][4:] == ["12s", "2 of 2 cards, checked 4×"]
    assert pauses == [5.0] * 4


def test_each_change_is_a_json_document_a_line(
    cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]
):
    cloud.claim()
    meanwhile(cloud.hold, lambda: close(cloud))

    said = giftcards("watch", "--json")

    told = [json.loads(line) for line in said.out.splitlines()]
    assert [(order["orderId"], order["status"], order["isOpen"]) for order in told] == [
        (ORDER_ID, "HANDLING", True),
        (ORDER_ID, "HELD", True),
        (ORDER_ID, "FULFILLED", False),
    ]
    assert told[1]["heldReason"] == "DEADLINE_PASSED"
    assert told[2]["checks"] == 4
    assert all(order["at"].endswith("Z") for order in told)


def test_a_row_that_cannot_be_read_is_told_once_by_its_fields(
    cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]
):
    cloud.claim(quantity=MARK)
    cloud.claim("good")
    meanwhile(nothing, nothing)

    said = giftcards("watch")

    assert sorted(line.split("  ")[1:] for line in said.out.splitlines())[0] == [
        ORDER_ID,
        "its row cannot be read: quantity",
    ]
    assert len(said.out.splitlines()) == 2
    assert MARK not in said.out


def test_a_look_that_fails_is_one_line_and_the_next_one_goes_on(
    cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]
):
    cloud.claim()
    throttled = client_error("Query", "ThrottlingException")

    def fail() -> None:
        cloud.at_next("Query", throttled, times=3)

    meanwhile(fail, nothing, nothing, lambda: close(cloud))
    said = giftcards("watch")

    assert said.code == 0
    lines = said.err.splitlines()
    assert lines == ["giftcards: AWS refused Query: ThrottlingException", "giftcards: the orders can be read again"]
    assert [re.split(" {2,}", line)[3] for line in said.out.splitlines()] == ["HANDLING", "FULFILLED"]


def test_it_ends_when_nothing_is_open_in_two_looks_in_a_row(
    cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]
):
    pauses = meanwhile(cloud.claim, lambda: close(cloud), nothing, nothing, nothing)

    said = giftcards("watch", "--until-empty")

    assert (said.code, len(said.out.splitlines())) == (0, 2)
    assert pauses == [2.0] * 3


def test_it_waits_for_held_orders_too(cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]):
    cloud.claim()
    cloud.hold()
    pauses = meanwhile(nothing, nothing, nothing)

    giftcards("watch", "--until-empty")

    assert len(pauses) == 4


def test_a_closed_gate_is_told_once_and_when_it_opens(
    cloud: Cloud,
    giftcards: Giftcards,
    meanwhile: Callable[..., list[float]],
    monkeypatch: pytest.MonkeyPatch,
):
    cloud.claim()
    closings = iter([None, GATE, GATE, None])
    monkeypatch.setattr("giftcards_cli.stack.Stack.block", lambda *_: next(closings))
    meanwhile(nothing, nothing, nothing)

    said = giftcards("watch")

    gate = [line.partition("  ")[2] for line in said.out.splitlines() if "gate" in line]
    assert gate == [
        "supplier gate closed, RATE_LIMITED: The supplier answered 429. (until 2026-03-14 09:27:23 UTC)",
        "supplier gate open",
    ]


def test_the_api_key_is_asked_for_only_after_a_key_was_refused(
    cloud: Cloud, giftcards: Giftcards, meanwhile: Callable[..., list[float]]
):
    version = cloud.set_api_key()
    meanwhile(nothing)
    giftcards("watch")
    assert cloud.sent("DescribeSecret") == []

    row = {"pk": "SUPPLIER#oneclickdz", "sk": "GATE", "refusedReason": "KEY_REFUSED", "refusedMessage": "Refused."}
    cloud.put(cloud.gate_table, row | {"refusedAt": timestamp(NOW), "refusedKeyVersion": version})
    meanwhile(nothing)
    assert "supplier gate closed, KEY_REFUSED: Refused." in giftcards("watch").out


@pytest.mark.parametrize("interval", ["0", "-1", "soon"])
def test_an_interval_that_makes_no_sense_is_refused(giftcards: Giftcards, interval: str):
    said = giftcards("watch", "--interval", interval)

    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1


# ------------------------------------------------------------------- the screen


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], Console]:
    """Give a terminal of a size."""

    def of(width: int, height: int) -> Console:
        screen = Console(file=_Terminal(), width=width, height=height, force_terminal=True, _environ={})
        monkeypatch.setattr(output, "console", screen)
        return screen

    return of


def drawn(screen: Console, view: View, *, failure: str = "") -> list[str]:
    with screen.capture() as captured:
        screen.print(watch._Screen("giftcards", None)._laid_out(view, failure))  # type: ignore[arg-type]
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize(("width", "height"), [(100, 30), (70, 20), (40, 8)])
def test_the_screen_is_never_overfull(
    cloud: Cloud, orders: OpenOrders, terminal: Callable[[int, int], Console], width: int, height: int
):
    for number in range(40):
        cloud.claim(f"{number:024x}", f"user-with-a-long-name-{number}")
    cloud.hold(f"{7:024x}", "SUPPLIER_CONTRACT_BROKEN")
    screen = terminal(width, height)

    lines = drawn(screen, orders.look(NOW), failure="AWS refused Query: ThrottlingException " * 4)

    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert "39 waiting" in lines[0]
    shown = sum(bool(re.match("0{5}", line)) for line in lines)
    assert lines[-1].strip() == f"{40 - shown} more"
    assert shown == height - 4
    assert "HELD" in lines[3]


def test_a_narrow_screen_keeps_the_reason_and_leaves_the_user_out(
    cloud: Cloud, orders: OpenOrders, terminal: Callable[[int, int], Console]
):
    cloud.claim("6" * 24, "somebody")
    cloud.hold("6" * 24, "SUPPLIER_CONTRACT_BROKEN")

    view = orders.look(NOW)
    narrow, wide = drawn(terminal(70, 20), view), drawn(terminal(100, 30), view)

    assert "6" * 24 + "  HELD" in narrow[2]
    assert "SUPPLIER_CONTRACT_BROKEN" in narrow[2]
    assert "somebody" not in narrow[2]
    assert wide[1].split() == ["ORDER", "USER", "STATUS", "AGE", "CHECKS", "WAITS", "FOR"]
    assert "somebody" in wide[2]


@pytest.mark.parametrize("odd", ["[/]", "[bold]u", ":100:"])
def test_ids_are_shown_as_they_are(cloud: Cloud, orders: OpenOrders, terminal: Callable[[int, int], Console], odd: str):
    cloud.claim(odd, odd)
    cloud.claim(f"{odd}2", quantity=MARK)
    screen = terminal(100, 30)
    screen._emoji = False

    assert "".join(drawn(screen, orders.look(NOW))).count(odd) == 3


def test_a_terminal_gets_the_screen_and_it_is_left_as_it_was(
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
