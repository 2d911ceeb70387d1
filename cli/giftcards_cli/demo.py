"""``giftcards demo``: six orders through the whole service, on a local cloud that is there for them alone."""

import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from giftcards.contracts.events import (
    CardsDelivered,
    CardsPartiallyDelivered,
    OrderPlaced,
    OrderRefunded,
    OrderRepeated,
)
from giftcards.rules.orders import Order, OrderStatus
from giftcards_cli.output import console, status_text
from giftcards_cli.stack import Stack
from giftcards_local import PROJECT, evidence
from giftcards_local.bus_listener import BusListener
from giftcards_local.cloud import STACK
from giftcards_local.processes import wait_for
from giftcards_local.service import LocalService
from giftcards_local.supplier import SupplierControl, cards_of

PARAMETERS = {"PollSchedule": "120:2,3600:10", "DelayedAfterSeconds": "3600", "LogRetentionDays": "1"}
STALLED_AFTER_SECONDS = 120
"""Without any progress of any order. On a busy machine a function alone takes up to its timeout of 60 s."""
TICK_SECONDS = 0.25
_WORDS = {
    "ReadOrder": "announced",
    "ValidateOrder": "announced",
    "ClaimOrder": "claiming",
    "WaitBeforeCheck": "waiting",
    "CheckStatus": "asking",
    "RouteOrder": "asking",
    "DeliverCards": "delivering",
    "RouteDelivery": "delivering",
    "OrderClosed": "closed",
}


_EVENTS = {
    OrderStatus.FULFILLED: CardsDelivered.detail_type,
    OrderStatus.PARTIALLY_FILLED: CardsPartiallyDelivered.detail_type,
    OrderStatus.REFUNDED: OrderRefunded.detail_type,
}


@dataclass
class Story:
    """One order of the demo, and what is known of it so far.

    Attributes
    ----------
    title
        What happens to it.
    quantity, type_id, fulfil_after
        What is ordered, and how long the supplier takes in seconds.
    status, cards
        How it has to end.
    announcements
        How often the shop announces it, at the same moment.
    pending_checks
        How many checks find it pending; the supplier settles it then.
    """

    title: str
    quantity: int
    type_id: str
    fulfil_after: float
    status: OrderStatus
    cards: int
    announcements: int = 1
    pending_checks: int = 0
    user: str = "alice"
    order_id: str = ""
    order: Order | None = None
    state: str = "placed"
    checks: int = 0
    events: list[str] = field(default_factory=list)

    @property
    def is_closed(self) -> bool:
        """Whether it has ended, well or not."""
        return self.order is not None and (self.order.announced_at is not None or self.order.status is OrderStatus.HELD)

    @property
    def progress(self) -> tuple[object, ...]:
        """What changes while the order moves on."""
        return self.order and self.order.status, self.is_closed, self.state, self.checks

    def complaint(self) -> str | None:
        """Say in what it did not end as it should."""
        if self.order is None or self.order.status is not self.status:
            return f"is {self.order.status if self.order else 'not claimed'}, should be {self.status}"
        if self.order.fulfilled_quantity != self.cards:
            return f"has {self.order.fulfilled_quantity} cards, should have {self.cards}"
        if self.checks <= self.pending_checks:
            return f"was checked {self.checks} times, should be more than {self.pending_checks}"
        expected = [OrderRepeated.detail_type] * (self.announcements - 1) + [_EVENTS[self.status]]
        if Counter(self.events) != Counter(expected):
            return f"was announced as {self.events}, should be {expected} in any order"
        return None


def stories() -> list[Story]:
    """Return the six orders."""
    fulfilled, partial, refunded = OrderStatus.FULFILLED, OrderStatus.PARTIALLY_FILLED, OrderStatus.REFUNDED
    return [
        Story("fulfilled at once", 2, "type_001", 0, fulfilled, 2),
        Story("fulfilled later", 1, "type_001", 3600, fulfilled, 1, pending_checks=2, user="bob"),
        Story("ten cards", 10, "type_001", 1, fulfilled, 10, user="carol"),
        Story("half of it in stock", 4, "TEST_PARTIAL", 3, partial, 2, user="dave"),
        Story("out of stock", 1, "TEST_REFUND", 3, refunded, 0, user="erin"),
        Story("announced three times", 1, "type_001", 4, fulfilled, 1, announcements=3, user="frank"),
    ]


