"""The service on a real deployment: an order becomes encrypted cards and one event.

The tests share one deployment and run in the order of this file: the first test needs the service without an API key,
the last ones search everything that the others wrote.
"""

import json
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import pytest

from giftcards.contracts.events import (
    CardsDelivered,
    CardsPartiallyDelivered,
    HeldReason,
    OrderDelayed,
    OrderHeld,
    OrderRefunded,
)
from giftcards.contracts.statuses import OrderStatus
from giftcards_cli import costs
from giftcards_local import evidence
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY, cards_of, key_id
from support.service import MAX_WAIT_SECONDS, Service

UNKNOWN_ORDER = "0123456789abcdef01234567"


@dataclass(frozen=True)
class EarlyOrders:
    """Orders that will be held. They are placed first, so that their time passes during other tests.

    Attributes
    ----------
    late
        Pending at the supplier past its deadline.
    unknown
        Unknown to the supplier.
    broken
        Has a ``fault`` of the simulator, so that the answer contradicts itself.
    """

    late: str
    unknown: str
    broken: str
    fault: str


@pytest.fixture(scope="module")
def early(service: Service) -> EarlyOrders:
    orders = EarlyOrders(
        late=service.order(1, fulfil_after=3600),
        unknown=UNKNOWN_ORDER,
        broken=(broken := service.order(2)),
        fault=service.supplier.control.add_fault(order_id=broken, merge={"fulfilled_quantity": 1}),
    )
    for order_id in (orders.late, orders.unknown, orders.broken):
        service.publish({"orderId": order_id, "userId": "judy"})
    return orders


@pytest.mark.usefixtures("early")
def test_order_waits_until_the_api_key_is_set(service: Service) -> None:
    order_id = service.order()
    service.publish({"orderId": order_id, "userId": "alice"})

    def shows_reason() -> bool:
        shown = service.giftcards("show", order_id, "--json")
        return shown.returncode == 0 and "KEY_MISSING" in (json.loads(shown.stdout)["waitingFor"] or "")

    assert wait_for(shows_reason, within_seconds=30)
    assert service.supplier.control.calls() == []

    service.cloud.set_api_key(SANDBOX_API_KEY)
    assert service.until_published(order_id).status is OrderStatus.FULFILLED
    assert json.loads(service.giftcards("show", order_id, "--json").stdout)["waitingFor"] is None


def test_fulfilled_order_becomes_encrypted_cards_and_one_event(service: Service) -> None:
    order_id = service.order(2)
    service.publish({"orderId": order_id, "userId": "alice", "placedAt": "2025-10-29T01:00:00Z", "ignored": [1]})

    order = service.until_published(order_id)
    assert (order.status, order.fulfilled_quantity) == (OrderStatus.FULFILLED, 2)
    assert (order.fulfilled_amount, order.price_per_card) == (Decimal(980), Decimal(490))
    rows = {item["sk"]["S"]: item for item in service.items(order_id)}
    assert sorted(rows) == ["CARDS#00001", "ORDER"]
    assert set(rows["CARDS#00001"]) == {"pk", "sk", "ciphertext", "userId", "deliveredAt"}
    event = CardsDelivered.model_validate(service.until_event(order_id, "CardsDelivered"))
    assert event.delivery_id == order.delivery_id
    assert service.execution(order)["status"] == "SUCCEEDED"


def test_order_of_5000_cards_is_delivered_and_revealed(service: Service) -> None:
    order_id = service.order(5_000)
    service.orders[order_id] = 20  # the search for leaks looks for the cards of 20; all would take a minute
    service.publish({"orderId": order_id, "userId": "alice"})

    assert service.until_published(order_id).fulfilled_quantity == 5_000

    shown = service.giftcards("reveal", order_id, "--user", "alice", "--json")
    cards = json.loads(shown.stdout)["cards"]
    assert [card["index"] for card in cards] == list(range(1, 5_001))
    assert [{"value": card["value"], "serial": card["serial"]} for card in cards] == cards_of(order_id, 5_000)
    assert len(service.items(order_id)) == 51
    assert len(shown.stdout) > 300_000


