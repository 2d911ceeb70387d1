"""The demo: six orders through the whole service, then a buyer's link, on a temporary local cloud."""

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
    CardsViewed,
    LinkMailSent,
    OrderPlaced,
    OrderRepeated,
)
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import CLOSING_EVENTS, Order
from giftcards_cli.buyer_story import BuyerStory
from giftcards_cli.output import console, status_text
from giftcards_cli.stack import Stack
from giftcards_local import PROJECT, STACK_NAME, evidence
from giftcards_local.bus_listener import BusListener
from giftcards_local.processes import wait_for
from giftcards_local.service import LocalService
from giftcards_local.supplier import SupplierControl, cards_of

PARAMETERS = {"PollSchedule": "120:2,3600:10", "DelayedAfterSeconds": "3600", "LogRetentionDays": "1"}
STALLED_AFTER_SECONDS = 120
"""Time without progress of any order. On a busy machine a single function can take its full timeout of 60 s."""
TICK_SECONDS = 0.25
_WORDS = {
    "ReadOrder": "started",
    "ClaimOrder": "claiming",
    "WaitBeforeCheck": "waiting",
    "CheckStatus": "checking",
    "Route": "checking",
    "WaitBeforeDelivery": "waiting",
    "DeliverCards": "delivering",
    "OrderClosed": "closed",
}
_BUYER_EVENTS = {LinkMailSent.detail_type, CardsViewed.detail_type}


@dataclass
class Story:
    """One order of the demo: its expected outcome, and its progress so far.

    Attributes
    ----------
    fulfil_after
        Seconds until the simulator settles the order.
    status, cards
        The expected final status and number of cards.
    publications
        How many OrderPlaced events the shop publishes, at the same time.
    pending_checks
        Number of checks that find the order pending; after them the simulator settles it.
    """

    title: str
    quantity: int
    type_id: str
    fulfil_after: float
    status: OrderStatus
    cards: int
    publications: int = 1
    pending_checks: int = 0
    user: str = "alice"
    order_id: str = ""
    order: Order | None = None
    state: str = "placed"
    checks: int = 0
    events: list[str] = field(default_factory=list)

    @property
    def is_closed(self) -> bool:
        """Whether the order has ended: closed, or held."""
        return self.order is not None and (self.order.announced_at is not None or self.order.status is OrderStatus.HELD)

    @property
    def progress(self) -> tuple[object, ...]:
        """Changes whenever the order makes progress."""
        return self.order and self.order.status, self.is_closed, self.state, self.checks

    def failure(self) -> str | None:
        """Return how the order differs from what is expected; None if it does not."""
        if self.order is None or self.order.status is not self.status:
            return f"status {self.order.status if self.order else 'not claimed'}, expected {self.status}"
        if self.order.fulfilled_quantity != self.cards:
            return f"{self.order.fulfilled_quantity} cards, expected {self.cards}"
        if self.checks <= self.pending_checks:
            return f"checked {self.checks} times, expected more than {self.pending_checks}"
        expected = [OrderRepeated.detail_type] * (self.publications - 1) + [CLOSING_EVENTS[self.status].detail_type]
        if Counter(self.events) != Counter(expected):
            return f"events {self.events}, expected {expected} in any order"
        return None


def stories() -> list[Story]:
    fulfilled, partial, refunded = OrderStatus.FULFILLED, OrderStatus.PARTIALLY_FILLED, OrderStatus.REFUNDED
    return [
        Story("fulfilled at once", 2, "type_001", 0, fulfilled, 2),
        Story("fulfilled later", 1, "type_001", 3600, fulfilled, 1, pending_checks=2, user="bob"),
        Story("ten cards", 10, "type_001", 1, fulfilled, 10, user="carol"),
        Story("half of it in stock", 4, "TEST_PARTIAL", 3, partial, 2, user="dave"),
        Story("out of stock", 1, "TEST_REFUND", 3, refunded, 0, user="erin"),
        Story("published three times", 1, "type_001", 4, fulfilled, 1, publications=3, user="frank"),
    ]


