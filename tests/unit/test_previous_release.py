"""Orders of the previous release, with a row for each card, stay readable, restorable and deliverable."""

from datetime import timedelta
from typing import Any

import pytest

from giftcards.adapters import aws
from giftcards.adapters.audit_table import AuditTable
from giftcards.adapters.card_cipher import CardCipher
from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.order_table import OrderTable
from giftcards.contracts.workflow import Outcome
from giftcards.use_cases.deliver_cards import CardDelivery
from giftcards.use_cases.reveal_cards import CardReveal, RevealOutcome, RevealRequest
from support import previous_release
from support.cloud import Cloud
from support.command_line import Giftcards
from support.examples import NOW, POLL_POLICY, USER_ID, step_request
from support.gate import Clock, Measures, supplier_on
from support.previous_release import cards_of, put_rows
from support.secrets import plaintext
from support.supplier import SupplierDouble, answered, order_data

CARDS = {"fulfilled": 3, "partly-filled": 2, "expiring": 2, "unpublished": 2, "without-attempt": 2, "in-pieces": 5}
DELIVERED = pytest.mark.parametrize("order_id", CARDS)


@pytest.fixture
def cipher(cloud: Cloud) -> CardCipher:
    previous_release.use_key(cloud)
    return CardCipher(cloud.key_arn)


@pytest.fixture
def orders(cloud: Cloud) -> OrderTable:
    return OrderTable(cloud.card_table, aws.dynamodb())


@pytest.fixture
def reveal(cloud: Cloud, cipher: CardCipher, orders: OrderTable) -> CardReveal:
    return CardReveal(orders, cipher, AuditTable(cloud.audit_table, aws.dynamodb()), Measures())


@pytest.fixture
def delivery(cloud: Cloud, cipher: CardCipher, orders: OrderTable, supplier: SupplierDouble) -> CardDelivery:
    cloud.set_api_key()
    bus = EventBus(cloud.bus, aws.event_bridge())
    gated = supplier_on(cloud, supplier, Clock())
    return CardDelivery(gated, cipher, orders, bus, POLL_POLICY, card_retention=None, measure=Measures())


def revealed(reveal: CardReveal, order_id: str, indexes: range | None = None) -> Any:
    """Return the cards as the supplier sent them, or the outcome of a refusal."""
    request = RevealRequest(order_id=order_id, user_id=USER_ID)
    answer = reveal.reveal(request, request_id=f"{order_id}-{indexes}", now=NOW, indexes=indexes)
    is_shown = answer.outcome is RevealOutcome.REVEALED
    return [plaintext(card) for card in answer.cards.values()] if is_shown else answer.outcome


@DELIVERED
def test_cards_are_revealed(cloud: Cloud, reveal: CardReveal, order_id: str):
    put_rows(cloud, order_id)

    assert revealed(reveal, order_id) == cards_of(order_id, CARDS[order_id])
    assert revealed(reveal, order_id, range(2, 3)) == cards_of(order_id, 2)[1:]
    assert len(cloud.sent("Decrypt")) == 2


@DELIVERED
def test_missing_or_swapped_cards_hide_all(cloud: Cloud, reveal: CardReveal, order_id: str):
    first, second, *_ = put_rows(cloud, order_id)
    cloud.put(cloud.card_table, first | {"ciphertext": second["ciphertext"]})
    assert revealed(reveal, order_id) is RevealOutcome.CARDS_UNREADABLE

    cloud.delete(cloud.card_table, first)
    assert revealed(reveal, order_id, range(1, 2)) is RevealOutcome.CARDS_UNREADABLE


@DELIVERED
def test_cards_of_another_attempt_hide_all(cloud: Cloud, reveal: CardReveal, order_id: str):
    order = put_rows(cloud, order_id)[-1]
    cloud.put(cloud.card_table, order | {"deliveryAttempt": "another"})

    assert revealed(reveal, order_id) is RevealOutcome.CARDS_UNREADABLE


def test_refunded_order_and_expired_cards_stay_so(cloud: Cloud, reveal: CardReveal):
    put_rows(cloud, "refunded")
    put_rows(cloud, "expiring")
    request = RevealRequest(order_id="expiring", user_id=USER_ID)

    assert revealed(reveal, "refunded") is RevealOutcome.NOT_DELIVERED
    answer = reveal.reveal(request, request_id="request-1", now=NOW + timedelta(days=31))
    assert answer.outcome is RevealOutcome.CARDS_EXPIRED


@pytest.mark.parametrize("order_id", [*CARDS, "refunded"])
def test_missing_order_is_restored(cloud: Cloud, giftcards: Giftcards, orders: OrderTable, order_id: str):
    rows = put_rows(cloud, order_id, cloud.audit_table)

    assert giftcards("restore", "--from", cloud.audit_table).code == 0

    assert cloud.rows(cloud.card_table) == rows
    assert orders.get(order_id) is not None


@DELIVERED
def test_cards_are_restored(cloud: Cloud, giftcards: Giftcards, order_id: str):
    rows = put_rows(cloud, order_id, cloud.audit_table)
    cloud.put(cloud.card_table, rows[-1])
    cloud.put(cloud.card_table, rows[0] | {"ciphertext": b"changed"})

    assert giftcards("restore", order_id, "--from", cloud.audit_table).out == f"cards restored: {CARDS[order_id]}\n"

    assert cloud.rows(cloud.card_table) == rows


