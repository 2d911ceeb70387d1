"""RevealCards returns cards to their own user only, after it has written the audit record."""

import itertools
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import ValidationError

from giftcards.adapters import aws
from giftcards.adapters.audit_table import AuditTable
from giftcards.adapters.card_cipher import CardCipher
from giftcards.adapters.order_table import CardsNotReadError, OrderTable
from giftcards.contracts.supplier import SettledOrder
from giftcards.rules import card_rows
from giftcards.rules.orders import Order, close, with_card_expiry
from giftcards.use_cases import reveal_cards
from giftcards.use_cases.reveal_cards import MESSAGES, CardReveal, Revealed, RevealOutcome, RevealRequest
from support.cloud import Cloud, client_error
from support.examples import NOW, ORDER_ID, USER_ID
from support.gate import Measures
from support.secrets import card_data, cards, leaks, plaintext
from support.supplier import order_data

Reveal = Callable[..., Revealed]


@pytest.fixture
def orders(cloud: Cloud) -> OrderTable:
    return OrderTable(cloud.card_table, aws.dynamodb())


@pytest.fixture
def reveal(cloud: Cloud, cipher: CardCipher, orders: OrderTable) -> Reveal:
    """Reveal the cards of an order, by default as its user."""
    card_reveal = CardReveal(orders, cipher, AuditTable(cloud.audit_table, aws.dynamodb()), Measures())
    numbers = itertools.count(1)

    def reveal(**asked: Any) -> Revealed:
        fields = {"orderId": ORDER_ID, "userId": USER_ID, "requestedBy": "shop", "reason": "first look"}
        request = RevealRequest.model_validate(fields | asked)
        revealed = card_reveal.reveal(request, request_id=f"request-{next(numbers)}", now=NOW)
        assert not leaks(repr(revealed), repr(cloud.rows(cloud.audit_table)))
        return revealed

    return reveal


@pytest.fixture
def delivered(cloud: Cloud, cipher: CardCipher, orders: OrderTable) -> Callable[..., None]:
    """Deliver an order."""

    def delivered(
        order_id: str = ORDER_ID,
        user_id: str = USER_ID,
        status: str = "FULFILLED",
        quantity: int = 3,
        retention: timedelta | None = None,
    ) -> None:
        cloud.claim(order_id, user_id)
        order = orders.get(order_id)
        assert order is not None
        settled = SettledOrder.model_validate(order_data(status, quantity))
        closed = with_card_expiry(close(order, settled, NOW - timedelta(days=1), checks=1), retention)
        orders.close(closed, cipher.encrypt(closed, settled.cards))
        cloud.forget()

    return delivered