def run(keep: Path | None = None) -> bool:
    """Run the demo and return whether every order ended as it should and no card was found where it must not be.

    Parameters
    ----------
    keep
        Folder to leave everything in that the demo wrote; otherwise it is removed.
    """
    began = time.monotonic()
    (PROJECT / ".giftcards").mkdir(exist_ok=True)
    folder = keep or Path(tempfile.mkdtemp(prefix="demo-", dir=PROJECT / ".giftcards"))
    service = LocalService(folder, say=_say)
    orders, is_good = stories(), False
    try:
        service.up(fulfil_after_seconds=8, parameters=PARAMETERS)
        _say(f"Ready after {time.monotonic() - began:.0f} s")
        theatre = _Theatre(service)
        theatre.place(orders)
        theatre.watch(orders)
        theatre.collect_events(orders)
        theatre.show_table(orders[0])
        theatre.show_events()
        is_revealed_right = theatre.show_reveal(orders[0])
        found = theatre.search_cloud(orders)
        _say("Stopping everything")
        service.down()
        found += _search_files(folder, orders)
        is_good = _summary(orders, found, time.monotonic() - began, is_revealed_right=is_revealed_right)
    except KeyboardInterrupt:
        is_good = True  # as far as it went
        raise
    finally:
        service.down()
        if keep is None and is_good:  # otherwise what went wrong can be read in the logs
            shutil.rmtree(folder, ignore_errors=True)
    return is_good