@DELIVERED
def test_incomplete_copy_is_restored_as_an_open_order(cloud: Cloud, giftcards: Giftcards, order_id: str):
    rows = put_rows(cloud, order_id, cloud.audit_table)
    cloud.delete(cloud.audit_table, rows[1])
    is_expired = order_id == "expiring"  # long ago

    assert giftcards("restore", "--from", cloud.audit_table).code == 0

    assert cloud.order_row(order_id)["status"] == (rows[-1]["status"] if is_expired else "HANDLING")


def test_order_with_hundreds_of_rows_is_restored_in_several_transactions(cloud: Cloud, giftcards: Giftcards):
    # Given an order of 250 cards in the copy
    *cards, order = previous_release.rows_of("fulfilled")
    rows = [*(cards[0] | {"sk": f"CARD#{index:04d}"} for index in range(1, 251)), order | {"fulfilledQuantity": 250}]
    for row in rows:
        cloud.put(cloud.audit_table, row)
    cloud.forget()

    assert giftcards("restore", "--from", cloud.audit_table).code == 0

    assert cloud.rows(cloud.card_table) == rows
    assert [len(sent["TransactItems"]) for sent in cloud.sent("TransactWriteItems")] == [100, 100, 53]


@pytest.mark.parametrize("sent", [1, 2])
def test_restore_stops_where_the_order_is_claimed_between_transactions(
    cloud: Cloud, giftcards: Giftcards, reveal: CardReveal, sent: int
):
    *cards, order = previous_release.rows_of("fulfilled")
    for index in range(1, 251):
        cloud.put(cloud.audit_table, cards[0] | {"sk": f"CARD#{index:04d}"})
    cloud.put(cloud.audit_table, order | {"fulfilledQuantity": 250})

    def claim() -> None:
        if len(cloud.sent("TransactWriteItems")) == sent + 1:
            cloud.claim("fulfilled")

    cloud.at_next("TransactWriteItems", claim, times=3)

    assert giftcards("restore", "--from", cloud.audit_table).out == "orders restored: 0\n"
    assert cloud.order_row("fulfilled")["status"] == "HANDLING"
    assert revealed(reveal, "fulfilled") is RevealOutcome.NOT_DELIVERED


# ----------------------------------------------- an update during a delivery


def test_closed_order_is_published_by_this_release(cloud: Cloud, delivery: CardDelivery):
    order = put_rows(cloud, "unpublished")[-1]

    assert delivery.deliver(step_request(order_id="unpublished"), now=NOW, jitter=0).outcome is Outcome.CLOSED

    ((kind, detail),) = cloud.announced()
    assert (kind, detail["deliveryId"], detail["fulfilledQuantity"]) == ("CardsDelivered", order["deliveryId"], 2)
    assert cloud.sent("TransactWriteItems") == []


def test_delivery_that_broke_off_in_its_pieces_is_done_again_whole(
    cloud: Cloud, delivery: CardDelivery, supplier: SupplierDouble, reveal: CardReveal
):
    # Given an order that the previous release has written four of five cards of
    put_rows(cloud, "unfinished")
    settled = order_data("PARTIALLY_FILLED", 6) | {"_id": "unfinished"}
    supplier.will(answered(settled))

    # When this release delivers it, and the supplier has changed its answer
    assert delivery.deliver(step_request(order_id="unfinished"), now=NOW, jitter=0).outcome is Outcome.CLOSED

    # Then the user sees these cards and no others
    assert revealed(reveal, "unfinished") == settled["cards"]
    assert "deliveryAttempt" not in cloud.order_row("unfinished")


def test_piece_on_its_way_is_refused_once_this_release_has_delivered(
    cloud: Cloud, delivery: CardDelivery, supplier: SupplierDouble
):
    put_rows(cloud, "unfinished")
    supplier.will(answered(order_data("FULFILLED", 2) | {"_id": "unfinished"}))
    delivery.deliver(step_request(order_id="unfinished"), now=NOW, jitter=0)
    before = cloud.rows(cloud.card_table)

    with pytest.raises(aws.dynamodb().exceptions.TransactionCanceledException):
        aws.dynamodb().transact_write_items(TransactItems=previous_release.piece_on_its_way(cloud))  # type: ignore[arg-type]

    assert cloud.rows(cloud.card_table) == before


def test_piece_on_its_way_that_arrives_first_is_the_delivery(
    cloud: Cloud, delivery: CardDelivery, supplier: SupplierDouble, reveal: CardReveal
):
    # Given this release's delivery, which the last piece of the previous one precedes by a moment
    put_rows(cloud, "unfinished")
    supplier.will(answered(order_data("FULFILLED", 2) | {"_id": "unfinished"}))
    piece = previous_release.piece_on_its_way(cloud)

    def send_piece() -> None:
        with cloud._aside():
            aws.dynamodb().transact_write_items(TransactItems=piece)  # type: ignore[arg-type]

    cloud.at_next("TransactWriteItems", send_piece)

    # When it stores its cards
    assert delivery.deliver(step_request(order_id="unfinished"), now=NOW, jitter=0).outcome is Outcome.CLOSED

    # Then the previous delivery stays, and is published
    assert revealed(reveal, "unfinished") == cards_of("unfinished", 5)
    ((_, detail),) = cloud.announced()
    assert detail["fulfilledQuantity"] == 5