def run(keep: Path | None = None) -> bool:
    """Run the demo. Return whether every order ended as expected and the search found no card in plain text.

    Parameters
    ----------
    keep
        Folder for the demo's files. None: a temporary folder, removed after success.
    """
    began = time.monotonic()
    (PROJECT / ".giftcards").mkdir(exist_ok=True)
    folder = keep or Path(tempfile.mkdtemp(prefix="demo-", dir=PROJECT / ".giftcards"))
    service = LocalService(folder, say=_say)
    orders, succeeded = stories(), False
    try:
        service.up(fulfil_after_seconds=8, parameters=PARAMETERS)
        _say(f"Ready after {time.monotonic() - began:.0f} s")
        session = _Session(service)
        session.place(orders)
        buyer = session.buyer_of(orders[0])
        session.watch(orders)
        session.collect_events(orders)
        session.show_table(orders[0])
        session.show_events()
        is_reveal_right = session.show_reveal(orders[0])
        session.show_buyer(buyer)
        leaks = session.search_cloud(orders, buyer)
        _say("Stopping everything")
        service.down()
        leaks += _search_files(folder, orders)
        failures = [*buyer.failures, *([] if is_reveal_right else ["reveal: a user received the wrong cards"])]
        succeeded = _summary(orders, leaks, failures, time.monotonic() - began)
    except KeyboardInterrupt:
        succeeded = True  # nothing failed until then
        raise
    finally:
        service.down()
        if keep is None and succeeded:  # otherwise keep the logs, to find out what failed
            shutil.rmtree(folder, ignore_errors=True)
    return succeeded