@pytest.fixture(autouse=True)
def _two_cards_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give three cards two rows."""
    monkeypatch.setattr(card_rows, "CARDS_PER_ROW", 2)


@pytest.fixture
def earlier(cloud: Cloud, cipher: CardCipher, delivered: Callable[..., None]) -> list[dict[str, Any]]:
    """Deliver the order, lose its rows and deliver it again; returns the card rows of the first delivery."""
    delivered(quantity=3)
    rows = cloud.card_rows()
    order = Order.model_validate(cloud.order_row()).model_copy(update={"delivered_at": NOW - timedelta(days=2)})
    sealed = cipher.encrypt(order, cards(3))
    cloud.forget()
    return [row | {"ciphertext": ciphertext} for row, ciphertext in zip(rows, sealed.values(), strict=True)]


def outcomes_written_down(cloud: Cloud) -> list[str]:
    return [row["outcome"] for row in cloud.rows(cloud.audit_table)]


def assert_not_shown(cloud: Cloud, revealed: Revealed, outcome: RevealOutcome) -> None:
    assert revealed == Revealed(outcome, {})
    assert outcomes_written_down(cloud) == [outcome]


# ----------------------------------------------------------------- revealing


@pytest.mark.parametrize(("status", "shown"), [("FULFILLED", 10), ("PARTIALLY_FILLED", 5)])
def test_user_sees_the_cards_for_one_kms_call(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal, status: str, shown: int
):
    delivered(status=status, quantity=10)

    revealed = reveal()

    assert revealed.outcome is RevealOutcome.REVEALED
    assert [plaintext(revealed.cards[index]) for index in range(1, shown + 1)] == card_data(shown)
    assert [operation for operation, _ in cloud.calls] == ["GetItem", "TransactGetItems", "Decrypt", "PutItem"]


def test_audit_record_has_requester_user_and_reason(cloud: Cloud, delivered: Callable[..., None], reveal: Reveal):
    delivered()

    reveal(requestedBy="support@shop.test", reason="ticket 5")

    (row,) = cloud.rows(cloud.audit_table)
    assert (row["orderId"], row["userId"]) == (ORDER_ID, USER_ID)
    assert (row["requestedBy"], row["requestId"], row["reason"]) == ("support@shop.test", "request-1", "ticket 5")
    assert row["outcome"] == "REVEALED"


def test_cards_are_not_shown_when_it_cannot_be_written_down(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal
):
    delivered()
    cloud.at_next("PutItem", client_error("PutItem"))

    with pytest.raises(ClientError) as error:
        reveal()

    assert not leaks(error.value, repr(error.value))
    assert cloud.rows(cloud.audit_table) == []


def test_cards_can_be_seen_again_and_each_time_is_written_down(
    cloud: Cloud, delivered: Callable[..., None], cipher: CardCipher, orders: OrderTable
):
    delivered()
    card_reveal = CardReveal(orders, cipher, AuditTable(cloud.audit_table, aws.dynamodb()), Measures())
    request = RevealRequest(order_id=ORDER_ID, user_id=USER_ID)

    for number in range(3):
        assert len(card_reveal.reveal(request, request_id=f"request-{number}", now=NOW).cards) == 3

    assert outcomes_written_down(cloud) == ["REVEALED"] * 3


# ------------------------------------------------------------------ not shown


def test_another_user_is_answered_like_an_unknown_order(cloud: Cloud, delivered: Callable[..., None], reveal: Reveal):
    delivered()

    of_another = reveal(userId="another")
    unknown = reveal(orderId="unknown")

    assert of_another == unknown == Revealed(RevealOutcome.NOT_FOUND, {})
    assert cloud.sent("Decrypt") == []
    assert [(row["orderId"], row["userId"], row["outcome"]) for row in cloud.rows(cloud.audit_table)] == [
        (ORDER_ID, "another", "NOT_FOUND"),
        ("unknown", USER_ID, "NOT_FOUND"),
    ]


@pytest.mark.parametrize("held", [False, True])
def test_order_that_is_open_or_held_shows_nothing(cloud: Cloud, reveal: Reveal, held: bool):
    cloud.claim()
    if held:
        cloud.hold()

    assert_not_shown(cloud, reveal(), RevealOutcome.NOT_DELIVERED)


def test_another_user_does_not_learn_that_an_order_is_open(cloud: Cloud, reveal: Reveal):
    cloud.claim()

    assert_not_shown(cloud, reveal(userId="another"), RevealOutcome.NOT_FOUND)


def test_refunded_order_shows_nothing(cloud: Cloud, delivered: Callable[..., None], reveal: Reveal):
    delivered(status="REFUNDED")

    assert_not_shown(cloud, reveal(), RevealOutcome.NOT_DELIVERED)


def test_cards_of_a_delivery_that_broke_off_are_not_believed(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal
):
    delivered()
    cloud.claim()  # the row of an open order, with cards

    assert_not_shown(cloud, reveal(), RevealOutcome.NOT_DELIVERED)


@pytest.mark.parametrize("deleted", range(3))
def test_cards_past_their_retention_are_gone(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal, deleted: int
):
    delivered(retention=timedelta(days=1))
    for row in cloud.card_rows()[:deleted]:
        cloud.delete(cloud.card_table, row)

    assert_not_shown(cloud, reveal(), RevealOutcome.CARDS_EXPIRED)


# -------------------------------------------------------------- large orders


def test_requested_cards_are_revealed_and_no_other_row_is_read(
    cloud: Cloud, cipher: CardCipher, orders: OrderTable, delivered: Callable[..., None]
):
    delivered(quantity=9)
    card_reveal = CardReveal(orders, cipher, AuditTable(cloud.audit_table, aws.dynamodb()), Measures())
    request = RevealRequest(order_id=ORDER_ID, user_id=USER_ID)

    revealed = card_reveal.reveal(request, request_id="request-1", now=NOW, indexes=range(4, 7))

    assert {index: plaintext(card) for index, card in revealed.cards.items()} == dict(
        zip(range(4, 7), card_data(9)[3:6], strict=True)
    )
    (sent,) = cloud.sent("TransactGetItems")
    assert [item["Get"]["Key"]["sk"] for item in sent["TransactItems"]] == ["CARDS#00003", "CARDS#00005"]


@pytest.mark.parametrize(("room", "sizes"), [(10_000_000, [9]), (700, [5, 4]), (300, [2, 2, 2, 2, 1])])
def test_answer_has_as_many_cards_as_fit_and_names_the_next(
    delivered: Callable[..., None],
    reveal: Reveal,
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    sizes: list[int],
):
    monkeypatch.setattr(reveal_cards, "MAX_ANSWER_BYTES", room)
    delivered(quantity=9)

    answers, next_index = [], 1
    while next_index is not None:
        answers.append(reveal(fromIndex=next_index).to_json())
        next_index = answers[-1]["nextIndex"]

    assert [len(answer["cards"]) for answer in answers] == sizes
    assert all(len(json.dumps(answer["cards"])) <= room for answer in answers)
    shown = [card for answer in answers for card in answer["cards"]]
    assert shown == [{"index": index} | card for index, card in enumerate(card_data(9), start=1)]


def test_answer_without_cards_has_no_next(delivered: Callable[..., None], reveal: Reveal):
    delivered()

    assert reveal(fromIndex=4).to_json() == {"outcome": "REVEALED", "message": "", "cards": [], "nextIndex": None}
    assert reveal(userId="another").to_json()["nextIndex"] is None


# -------------------------------------------------- during the closing transaction


def test_cards_still_being_written_are_not_ready(cloud: Cloud, cipher: CardCipher, delivered: Callable[..., None]):
    delivered()
    code = "TransactionCanceledException"
    conflict = aws.dynamodb().exceptions.TransactionCanceledException({"Error": {"Code": code}}, "TransactGetItems")
    cloud.at_next("TransactGetItems", conflict, times=100)
    orders = OrderTable(cloud.card_table, aws.dynamodb(), pause=lambda _seconds: None)
    card_reveal = CardReveal(orders, cipher, AuditTable(cloud.audit_table, aws.dynamodb()), Measures())

    with pytest.raises(CardsNotReadError):
        card_reveal.reveal(RevealRequest(order_id=ORDER_ID, user_id=USER_ID), request_id="request-1", now=NOW)

    assert outcomes_written_down(cloud) == []


# ----------------------------------------------------------------- tampering


@pytest.mark.parametrize("position", range(2))
def test_missing_row_shows_none_of_them(cloud: Cloud, delivered: Callable[..., None], reveal: Reveal, position: int):
    delivered()
    cloud.delete(cloud.card_table, cloud.card_rows()[position])

    assert_not_shown(cloud, reveal(), RevealOutcome.CARDS_UNREADABLE)


@pytest.mark.parametrize("retention", [None, timedelta(days=2)])
def test_cards_gone_before_their_expiry_are_tampering(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal, retention: timedelta | None
):
    delivered(retention=retention)
    for row in cloud.card_rows():
        cloud.delete(cloud.card_table, row)

    assert_not_shown(cloud, reveal(), RevealOutcome.CARDS_UNREADABLE)


@pytest.mark.parametrize("change", [{"ciphertext": "text"}, {"ciphertext": None}, {"expiresAt": "soon"}])
def test_malformed_card_row_hides_all_cards_and_is_audited(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal, change: dict[str, Any]
):
    delivered()
    cloud.put(cloud.card_table, cloud.card_rows()[1] | change)

    assert_not_shown(cloud, reveal(), RevealOutcome.CARDS_UNREADABLE)


def test_malformed_order_row_hides_all_cards_and_is_audited(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal
):
    delivered()
    cloud.put(cloud.card_table, cloud.order_row() | {"status": "WONDERFUL"})

    assert_not_shown(cloud, reveal(), RevealOutcome.CARDS_UNREADABLE)


def test_row_of_an_earlier_delivery_hides_all_cards(cloud: Cloud, reveal: Reveal, earlier: list[dict[str, Any]]):
    cloud.put(cloud.card_table, earlier[0])

    assert_not_shown(cloud, reveal(), RevealOutcome.CARDS_UNREADABLE)


def test_rows_beyond_those_of_the_order_row_are_ignored(cloud: Cloud, reveal: Reveal, earlier: list[dict[str, Any]]):
    cloud.put(cloud.card_table, earlier[1] | {"sk": "CARDS#00005"})
    cloud.put(cloud.card_table, earlier[1] | {"sk": "CARD#0001"})

    assert [plaintext(card) for card in reveal().cards.values()] == card_data(3)


@pytest.mark.parametrize(
    "change",
    [
        {"fulfilledQuantity": 2, "cardRows": [1]},
        {"fulfilledQuantity": 4},
        {"cardRows": [1]},
        {"cardRows": [3, 1]},
        {"cardRows": []},
        {"cardRows": "all"},
        {"cardRows": None},
        {"deliveredAt": "2026-03-14T09:26:52.999Z"},
    ],
)
def test_order_row_that_disagrees_with_its_cards_hides_all_cards(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal, change: dict[str, Any]
):
    delivered()
    cloud.put(cloud.card_table, cloud.order_row() | change)

    assert_not_shown(cloud, reveal(), RevealOutcome.CARDS_UNREADABLE)


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException", "KMSInternalException"])
def test_key_that_cannot_be_used_now_is_no_verdict_on_the_cards(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal, code: str
):
    delivered()
    cloud.at_next("Decrypt", client_error("Decrypt", code))

    assert_not_shown(cloud, reveal(), RevealOutcome.KEY_UNAVAILABLE)


@pytest.mark.parametrize("position", [0, 100, -17, -1])
def test_changed_ciphertext_hides_all_cards_and_is_audited(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal, position: int
):
    delivered()
    row = cloud.card_rows()[1]
    ciphertext = bytearray(row["ciphertext"].value)
    ciphertext[position] ^= 0x80
    cloud.put(cloud.card_table, row | {"ciphertext": bytes(ciphertext)})

    assert_not_shown(cloud, reveal(), RevealOutcome.CARDS_UNREADABLE)


def test_swapped_rows_show_none_of_the_cards(cloud: Cloud, delivered: Callable[..., None], reveal: Reveal):
    delivered()
    first, second = cloud.card_rows()
    cloud.put(cloud.card_table, first | {"ciphertext": second["ciphertext"]})
    cloud.put(cloud.card_table, second | {"ciphertext": first["ciphertext"]})

    assert_not_shown(cloud, reveal(), RevealOutcome.CARDS_UNREADABLE)


def test_cards_copied_into_an_order_of_ones_own_are_not_shown(
    cloud: Cloud, delivered: Callable[..., None], reveal: Reveal
):
    # Given an order of another user, and one of the intruder
    delivered()
    delivered("intruders", "intruder")

    # When the intruder copies the cards over
    for mine, theirs in zip(cloud.card_rows("intruders"), cloud.card_rows(), strict=True):
        cloud.put(cloud.card_table, mine | {"ciphertext": theirs["ciphertext"]})

    # Then they stay unreadable
    assert_not_shown(cloud, reveal(orderId="intruders", userId="intruder"), RevealOutcome.CARDS_UNREADABLE)


def test_order_row_of_another_user_reveals_no_cards(cloud: Cloud, delivered: Callable[..., None], reveal: Reveal):
    delivered()
    cloud.put(cloud.card_table, cloud.order_row() | {"userId": "intruder"})

    assert_not_shown(cloud, reveal(userId="intruder"), RevealOutcome.CARDS_UNREADABLE)


# -------------------------------------------------------------------- request


@pytest.mark.parametrize(
    "wrong",
    [
        {"orderId": ""},
        {"orderId": "a b"},
        {"orderId": "line\n"},
        {"userId": "x" * 129},
        {"userId": None},
        {"requestedBy": "x" * 257},
        {"reason": "x" * 513},
    ],
)
def test_invalid_request_is_refused_by_its_field(wrong: dict[str, Any]):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RevealRequest.model_validate({"orderId": ORDER_ID, "userId": USER_ID} | wrong)


def test_every_outcome_of_a_valid_request_has_its_message():
    assert set(MESSAGES) == set(RevealOutcome) - {RevealOutcome.INVALID_REQUEST}