def follow(
    look: Callable[[], object],
    *,
    until: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Look again and again until something holds or nothing has changed for long, and return whether it holds."""
    seen, moved_at = look(), clock()
    while not until():
        if clock() - moved_at > STALLED_AFTER_SECONDS:
            return False
        pause(TICK_SECONDS)
        now = look()
        if now != seen:
            seen, moved_at = now, clock()
    return True


class _Theatre:
    """The stage: the running service and its clients."""

    def __init__(self, service: LocalService) -> None:
        cloud = service.cloud
        self._client = cloud.client
        self._stack = Stack(STACK, cloud.session, cloud.url)
        self._supplier = SupplierControl(service.state.supplier_url)
        self._step_functions = self._client("stepfunctions")
        self._bus = BusListener(cloud.session, cloud.url, self._stack.outputs["OrderBusName"])

    def place(self, orders: list[Story]) -> None:
        """Place the orders at the supplier and announce each on the bus."""
        for story in orders:
            story.order_id = self._supplier.add_order(
                story.quantity, type_id=story.type_id, fulfil_after=story.fulfil_after
            )
        for story in orders:
            for _ in range(story.announcements):
                self._stack.bus.publish(OrderPlaced(order_id=story.order_id, user_id=story.user), source="shop")
        _say("Six orders are placed at the supplier and announced on the bus")

    def watch(self, orders: list[Story]) -> None:
        """Show how the orders move until all are closed, or none moves any more."""
        with _stage(orders) as draw:

            def look() -> tuple[object, ...]:
                for story in orders:
                    self._look_at(story)
                draw()
                return tuple(story.progress for story in orders)

            follow(look, until=lambda: all(story.is_closed for story in orders))

    def collect_events(self, orders: list[Story]) -> None:
        """Read what was announced on the bus."""
        announcements = sum(story.announcements for story in orders)
        wait_for(lambda: len(self._bus.heard()) >= announcements, within_seconds=STALLED_AFTER_SECONDS)
        for story in orders:
            story.events = [event["detail-type"] for event in self._bus.heard_of(story.order_id)]

    def show_table(self, story: Story) -> None:
        """Show the rows of one order."""
        items = self._client("dynamodb").query(
            TableName=self._stack.outputs["CardTableName"],
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"ORDER#{story.order_id}"}},
        )["Items"]
        grid = Table(box=None, pad_edge=False, header_style="bold")
        grid.add_column("ROW", min_width=9)
        grid.add_column("WHAT THE TABLE HOLDS", overflow="fold")
        for item in items:
            if "ciphertext" in item:
                ciphertext = item["ciphertext"]["B"]
                text = f"{len(ciphertext)} bytes of ciphertext, ends in {ciphertext[-16:].hex()}"
            else:
                names = ("status", "userId", "quantity", "fulfilledQuantity", "deliveredAt")
                text = " ".join(f"{name}={next(iter(item[name].values()))}" for name in names)
            grid.add_row(item["sk"]["S"], text)
        _section(f"Order {story.order_id} in the table", grid)

    def show_events(self) -> None:
        """Show what was announced."""
        grid = Table(box=None, pad_edge=False, header_style="bold")
        grid.add_column("ORDER", min_width=8)
        grid.add_column("EVENT", min_width=23)
        grid.add_column("DETAIL", overflow="fold")
        for event in self._bus.heard():
            detail = event["detail"]
            counts = ("quantity", "fulfilledQuantity", "refundedQuantity")
            text = " ".join(f"{name}={detail[name]}" for name in counts if name in detail)
            grid.add_row(detail["orderId"][:8], event["detail-type"], text)
        _section("What was announced on the bus", grid)

    def show_reveal(self, story: Story) -> bool:
        """Show the cards of one order to its user, and to another; return whether each got what is theirs."""
        right = True
        grid = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("WHO ASKS", "VALUE", "SERIAL"):
            grid.add_column(column)
        for user in (story.user, "mallory"):
            request = {"orderId": story.order_id, "userId": user, "requestedBy": "demo", "reason": "demo"}
            answer = self._stack.invoke("RevealCards", request)
            due = cards_of(story.order_id, story.cards) if user == story.user else []
            right &= [{"value": card["value"], "serial": card["serial"]} for card in answer["cards"]] == due
            for card in answer["cards"]:
                grid.add_row(user, card["value"], card["serial"])
            if not answer["cards"]:
                grid.add_row(user, f"[red]refused:[/] {answer['message']}", "")
        _section(f"Order {story.order_id} revealed", grid)
        return right

    def search_cloud(self, orders: list[Story]) -> list[evidence.Leak]:
        """Search what the run left in the cloud for the cards of all orders."""
        outputs = self._stack.outputs
        slots = chain(
            evidence.function_logs(self._client("logs")),
            evidence.workflow_history(self._step_functions, outputs["StateMachineArn"]),
            (("bus", json.dumps(event).encode()) for event in self._bus.heard()),
            evidence.table(self._client("dynamodb"), outputs["CardTableName"]),
        )
        searched, leaks = evidence.search(slots, _secrets(orders))
        _report_search("logs, workflow history, bus events and table", searched, leaks)
        return leaks

    def _look_at(self, story: Story) -> None:
        story.order = self._stack.orders.get(story.order_id)
        if story.order is None or story.order.execution_arn is None:
            return
        history = self._step_functions.get_execution_history(executionArn=story.order.execution_arn, maxResults=1000)[
            "events"
        ]
        entered = [e["stateEnteredEventDetails"]["name"] for e in history if "stateEnteredEventDetails" in e]
        story.checks = entered.count("CheckStatus")
        answered = [e for e in history if e.get("stateExitedEventDetails", {}).get("name") == "CheckStatus"]
        if 0 < story.pending_checks <= len(answered):  # a check under way could still see the order settle
            self._supplier.change_order(story.order_id, fulfil_after=0)
        story.state = _WORDS.get(entered[-1], entered[-1]) if entered else story.state


def _secrets(orders: list[Story]) -> list[str]:
    return [secret for story in orders for card in cards_of(story.order_id, story.quantity) for secret in card.values()]


def _search_files(folder: Path, orders: list[Story]) -> list[evidence.Leak]:
    searched, leaks = evidence.search(evidence.files(folder), _secrets(orders))
    _report_search("the demo's own files", searched, leaks)
    return leaks


def _report_search(where: str, searched: int, leaks: list[evidence.Leak]) -> None:
    result = "[green]none[/]" if not leaks else f"[bold red]in {sorted({leak.place for leak in leaks})}[/]"
    console.print(f"Cards found in {where} ({searched / 1e6:.1f} MB): {result}", highlight=False, soft_wrap=True)


def _summary(orders: list[Story], leaks: list[evidence.Leak], seconds: float, *, is_revealed_right: bool) -> bool:
    complaints = [(story, story.complaint()) for story in orders]
    bad = [f"{story.title}: {complaint}" for story, complaint in complaints if complaint is not None]
    if not is_revealed_right:
        bad.append("reveal: a user got other cards than theirs")
    for line in bad:
        console.print(f"[bold red]✗[/] {line}", highlight=False)
    is_good = not bad and not leaks
    verdict = (
        "[bold green]✔ all six orders ended as they should[/]" if is_good else "[bold red]✗ not as it should be[/]"
    )
    console.print(f"{verdict} [dim]({seconds:.0f} s)[/]", highlight=False)
    return is_good


@contextmanager
def _stage(orders: list[Story]) -> Iterator[Any]:
    """Draw the orders as they move: a live table on a terminal, one line a change anywhere else."""
    if console.is_terminal:
        with Live(_picture(orders), console=console, refresh_per_second=8) as live:
            yield lambda: live.update(_picture(orders))
        return
    seen: dict[str, str] = {}

    def draw() -> None:
        for story in orders:
            line = f"{story.order_id[:8]}  {story.title:<22} {_progress(story)}"
            if seen.get(story.order_id) != line:
                seen[story.order_id] = line
                console.print(line, markup=False, highlight=False, soft_wrap=True)

    yield draw


def _progress(story: Story) -> str:
    checks = f", asked {story.checks}×" if story.checks else ""
    status = story.order.status if story.order is not None else "PLACED"
    return f"{status:<17} {story.state}{checks}"


def _picture(orders: list[Story]) -> Panel:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for column, width in (("ORDER", 8), ("STORY", 21), ("STATUS", 16), ("CARDS", 5), ("ASKED", 5), ("WORKFLOW", 12)):
        table.add_column(column, no_wrap=True, min_width=width)
    for story in orders:
        order = story.order
        cards = "-" if order is None or order.quantity is None else f"{order.fulfilled_quantity}/{order.quantity}"
        status = "[dim]placed[/]" if order is None else status_text(order.status)
        asked = f"{story.checks}×" if story.checks else "-"
        tick = "[green]✔[/] " if story.is_closed else ""
        table.add_row(story.order_id[:8], story.title, status, cards, asked, f"{tick}{story.state}")
    return Panel(table, title="six orders", title_align="left", border_style="dim", expand=False)


def _section(title: str, body: Table) -> None:
    console.print()
    console.print(f"[bold]{title}[/]", highlight=False)
    console.print(body, highlight=False)


def _say(what: str) -> None:
    console.print(f"[dim]{what}[/]", highlight=False)