def follow(
    poll: Callable[[], object],
    *,
    until: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Poll until a condition holds, or nothing changes for ``STALLED_AFTER_SECONDS``. Return whether it holds."""
    last, changed_at = poll(), clock()
    while not until():
        if clock() - changed_at > STALLED_AFTER_SECONDS:
            return False
        pause(TICK_SECONDS)
        current = poll()
        if current != last:
            last, changed_at = current, clock()
    return True


class _Session:
    """The running service, with its clients."""

    def __init__(self, service: LocalService) -> None:
        cloud = self._cloud = service.cloud
        self._client = cloud.client
        self._stack = Stack(STACK_NAME, cloud.session, cloud.url)
        self._supplier = SupplierControl(service.state.supplier_url)
        self._step_functions = self._client("stepfunctions")
        self._bus = BusListener(cloud.session, cloud.url, self._stack.outputs["OrderBusName"])

    def place(self, orders: list[Story]) -> None:
        """Place the orders at the supplier and publish OrderPlaced for each."""
        for story in orders:
            story.order_id = self._supplier.add_order(
                story.quantity, type_id=story.type_id, fulfil_after=story.fulfil_after
            )
        for story in orders:
            for _ in range(story.publications):
                self._stack.bus.publish(OrderPlaced(order_id=story.order_id, user_id=story.user), source="shop")
        _say("Six orders are placed at the supplier and published on the bus")

    def buyer_of(self, story: Story) -> BuyerStory:
        """Name the address of an order's buyer."""
        buyer = BuyerStory(
            self._cloud, story.order_id, story.user, cards_of(story.order_id, story.cards), STALLED_AFTER_SECONDS
        )
        buyer.name_recipient(self._stack.outputs["OrderBusName"])
        return buyer

    def watch(self, orders: list[Story]) -> None:
        """Show the orders until all have ended, or none makes progress."""
        with _drawing(orders) as draw:

            def poll() -> tuple[object, ...]:
                for story in orders:
                    self._update(story)
                draw()
                return tuple(story.progress for story in orders)

            follow(poll, until=lambda: all(story.is_closed for story in orders))

    def collect_events(self, orders: list[Story]) -> None:
        """Wait for the events of all orders and keep their types."""
        events = sum(story.publications for story in orders)
        wait_for(lambda: len(self._order_events()) >= events, within_seconds=STALLED_AFTER_SECONDS)
        for story in orders:
            about = (event for event in self._order_events() if event["detail"]["orderId"] == story.order_id)
            story.events = [event["detail-type"] for event in about]

    def show_table(self, story: Story) -> None:
        """Print the rows of one order."""
        items = self._client("dynamodb").query(
            TableName=self._stack.outputs["CardTableName"],
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"ORDER#{story.order_id}"}},
        )["Items"]
        grid = Table(box=None, pad_edge=False, header_style="bold")
        grid.add_column("ROW", min_width=9)
        grid.add_column("ATTRIBUTES", overflow="fold")
        for item in items:
            if "ciphertext" in item:
                ciphertext = item["ciphertext"]["B"]
                text = f"{len(ciphertext)} bytes of ciphertext, ending in {ciphertext[-16:].hex()}"
            else:
                names = ("status", "userId", "quantity", "fulfilledQuantity", "deliveredAt")
                text = " ".join(f"{name}={next(iter(item[name].values()))}" for name in names)
            grid.add_row(item["sk"]["S"], text)
        _section(f"Order {story.order_id} in the table", grid)

    def show_events(self) -> None:
        """Print the published events."""
        grid = Table(box=None, pad_edge=False, header_style="bold")
        grid.add_column("ORDER", min_width=8)
        grid.add_column("EVENT", min_width=23)
        grid.add_column("DETAIL", overflow="fold")
        for event in self._order_events():
            detail = event["detail"]
            counts = ("quantity", "fulfilledQuantity", "refundedQuantity")
            text = " ".join(f"{name}={detail[name]}" for name in counts if name in detail)
            grid.add_row(detail["orderId"][:8], event["detail-type"], text)
        _section("Events published on the bus", grid)

    def show_reveal(self, story: Story) -> bool:
        """Reveal one order to its user and to another user. Return whether each received the right cards, or none."""
        is_right = True
        grid = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("USER", "VALUE", "SERIAL"):
            grid.add_column(column)
        for user in (story.user, "mallory"):
            request = {"orderId": story.order_id, "userId": user, "requestedBy": "demo", "reason": "demo"}
            answer = self._stack.invoke("RevealCards", request)
            expected = cards_of(story.order_id, story.cards) if user == story.user else []
            is_right &= [{"value": card["value"], "serial": card["serial"]} for card in answer["cards"]] == expected
            for card in answer["cards"]:
                grid.add_row(user, card["value"], card["serial"])
            if not answer["cards"]:
                grid.add_row(user, f"[red]refused:[/] {answer['message']}", "")
        _section(f"Order {story.order_id} revealed", grid)
        return is_right

    def show_buyer(self, buyer: BuyerStory) -> None:
        """Print the story of a buyer, and wait for the events that the shop receives of it."""
        _section(f"Order {buyer.order_id} mailed to its buyer", buyer.run())

        def missing() -> set[str]:
            return _BUYER_EVENTS - {event["detail-type"] for event in self._bus.events_about(buyer.order_id)}

        if not wait_for(lambda: not missing(), within_seconds=STALLED_AFTER_SECONDS):
            buyer.failures.append(f"buyer: not published: {', '.join(sorted(missing()))}")

    def search_cloud(self, orders: list[Story], buyer: BuyerStory) -> list[evidence.Leak]:
        """Search the cloud for the cards of all orders, the link and the address in plain text."""
        outputs = self._stack.outputs
        places = chain(
            evidence.function_logs(self._client("logs")),
            evidence.workflow_history(self._step_functions, outputs["StateMachineArn"]),
            (("bus", json.dumps(event).encode()) for event in self._bus.events()),
            evidence.table(self._client("dynamodb"), outputs["CardTableName"]),
            evidence.table(self._client("dynamodb"), self._stack.link_table_name),
        )
        searched, leaks = evidence.search(places, [*_secrets(orders), *buyer.secrets()])
        _report_search("Cards, link and address found in logs, workflow history, events and tables", searched, leaks)
        return leaks

    def _order_events(self) -> list[dict[str, Any]]:
        return [event for event in self._bus.events() if event["detail-type"] not in _BUYER_EVENTS]

    def _update(self, story: Story) -> None:
        story.order = self._stack.orders.get(story.order_id)
        if story.order is None or story.order.execution_arn is None:
            return
        history = self._step_functions.get_execution_history(executionArn=story.order.execution_arn, maxResults=1000)[
            "events"
        ]
        entered = [e["stateEnteredEventDetails"]["name"] for e in history if "stateEnteredEventDetails" in e]
        story.checks = entered.count("CheckStatus")
        answered = [e for e in history if e.get("stateExitedEventDetails", {}).get("name") == "CheckStatus"]
        if 0 < story.pending_checks <= len(answered):  # not earlier: a check in progress could find it settled
            self._supplier.change_order(story.order_id, fulfil_after=0)
        story.state = _WORDS.get(entered[-1], entered[-1]) if entered else story.state