def test_pending_order_is_checked_on_schedule(service: Service) -> None:
    order_id = service.order(fulfil_after=3600)
    service.publish({"orderId": order_id, "userId": "bob"})

    def checks() -> int:
        return sum(call.order_id == order_id for call in service.supplier.control.calls())

    assert wait_for(lambda: checks() >= 3, within_seconds=30)
    service.supplier.control.change_order(order_id, fulfil_after=0)
    assert service.until_published(order_id).status is OrderStatus.FULFILLED
    at = [call.at for call in service.supplier.control.calls() if call.order_id == order_id]
    assert all((later - earlier).total_seconds() >= 0.9 for earlier, later in pairwise(at[:-1]))


def test_partially_filled_order_delivers_its_cards(service: Service) -> None:
    order_id = service.order(4, type_id="TEST_PARTIAL")
    service.publish({"orderId": order_id, "userId": "carol"})

    order = service.until_published(order_id)
    assert (order.status, order.fulfilled_quantity) == (OrderStatus.PARTIALLY_FILLED, 2)
    event = CardsPartiallyDelivered.model_validate(service.until_event(order_id, "CardsPartiallyDelivered"))
    assert (event.quantity, event.fulfilled_quantity, event.refunded_quantity) == (4, 2, 2)
    assert [item["sk"]["S"] for item in service.items(order_id)] == ["CARDS#00001", "ORDER"]


def test_refunded_order_is_published_without_cards(service: Service) -> None:
    order_id = service.order(1, type_id="TEST_REFUND")
    service.publish({"orderId": order_id, "userId": "dave"})

    assert service.until_published(order_id).status is OrderStatus.REFUNDED
    assert OrderRefunded.model_validate(service.until_event(order_id, "OrderRefunded")).quantity == 1
    assert [item["sk"]["S"] for item in service.items(order_id)] == ["ORDER"]


def test_order_placed_three_times_is_delivered_once(service: Service) -> None:
    order_id = service.order(1)
    service.publish({"orderId": order_id, "userId": "frank"}, times=3)

    service.until_published(order_id)
    assert wait_for(lambda: service.executions_of(order_id) == ["SUCCEEDED"] * 3, within_seconds=30)
    types = [event["detail-type"] for event in service.bus.events_about(order_id)]
    assert sorted(types) == ["CardsDelivered", "OrderRepeated", "OrderRepeated"]
    assert len(service.items(order_id)) == 2


def test_delivered_order_placed_for_another_user_is_disputed(service: Service) -> None:
    order_id = service.order(1)
    service.publish({"orderId": order_id, "userId": "grace"})
    service.until_published(order_id)
    before = service.items(order_id)

    service.publish({"orderId": order_id, "userId": "mallory"})
    assert wait_for(lambda: sorted(service.executions_of(order_id)) == ["FAILED", "SUCCEEDED"], within_seconds=30)
    assert service.items(order_id) == before
    assert service.until_event(order_id, "OrderDisputed")["userId"] == "mallory"
    assert service.giftcards("reveal", order_id, "--user", "mallory").returncode == 1


@pytest.mark.parametrize(
    "detail",
    [
        {"userId": "kim"},
        {"orderId": "", "userId": "kim"},
        {"orderId": "x" * 129, "userId": "kim"},
        {"orderId": "ordér", "userId": "kim"},
        {"orderId": "invalid-without-user"},
        "no object",
        [{"orderId": "invalid-in-a-list", "userId": "kim"}],
    ],
    ids=["no order", "empty order", "long order", "non-ASCII order", "no user", "text", "list"],
)
def test_invalid_event_claims_nothing_and_is_published_as_held(
    service: Service, early: EarlyOrders, detail: object
) -> None:
    def calls() -> int:
        others = {early.late, early.unknown, early.broken}
        return sum(call.order_id not in others for call in service.supplier.control.calls())

    def held_events() -> list[dict[str, object]]:
        return [event for event in service.bus.events() if event["detail"].get("reason") == "INVALID_ORDER"]

    held = held_events()
    calls_before = calls()
    table = service.stack.outputs["CardTableName"]
    rows = service.cloud.client("dynamodb").scan(TableName=table, Select="COUNT")["Count"]

    service.publish(detail)

    def more_held() -> list[dict[str, object]]:
        return held_events()[len(held) :]

    assert wait_for(lambda: len(more_held()) == 1, within_seconds=20)
    (event,) = more_held()
    given = detail if isinstance(detail, dict) else {}
    assert event["detail"].get("orderId") == (
        given.get("orderId") if given.get("orderId") == "invalid-without-user" else None
    )
    assert event["detail"].get("userId") == given.get("userId")
    assert service.cloud.client("dynamodb").scan(TableName=table, Select="COUNT")["Count"] == rows
    assert calls() == calls_before


