"""`giftcards restore ORDER_ID` puts back the cards of the delivery that is in force, and of no other."""

import pytest

from unit.fakes import ORDER_ID, Cloud, Giftcards, Said

CLOSED = {"status": "FULFILLED", "deliveryId": "the-one-that-all-deliveries-of-the-order-have"}


@pytest.fixture
def copy(cloud: Cloud) -> str:
    """Give a table that has the order as it was delivered first; the audit table has the keys of the card table."""
    cloud.claim()
    cloud.put(cloud.card_table, cloud.order_row() | CLOSED | {"deliveryAttempt": "first"})
    cloud.put(cloud.audit_table, cloud.order_row())
    cloud.put(cloud.audit_table, {"pk": f"ORDER#{ORDER_ID}", "sk": "CARD#0001", "ciphertext": b"of the first"})
    return cloud.audit_table


def test_cards_of_the_same_attempt_are_put_back(cloud: Cloud, giftcards: Giftcards, copy: str):
    assert giftcards("restore", ORDER_ID, "--from", copy) == Said(0, "cards put back: 1\n", "")
    assert [bytes(row["ciphertext"].value) for row in cloud.card_rows()] == [b"of the first"]


def test_cards_of_a_later_attempt_are_not_overwritten(cloud: Cloud, giftcards: Giftcards, copy: str):
    cloud.put(cloud.card_table, cloud.order_row() | {"deliveryAttempt": "second"})
    cloud.put(cloud.card_table, {"pk": f"ORDER#{ORDER_ID}", "sk": "CARD#0001", "ciphertext": b"of the second"})
    before = cloud.rows(cloud.card_table)

    said = giftcards("restore", ORDER_ID, "--from", copy)

    assert said.err == f"giftcards: order {ORDER_ID} is not the one of the copy: it was delivered later, or not yet\n"
    assert (said.code, said.out, cloud.rows(cloud.card_table)) == (1, "", before)