def _secrets(orders: list[Story]) -> list[str]:
    return [secret for story in orders for card in cards_of(story.order_id, story.quantity) for secret in card.values()]


def _search_files(folder: Path, orders: list[Story]) -> list[evidence.Leak]:
    searched, leaks = evidence.search(evidence.files(folder), _secrets(orders))
    _report_search("Cards found in the demo's own files", searched, leaks)
    return leaks


def _report_search(what: str, searched: int, leaks: list[evidence.Leak]) -> None:
    result = "[green]none[/]" if not leaks else f"[bold red]in {sorted({leak.place for leak in leaks})}[/]"
    console.print(f"{what} ({searched / 1e6:.1f} MB): {result}", highlight=False, soft_wrap=True)


def _summary(orders: list[Story], leaks: list[evidence.Leak], failures: list[str], seconds: float) -> bool:
    failures += [f"{story.title}: {failure}" for story in orders if (failure := story.failure()) is not None]
    for line in failures:
        console.print(f"[bold red]✗[/] {line}", highlight=False)
    succeeded = not failures and not leaks
    verdict = "[bold green]✔ all seven stories ended as expected[/]" if succeeded else "[bold red]✗ the demo failed[/]"
    console.print(f"{verdict} [dim]({seconds:.0f} s)[/]", highlight=False)
    return succeeded


@contextmanager
def _drawing(orders: list[Story]) -> Iterator[Any]:
    """Draw the progress of the orders: a live table on a terminal, otherwise one line per change."""
    if console.is_terminal:
        with Live(_panel(orders), console=console, refresh_per_second=8) as live:
            yield lambda: live.update(_panel(orders))
        return
    printed: dict[str, str] = {}

    def draw() -> None:
        for story in orders:
            line = f"{story.order_id[:8]}  {story.title:<22} {_progress(story)}"
            if printed.get(story.order_id) != line:
                printed[story.order_id] = line
                console.print(line, markup=False, highlight=False, soft_wrap=True)

    yield draw


def _progress(story: Story) -> str:
    checks = f", checked {story.checks}×" if story.checks else ""
    status = story.order.status if story.order is not None else "PLACED"
    return f"{status:<17} {story.state}{checks}"


def _panel(orders: list[Story]) -> Panel:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for column, width in (("ORDER", 8), ("STORY", 21), ("STATUS", 16), ("CARDS", 5), ("CHECKS", 6), ("WORKFLOW", 12)):
        table.add_column(column, no_wrap=True, min_width=width)
    for story in orders:
        order = story.order
        cards = "-" if order is None or order.quantity is None else f"{order.fulfilled_quantity}/{order.quantity}"
        status = "[dim]placed[/]" if order is None else status_text(order.status)
        checks = f"{story.checks}×" if story.checks else "-"
        tick = "[green]✔[/] " if story.is_closed else ""
        table.add_row(story.order_id[:8], story.title, status, cards, checks, f"{tick}{story.state}")
    return Panel(table, title="six orders", title_align="left", border_style="dim", expand=False)


def _section(title: str, body: Table) -> None:
    console.print()
    console.print(f"[bold]{title}[/]", highlight=False)
    console.print(body, highlight=False)


def _say(text: str) -> None:
    console.print(f"[dim]{text}[/]", highlight=False)