def test_order_is_held_when_the_deadline_passes_and_can_be_resumed(service: Service, early: EarlyOrders) -> None:
    delayed = OrderDelayed.model_validate(service.until_event(early.late, "OrderDelayed"))
    assert delayed.pending_seconds >= 6
    order = service.until_status(early.late, OrderStatus.HELD)
    assert order.held_reason is HeldReason.DEADLINE_PASSED
    assert order.held_at is not None
    assert (order.held_at - order.claimed_at).total_seconds() >= 45
    assert service.execution(order)["error"] == "DEADLINE_PASSED"

    service.supplier.control.change_order(early.late, fulfil_after=0)
    service.publish({"orderId": early.late, "userId": "judy"})
    service.until_published(early.late)
    types = [event["detail-type"] for event in service.bus.events_about(early.late)]
    assert types == ["OrderDelayed", "OrderHeld", "CardsDelivered"]


def test_order_is_held_when_the_supplier_does_not_know_it(service: Service, early: EarlyOrders) -> None:
    order = service.until_status(early.unknown, OrderStatus.HELD)
    assert order.held_reason is HeldReason.ORDER_UNKNOWN
    assert OrderHeld.model_validate(service.until_event(order.order_id, "OrderHeld")).reason is HeldReason.ORDER_UNKNOWN
    execution = service.execution(order)
    assert (execution["status"], execution["error"]) == ("FAILED", "ORDER_UNKNOWN")


def test_order_with_a_contradicting_answer_is_held(service: Service, early: EarlyOrders) -> None:
    order = service.until_status(early.broken, OrderStatus.HELD)
    assert order.held_reason is HeldReason.SUPPLIER_CONTRACT_BROKEN
    assert [item["sk"]["S"] for item in service.items(early.broken)] == ["ORDER"]

    service.supplier.control.clear_faults(early.fault)
    service.publish({"orderId": early.broken, "userId": "judy"})
    assert service.until_published(early.broken).fulfilled_quantity == 2


def test_new_key_is_used_and_the_refused_one_is_not(service: Service) -> None:
    service.supplier.control.set_keys(["the-new-key-1111111111111111"])
    service.supplier.control.clear_calls()
    order_id = service.order()
    service.publish({"orderId": order_id, "userId": "leo"})

    def shows_reason() -> bool:
        shown = json.loads(service.giftcards("show", order_id, "--json").stdout)
        return "KEY_REFUSED" in (shown["waitingFor"] or "")

    try:
        assert wait_for(shows_reason, within_seconds=30)
        service.cloud.set_api_key("the-new-key-1111111111111111")
        assert service.until_published(order_id, within=90).status.is_delivered  # the key is cached for 60 s
        keys = [call.key_id for call in service.supplier.control.calls()]
        assert keys.count(key_id(SANDBOX_API_KEY)) == 1
    finally:
        service.supplier.control.set_keys([SANDBOX_API_KEY, "the-new-key-1111111111111111"])


def test_reveal_is_recorded_in_the_audit_table(service: Service) -> None:
    order_id = service.order(10)
    service.publish({"orderId": order_id, "userId": "mia"})
    service.until_published(order_id)

    shown = service.giftcards("reveal", order_id, "--user", "mia", "--reason", "ticket 7", "--json")
    assert json.loads(shown.stdout)["cards"][9] == {"index": 10} | cards_of(order_id, 10)[9]
    refused = service.giftcards("reveal", order_id, "--user", "mallory", "--json")
    unknown = service.giftcards("reveal", "no-such-order", "--user", "mallory", "--json")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == unknown.stderr

    audit_table = service.physical_id("AuditTable")
    records = [
        item
        for item in service.cloud.client("dynamodb").scan(TableName=audit_table)["Items"]
        if item["orderId"]["S"] == order_id
    ]
    written = {(r["userId"]["S"], r["outcome"]["S"], r["reason"]["S"]) for r in records}
    assert written == {("mia", "REVEALED", "ticket 7"), ("mallory", "NOT_FOUND", "")}
    assert all(record["requestedBy"]["S"].startswith("arn:aws:") for record in records)


