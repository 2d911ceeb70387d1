"""What the supplier does irregularly, through the whole stack, beside orders with which nothing is wrong.

All irregular orders are in progress at the same time, so that the minute that a doubt takes passes once. The tests
share one deployment and run in the order of this file: the first sees it before anybody has set a usable API key.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from giftcards.contracts.events import HeldReason
from giftcards.rules.next_step import MIN_DOUBT_CHECKS, MIN_DOUBT_SECONDS
from giftcards.rules.orders import Order, OrderStatus
from giftcards_local import evidence
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY, cards_of, error_body
from stack.conftest import Service, deployed

DEADLINE_SECONDS = 120
"""Longer than a doubt has to last; a refused order is held at the deadline."""
PARAMETERS = {"PollSchedule": f"{DEADLINE_SECONDS}:4", "DelayedAfterSeconds": "600", "LogRetentionDays": "1"}
GOOD_ORDERS = 12
HOLDS_WITHIN_SECONDS = 240.0
USER = "alice"
BROKEN, UNKNOWN = HeldReason.SUPPLIER_CONTRACT_BROKEN, HeldReason.ORDER_UNKNOWN
BLANK = " \u00a0\u200b\u2800\u3164"


@dataclass(frozen=True)
class Irregularity:
    """One of them.

    Attributes
    ----------
    name
        What a person calls it.
    fault
        What the simulator does to this order.
    comes_to
        A status, or the reason for which it is held.
    cards
        The cards that are revealed, where they are not the simulator's own.
    says
        What the held message has to contain.
    """

    name: str
    fault: dict[str, Any]
    comes_to: OrderStatus | HeldReason = OrderStatus.FULFILLED
    cards: list[dict[str, str | None]] | None = None
    says: str = ""


def code_only() -> list[dict[str, str | None]]:
    return [{"value": f"CODE-ONLY-{number}-kR7vWm2X", "serial": None} for number in (1, 2)]


def refused(status: int, code: str, **more: Any) -> dict[str, Any]:
    return {"status": status, "body": error_body(code, "m")} | more


IRREGULARITIES = [
    Irregularity("1 value of blanks", {"put": {"/cards/0/value": BLANK}}, BROKEN, says="no visible character"),
    Irregularity("1 value too long", {"put": {"/cards/0/value": "x" * 2_049}}, BROKEN, says="data.cards.0.value"),
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
    Irregularity("4 cards never come", {"put": {"/cards": None}}, BROKEN, says="number of cards"),
    Irregularity("4 unknown at first", {"status": 404, "times": 2}),
    Irregularity("4 unknown for ever", {"status": 404}, UNKNOWN, says="NOT_FOUND"),
    Irregularity("5 undocumented refusal", refused(403, "SOMETHING_NEW"), BROKEN, says="403 SOMETHING_NEW"),
    Irregularity("8 byte order mark", {"byte_order_mark": True}),
    Irregularity("8 byte order mark in an error", {"status": 404, "byte_order_mark": True, "times": 2}),
    Irregularity("9 enveloped 410", refused(410, "GONE"), BROKEN, says="410 GONE"),
    Irregularity("9 enveloped 422", refused(422, "CANNOT_PROCESS"), BROKEN, says="422 CANNOT_PROCESS"),
    Irregularity("accepted count", {"put": {"/fulfilled_quantity": 1}}, BROKEN, says="contradicts the status"),
]
DELIVERED = [case for case in IRREGULARITIES if isinstance(case.comes_to, OrderStatus)]
HELD = [case for case in IRREGULARITIES if isinstance(case.comes_to, HeldReason)]
EACH_DELIVERED = pytest.mark.parametrize("case", DELIVERED, ids=lambda case: case.name)
EACH_HELD = pytest.mark.parametrize("case", HELD, ids=lambda case: case.name)


@dataclass
class Running:
    """The deployment, and the orders by the name of their irregularity."""

    service: Service
    orders: dict[str, str] = field(default_factory=dict)
    good: list[str] = field(default_factory=list)

    def place_good_orders(self) -> list[str]:
        """Place and announce orders with which nothing is wrong."""
        placed = [self.service.order(2) for _ in range(GOOD_ORDERS)]
        for order_id in placed:
            self.service.announce({"orderId": order_id, "userId": USER})
        self.good += placed
        return placed

    def place_irregular_orders(self) -> None:
        for case in IRREGULARITIES:
            order_id = self.orders[case.name] = self.service.order(2)
            self.service.supplier.control.add_fault(order_id=order_id, route="checkOrder", **case.fault)
            self.service.announce({"orderId": order_id, "userId": USER})

    def revealed(self, order_id: str) -> list[dict[str, str | None]]:
        shown = self.service.giftcards("reveal", order_id, "--user", USER, "--json")
        assert shown.returncode == 0, shown.stderr
        return [{name: card[name] for name in ("value", "serial")} for card in json.loads(shown.stdout)["cards"]]

    def until_held(self, name: str) -> Order:
        return self.service.until(
            self.orders[name], lambda order: order.status is OrderStatus.HELD, "held", within=HOLDS_WITHIN_SECONDS
        )

    def asked(self, order_id: str) -> int:
        return sum(call.order_id == order_id for call in self.service.supplier.control.calls())

    def gate(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.service.giftcards("gate", "--json").stdout)
        return document

    def put_secret(self, value: str) -> None:
        self.service.cloud.client("secretsmanager").put_secret_value(
            SecretId=self.service.stack.outputs["SupplierApiKeySecretArn"], SecretString=value
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with deployed(tmp_path_factory.mktemp("irregularities"), PARAMETERS) as service:
        yield Running(service)


def assert_delivered(running: Running, orders: list[str]) -> None:
    for order_id in orders:
        assert running.service.until_published(order_id).status is OrderStatus.FULFILLED
    assert running.revealed(orders[0]) == cards_of(orders[0], 2)


def test_10_secret_that_is_json_with_several_values_is_never_sent_and_one_value_alone_is_used(
    running: Running,
) -> None:
    running.put_secret(json.dumps({"apiKey": SANDBOX_API_KEY, "other": "kQ7vX2mW9pL4"}))
    orders = running.place_good_orders()

    assert wait_for(lambda: running.gate()["reason"] == "KEY_MISSING", within_seconds=60)
    assert "JSON with 2 string values" in running.gate()["message"]
    assert running.service.supplier.control.calls() == []

    running.put_secret("\ufeff" + json.dumps({"apiKey": f"{SANDBOX_API_KEY}\n"}))
    assert_delivered(running, orders)
    assert {call.status for call in running.service.supplier.control.calls()} == {200}


def test_good_orders_beside_all_irregular_ones_are_delivered_within_their_schedule(running: Running) -> None:
    running.place_irregular_orders()

    orders = running.place_good_orders()
    assert_delivered(running, orders)
    assert running.gate()["open"]
    for order in map(running.service.stack.orders.get, orders):
        assert order is not None
        assert order.delivered_at is not None
        assert (order.delivered_at - order.claimed_at).total_seconds() < DEADLINE_SECONDS


@EACH_DELIVERED
def test_irregular_order_is_delivered(running: Running, case: Irregularity) -> None:
    order_id = running.orders[case.name]
    order = running.service.until_published(order_id)

    assert order.status is case.comes_to
    assert [event["detail-type"] for event in running.service.bus.heard_of(order_id)] == ["CardsDelivered"]
    event = running.service.until_heard(order_id, "CardsDelivered")
    assert (event["quantity"], event["fulfilledQuantity"]) == (2, 2)
    has_amounts = not case.name.startswith("3 amount")
    assert ("fulfilledAmount" in event, "pricePerCard" in event) == (has_amounts, has_amounts)
    assert (order.fulfilled_amount is not None, order.price_per_card is not None) == (has_amounts, has_amounts)
    assert running.revealed(order_id) == (case.cards or cards_of(order_id, 2))


@EACH_HELD
def test_irregular_order_is_held_when_it_persists(running: Running, case: Irregularity) -> None:
    order = running.until_held(case.name)

    assert order.held_reason is case.comes_to
    assert case.says in (order.held_message or "")
    assert order.held_at is not None
    assert (order.held_at - order.claimed_at).total_seconds() >= MIN_DOUBT_SECONDS
    assert running.asked(order.order_id) >= MIN_DOUBT_CHECKS
    assert running.service.until_heard(order.order_id, "OrderHeld")["reason"] == case.comes_to
    assert [row["sk"]["S"] for row in running.service.items(order.order_id)] == ["ORDER"]


def test_no_amount_that_cannot_be_read_is_a_discrepancy(running: Running) -> None:
    irregular = {running.orders[case.name] for case in DELIVERED}

    report = json.loads(running.service.giftcards("reconcile", "--json").stdout)

    assert report["outcome"] == "COMPLETE"
    assert irregular & {found["orderId"] for found in report["differences"]} == set()


@pytest.mark.parametrize(("name", "delivered"), [("accepted count", None), ("1 value of blanks", BLANK)])
def test_cards_of_a_held_order_are_delivered_when_a_person_accepts_them(
    running: Running, name: str, delivered: str | None
) -> None:
    order = running.until_held(name)
    unexplained = running.service.giftcards("resume", order.order_id, "--accept-cards")
    assert (unexplained.returncode, "--reason" in unexplained.stderr) == (2, True)

    accepted = running.service.giftcards(
        "resume", order.order_id, "--accept-cards", "--cards", "2", "--reason", "seen in the console"
    )
    assert (accepted.returncode, accepted.stderr) == (0, "")

    closed = running.service.until_published(order.order_id)
    assert closed.status is OrderStatus.FULFILLED
    assert closed.accept_cards is not None
    assert (closed.accept_cards.reason, closed.accept_cards.by != "") == ("seen in the console", True)
    cards = cards_of(order.order_id, 2)
    expected = cards if delivered is None else [cards[0] | {"value": delivered}, cards[1]]
    assert running.revealed(order.order_id) == expected


@pytest.mark.parametrize("name", ["4 unknown for ever", "4 cards never come"])
def test_acceptance_delivers_no_order_that_has_no_cards(running: Running, name: str) -> None:
    order = running.until_held(name)

    asked = running.service.giftcards("resume", order.order_id, "--accept-cards", "--cards", "1", "--reason", "why not")

    assert asked.returncode == (1 if order.held_reason is UNKNOWN else 0)
    assert [row["sk"]["S"] for row in running.service.items(order.order_id)] == ["ORDER"]


@pytest.mark.parametrize(
    ("status", "code"), [(400, "INVALID_ACCESS_TOKEN"), (200, "invalid-access-token")], ids=["6 with 400", "6 with 200"]
)
def test_6_key_that_is_refused_with_another_status_is_presented_no_more(
    running: Running, status: int, code: str
) -> None:
    control = running.service.supplier.control
    control.clear_faults()
    control.clear_calls()
    fault = control.add_fault(**refused(status, code))
    orders = running.place_good_orders()

    assert wait_for(lambda: running.gate()["reason"] == "KEY_REFUSED", within_seconds=60)
    assert f"{status} INVALID_ACCESS_TOKEN" in running.gate()["message"]
    control.clear_faults(fault)
    assert len(control.calls()) <= 3

    running.put_secret(f"{SANDBOX_API_KEY}\n")
    assert_delivered(running, orders)


def test_7_block_of_the_address_is_read_however_it_is_spelled(running: Running) -> None:
    control = running.service.supplier.control
    fault = control.add_fault(**refused(403, "ip-blocked"))
    running.service.announce({"orderId": running.service.order(), "userId": USER})

    assert wait_for(lambda: running.gate()["reason"] == "ADDRESS_BLOCKED", within_seconds=60)
    assert "403 IP_BLOCKED" in running.gate()["message"]
    control.clear_faults(fault)

    # The order that has met the block waits for as long as it was told; those that come afterwards do not.
    assert running.service.giftcards("gate", "--open").returncode == 0
    assert_delivered(running, running.place_good_orders())


def test_no_card_and_no_key_is_found_in_anything_that_is_left_behind(running: Running) -> None:
    # The accepted blanks are everywhere, and say nothing.
    secrets = [*running.service.secrets(), *(str(card["value"]) for card in code_only())]

    searched, leaks = evidence.search(running.service.evidence(), secrets)

    assert searched > 100_000
    assert leaks == []
