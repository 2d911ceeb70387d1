"""Irregular answers of the supplier, through the whole stack, in parallel with good orders.

All irregular orders are in progress at the same time, so that their minutes of doubt pass together. While the refused
orders wait for their deadline, an operator accepts the cards of others. The tests share one deployment and run in the
order of this file.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from giftcards.contracts.events import HeldReason
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.next_step import MIN_DOUBT_CHECKS, MIN_DOUBT_SECONDS
from giftcards.rules.orders import Order
from giftcards_local import evidence
from giftcards_local.supplier import SANDBOX_API_KEY, cards_of
from stack.irregular import DEADLINE_SECONDS, USER, Running, irregular_deployment, refused

MAX_HOLD_SECONDS = 300.0
BROKEN, UNKNOWN = HeldReason.SUPPLIER_CONTRACT_BROKEN, HeldReason.ORDER_UNKNOWN
BLANK = " \u00a0\u200b\u2800\u3164"


@dataclass(frozen=True)
class Irregularity:
    """An irregular answer.

    Attributes
    ----------
    name
        Starts with the number of its row in the table of irregularities.
    fault
        The simulator's fault for this order.
    outcome
        The final status, or the held reason.
    cards
        The revealed cards; None: the simulator's.
    message
        Part of the held message: a code or a field.
    """

    name: str
    fault: dict[str, Any]
    outcome: OrderStatus | HeldReason = OrderStatus.FULFILLED
    cards: list[dict[str, str | None]] | None = None
    message: str = ""


def code_only() -> list[dict[str, str | None]]:
    return [{"value": f"CODE-ONLY-{number}-kR7vWm2X", "serial": None} for number in (1, 2)]


IRREGULARITIES = [
    Irregularity("1 value of blanks", {"put": {"/cards/0/value": BLANK}}, BROKEN, message="no visible character"),
    Irregularity("1 value too long", {"put": {"/cards/0/value": "x" * 2_049}}, BROKEN, message="data.cards.0.value"),
    Irregularity("2 serial null", {"put": {"/cards": code_only()}}, cards=code_only()),
    Irregularity(
        "2 serial absent", {"put": {"/cards": [{"value": card["value"]} for card in code_only()]}}, cards=code_only()
    ),
    Irregularity(
        "2 serial empty", {"put": {"/cards": [card | {"serial": ""} for card in code_only()]}}, cards=code_only()
    ),
    Irregularity("3 amount in words", {"put": {"/fulfilled_amount": "980 DZD", "/price_per_card": "490 DZD"}}),
    Irregularity("3 amount null and negative", {"put": {"/fulfilled_amount": None, "/price_per_card": -1}}),
    Irregularity("3 amount absent", {"merge": {"fulfilled_amount": None, "price_per_card": None}}),
    Irregularity("3 counts as text", {"put": {"/quantity": "2", "/fulfilled_quantity": 2.0, "/status": "fulfilled"}}),
    Irregularity("4 cards come later", {"put": {"/cards": []}, "times": 1, "after_calls": 1}),
    Irregularity("4 cards never come", {"put": {"/cards": None}}, BROKEN, message="number of cards"),
    Irregularity("4 unknown at first", {"status": 404, "times": 2}),
    Irregularity("4 unknown for ever", {"status": 404}, UNKNOWN, message="NOT_FOUND"),
    Irregularity("5 undocumented refusal", refused(403, "SOMETHING_NEW"), BROKEN, message="403 SOMETHING_NEW"),
    Irregularity("8 byte order mark", {"byte_order_mark": True}),
    Irregularity("8 byte order mark in an error", {"status": 404, "byte_order_mark": True, "times": 2}),
    Irregularity("9 enveloped 410", refused(410, "GONE"), BROKEN, message="410 GONE"),
    Irregularity("9 enveloped 422", refused(422, "CANNOT_PROCESS"), BROKEN, message="422 CANNOT_PROCESS"),
    Irregularity("accepted count", {"put": {"/fulfilled_quantity": 1}}, BROKEN, message="contradicts the status"),
]
DELIVERED = [case for case in IRREGULARITIES if isinstance(case.outcome, OrderStatus)]
HELD = [case for case in IRREGULARITIES if isinstance(case.outcome, HeldReason)]
REFUSED = [case for case in HELD if "status" in case.fault and case.fault["status"] != 404]
IN_DOUBT = [case for case in HELD if case not in REFUSED]


def each(cases: list[Irregularity]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Deploy, and place all irregular orders."""
    with irregular_deployment(tmp_path_factory.mktemp("irregular-orders")) as deployed:
        deployed.service.cloud.set_api_key(SANDBOX_API_KEY)
        for case in IRREGULARITIES:
            order_id = deployed.orders[case.name] = deployed.service.order(2)
            deployed.service.supplier.control.add_fault(order_id=order_id, route="checkOrder", **case.fault)
            deployed.service.publish({"orderId": order_id, "userId": USER})
        yield deployed