def test_commands_list_and_show_orders_as_json(service: Service) -> None:
    order_id = service.order(1, fulfil_after=3600)
    placed = service.giftcards("place", order_id, "--user", "nina")
    assert (placed.returncode, placed.stderr) == (0, "")
    service.until_status(order_id, OrderStatus.HANDLING)
    early = service.giftcards("reveal", order_id, "--user", "nina")
    assert (early.returncode, early.stderr) == (1, "giftcards: The order has not been delivered.\n")
    service.supplier.control.change_order(order_id, fulfil_after=0)
    service.until_published(order_id)

    listed = json.loads(service.giftcards("orders", "--user", "nina", "--json").stdout)
    assert [order["orderId"] for order in listed] == [order_id]
    assert json.loads(service.giftcards("orders", "--status", "HELD", "--user", "nina", "--json").stdout) == []
    shown = json.loads(service.giftcards("show", order_id, "--json").stdout)
    contract = {
        "orderId", "userId", "status", "quantity", "fulfilledQuantity", "heldReason", "deliveredAt", "deliveryId",
        "executionArn",
    }  # fmt: skip
    assert contract <= set(shown)
    happened = [moment["what"] for moment in shown["timeline"]]
    assert [what for what in happened if "delayed" not in what] == [
        "placed by the shop",
        "claimed",
        "delivered",
        "announced",
    ]
    assert order_id in service.giftcards("orders").stdout


def test_order_is_watched_and_its_cost_is_counted(service: Service) -> None:
    order_id = service.order(3, fulfil_after=3600)
    with service.watching() as changes:

        def shown() -> list[tuple[str, bool]]:
            return [(change["status"], change["isOpen"]) for change in changes() if change.get("orderId") == order_id]

        service.publish({"orderId": order_id, "userId": "olga"})
        assert wait_for(lambda: ("HANDLING", True) in shown(), within_seconds=MAX_WAIT_SECONDS)
        service.supplier.control.change_order(order_id, fulfil_after=0)
        order = service.until_published(order_id)
        assert wait_for(lambda: ("FULFILLED", False) in shown(), within_seconds=MAX_WAIT_SECONDS)

    history = service.cloud.client("stepfunctions").get_execution_history(
        executionArn=order.execution_arn, maxResults=1000
    )
    transitions = 1 + sum("stateEnteredEventDetails" in event for event in history["events"])
    assert costs.usage(order)["stepFunctionsStateTransitions"] == transitions
    calls = sum(call.order_id == order_id for call in service.supplier.control.calls())
    assert 2 <= calls <= costs.supplier_calls(order)  # a check without a slot makes no call

    stats = json.loads(service.giftcards("stats", "--since", "90m", "--json").stdout)
    assert (stats["delivered"] >= 1, stats["unreadable"]) == (True, [])
    assert stats["supplierCalls"] >= calls
    assert 0 < stats["usdPerOrder"] < 0.01


def test_missing_stack_is_named(service: Service) -> None:
    finished = service.giftcards("orders", "--stack", "nope")
    assert finished.returncode == 1
    assert "there is no stack 'nope'" in finished.stderr


def test_no_card_or_key_leaks(service: Service) -> None:
    searched, leaks = evidence.search(service.evidence(), service.secrets())
    assert searched > 100_000
    assert leaks == []


def test_planted_card_is_found(service: Service) -> None:
    planted = cards_of("no order of this service", 1)[0]["value"]  # no other test searches for this card
    service.publish({"orderId": "planted", "userId": "oscar", "note": planted})

    def leaks() -> list[evidence.Leak]:
        return evidence.search(service.evidence(), [planted])[1]

    assert wait_for(lambda: any(leak.place.startswith("history") for leak in leaks()), within_seconds=20)