def until_held(running: Running, name: str) -> Order:
    return running.service.until(
        running.orders[name], lambda order: order.status is OrderStatus.HELD, "held", within=MAX_HOLD_SECONDS
    )


def test_good_orders_beside_irregular_ones_are_delivered_in_time(running: Running) -> None:
    orders = running.place_good_orders()

    running.assert_delivered(orders)
    assert running.gate()["open"]
    for order in map(running.service.stack.orders.get, orders):
        assert order is not None
        assert order.delivered_at is not None
        assert (order.delivered_at - order.claimed_at).total_seconds() < DEADLINE_SECONDS


@each(DELIVERED)
def test_irregular_order_is_delivered(running: Running, case: Irregularity) -> None:
    order_id = running.orders[case.name]
    order = running.service.until_published(order_id)

    assert order.status is case.outcome
    assert [event["detail-type"] for event in running.service.bus.events_about(order_id)] == ["CardsDelivered"]
    event = running.service.until_event(order_id, "CardsDelivered")
    assert (event["quantity"], event["fulfilledQuantity"]) == (2, 2)
    has_amounts = not case.name.startswith("3 amount")
    assert ("fulfilledAmount" in event, "pricePerCard" in event) == (has_amounts, has_amounts)
    assert (order.fulfilled_amount is not None, order.price_per_card is not None) == (has_amounts, has_amounts)
    assert running.revealed(order_id) == (case.cards or cards_of(order_id, 2))


def assert_held(running: Running, case: Irregularity) -> None:
    order = until_held(running, case.name)

    assert order.held_reason is case.outcome
    assert case.message in (order.held_message or "")
    assert order.held_at is not None
    assert (order.held_at - order.claimed_at).total_seconds() >= MIN_DOUBT_SECONDS
    assert running.call_count(order.order_id) >= MIN_DOUBT_CHECKS
    assert running.service.until_event(order.order_id, "OrderHeld")["reason"] == case.outcome
    assert [row["sk"]["S"] for row in running.service.items(order.order_id)] == ["ORDER"]


@each(IN_DOUBT)
def test_order_in_doubt_is_held_when_the_doubt_persists(running: Running, case: Irregularity) -> None:
    assert_held(running, case)


def test_unreadable_amount_is_no_discrepancy(running: Running) -> None:
    irregular = {running.orders[case.name] for case in DELIVERED}

    report = json.loads(running.service.giftcards("reconcile", "--json").stdout)

    assert report["outcome"] == "COMPLETE"
    assert irregular & {found["orderId"] for found in report["differences"]} == set()


ACCEPTED = {"accepted count": [1, 2], "1 value of blanks": [2]}
"""The numbers of the cards that can be accepted, by irregularity."""


@pytest.fixture(scope="module")
def accepted(running: Running) -> list[str]:
    """Accept the cards of held orders, which are delivered after another minute of doubt."""
    orders = {name: until_held(running, name).order_id for name in ACCEPTED}
    for name, order_id in orders.items():
        count = str(len(ACCEPTED[name]))
        done = running.service.giftcards(
            "resume", order_id, "--accept-cards", "--cards", count, "--reason", "seen in the console"
        )
        assert (done.returncode, done.stderr) == (0, "")
    return list(orders.values())


def test_cards_are_not_accepted_without_a_reason(running: Running) -> None:
    order = until_held(running, "accepted count")

    unexplained = running.service.giftcards("resume", order.order_id, "--accept-cards")

    assert (unexplained.returncode, "--reason" in unexplained.stderr) == (2, True)
    assert running.service.stack.orders.get(order.order_id) == order


@pytest.mark.usefixtures("accepted")  # during their minute of doubt
@pytest.mark.parametrize("name", ["4 unknown for ever", "4 cards never come"])
def test_acceptance_delivers_no_order_that_has_no_cards(running: Running, name: str) -> None:
    order = until_held(running, name)

    asked = running.service.giftcards("resume", order.order_id, "--accept-cards", "--cards", "1", "--reason", "why not")

    assert asked.returncode == (1 if order.held_reason is UNKNOWN else 0)
    assert [row["sk"]["S"] for row in running.service.items(order.order_id)] == ["ORDER"]


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_cards_of_a_held_order_are_delivered(running: Running, accepted: list[str], name: str) -> None:
    closed = running.service.until_published(running.orders[name], within=300)

    assert closed.status is OrderStatus.FULFILLED
    assert closed.accept_cards is not None
    assert (closed.accept_cards.reason, closed.accept_cards.by != "") == ("seen in the console", True)
    cards = cards_of(closed.order_id, 2)
    assert running.revealed(closed.order_id) == [cards[number - 1] for number in ACCEPTED[name]]


@each(REFUSED)
def test_refused_order_is_held_after_its_deadline(running: Running, case: Irregularity) -> None:
    assert_held(running, case)


def test_no_card_or_key_leaks(running: Running) -> None:
    secrets = [*running.service.secrets(), *(str(card["value"]) for card in code_only())]

    searched, leaks = evidence.search(running.service.evidence(), secrets)

    assert searched > 100_000
    assert leaks == []
