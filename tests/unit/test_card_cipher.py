"""Cards are encrypted for one delivery of an order to its user, and decrypted for nothing else."""

import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import rows
from giftcards.adapters.card_cipher import CardCipher, CardUnreadableError, KeyUnavailableError
from giftcards.contracts.supplier import Card
from giftcards.rules import card_rows
from giftcards.rules.orders import Order
from support.cloud import Cloud, card_cipher, client_error
from support.examples import NOW, ORDER_ID, USER_ID
from support.secrets import MARK, card_data, cards, leaks, plaintext

AWKWARD = [
    '"quotes"',
    "back\\slash",
    "line\nbreak\r\n\t",
    "é ü ß",
    "卡片 🎁",
    "\u2028\u0000\x7f",
    "{}[]:,",
    " ",
    "null",
    "x" * 2_048,
]

Refused = Callable[..., str]


def card(value: str, serial: str = "s") -> Card:
    return Card.model_validate({"value": value, "serial": serial})


def delivered(count: int = 1, **changes: Any) -> Order:
    """Return a delivered order with this number of cards."""
    row = rows.closed(rows.claimed(), count, cardRows=[1])
    return Order.model_validate(row).model_copy(update=changes)


def sealed(cipher: CardCipher, count: int = 1, **changes: Any) -> dict[int, bytes]:
    return cipher.encrypt(delivered(count, **changes), cards(count))


@pytest.fixture
def row_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each card a row, so that small orders have several."""
    monkeypatch.setattr(card_rows, "CARDS_PER_ROW", 1)


@pytest.fixture
def refused(cipher: CardCipher) -> Refused:
    """Decrypt ciphertexts that must be refused, and return the error's text."""

    def refused(ciphertexts: Mapping[int, bytes], count: int = 1) -> str:
        with pytest.raises(CardUnreadableError) as refusal:
            cipher.decrypt(delivered(count), ciphertexts)
        error = refusal.value
        texts = [error, repr(error), error.__context__, repr(error.__context__)]
        assert not leaks(*texts), "the error shows a card"
        assert error.__cause__ is None
        return str(error)

    return refused


# --------------------------------------------------------------- round trip


@pytest.mark.parametrize(("count", "firsts"), [(1, [1]), (100, [1]), (101, [1, 101]), (250, [1, 101, 201])])
def test_order_of_any_size_uses_one_data_key(cipher: CardCipher, cloud: Cloud, count: int, firsts: list[int]):
    cloud.forget()
    ciphertexts = sealed(cipher, count)
    assert [operation for operation, _ in cloud.calls] == ["GenerateDataKey"]
    assert list(ciphertexts) == firsts
    cloud.forget()

    read = cipher.decrypt(delivered(count), ciphertexts)

    assert [operation for operation, _ in cloud.calls] == ["Decrypt"]
    assert [*read] == [*range(1, count + 1)]
    assert [plaintext(card) for card in read.values()] == card_data(count)


def test_some_rows_of_an_order_can_be_decrypted_alone(cipher: CardCipher):
    read = cipher.decrypt(delivered(250), {101: sealed(cipher, 250)[101]})

    assert [plaintext(card) for card in read.values()] == card_data(250)[100:200]
    assert [*read] == [*range(101, 201)]


def test_key_is_asked_for_with_order_and_user_and_nothing_else(cipher: CardCipher, cloud: Cloud):
    cipher.decrypt(delivered(), sealed(cipher))

    for operation in ("GenerateDataKey", "Decrypt"):
        (params,) = cloud.sent(operation)
        assert params["EncryptionContext"] == {"orderId": ORDER_ID, "userId": USER_ID}
        assert params["KeyId"] == cloud.key_arn


def test_data_key_is_not_cached_across_calls(cipher: CardCipher, cloud: Cloud):
    first, second = sealed(cipher), sealed(cipher)
    cipher.decrypt(delivered(), first)
    cipher.decrypt(delivered(), first)

    assert len(cloud.sent("GenerateDataKey")) == len(cloud.sent("Decrypt")) == 2
    assert first != second


def test_no_cards_cost_nothing(cipher: CardCipher, cloud: Cloud):
    cloud.forget()

    assert cipher.encrypt(delivered(0), []) == {}
    assert cipher.decrypt(delivered(), {}) == {}
    assert cloud.calls == []


@pytest.mark.parametrize("text", AWKWARD)
def test_any_card_round_trips_unchanged(cipher: CardCipher, text: str):
    ciphertexts = cipher.encrypt(delivered(), [card(text, serial=text[::-1])])

    read = cipher.decrypt(delivered(), ciphertexts)[1]

    assert plaintext(read) == {"value": text, "serial": text[::-1]}


def test_ciphertext_holds_neither_value_nor_serial(cipher: CardCipher):
    for ciphertext in sealed(cipher, 3).values():
        assert MARK.encode() not in ciphertext
        assert not leaks(ciphertext, ciphertext.decode("latin-1"))


def test_the_same_card_is_never_encrypted_to_the_same_bytes(cipher: CardCipher):
    assert len({cipher.encrypt(delivered(), [card("same")])[1] for _ in range(5)}) == 5


def test_nothing_of_a_card_is_in_its_text_or_in_a_warning(cipher: CardCipher):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        read = cipher.decrypt(delivered(), sealed(cipher))

    assert not leaks(read, repr(read), repr(cipher), *(warning.message for warning in warned))


# ----------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "of_another",
    [
        {"user_id": "another"},
        {"order_id": "another"},
        {"order_id": USER_ID, "user_id": ORDER_ID},
        {"delivered_at": NOW - timedelta(milliseconds=1)},
        {"fulfilled_quantity": 2},
        {"fulfilled_quantity": None},
        {"delivered_at": None},
    ],
)
def test_cards_of_another_user_order_or_delivery_are_refused(
    cipher: CardCipher, refused: Refused, of_another: dict[str, Any]
):
    assert refused(sealed(cipher, **of_another)).startswith("cards from 1 on ")


def test_row_at_another_index_is_refused(cipher: CardCipher, refused: Refused):
    assert refused({2: sealed(cipher)[1]}).startswith("cards from 2 on ")


@pytest.mark.usefixtures("row_each")
def test_swapped_rows_are_refused(cipher: CardCipher, refused: Refused):
    ciphertexts = sealed(cipher, 2)

    assert refused({1: ciphertexts[2], 2: ciphertexts[1]}, 2).startswith("cards from 1 on ")


@pytest.mark.usefixtures("row_each")
def test_row_stored_twice_is_refused(cipher: CardCipher, refused: Refused):
    ciphertexts = sealed(cipher, 2)

    assert refused({1: ciphertexts[1], 2: ciphertexts[1]}, 2).startswith("cards from 2 on ")


@pytest.mark.usefixtures("row_each")
def test_last_row_cannot_be_dropped_by_lowering_the_count(cipher: CardCipher, refused: Refused):
    ciphertexts = sealed(cipher, 3)

    assert refused({1: ciphertexts[1], 2: ciphertexts[2]}, 2).startswith("cards from 1 on ")


@pytest.mark.usefixtures("row_each")
def test_bad_row_hides_all_cards_of_the_order(cipher: CardCipher, refused: Refused):
    ciphertexts = sealed(cipher, 3) | {2: sealed(cipher, 3, user_id="another")[2]}

    assert refused(ciphertexts, 3).startswith("cards from 2 on ")


def test_cards_under_another_key_are_refused_without_a_kms_call(cloud: Cloud, refused: Refused):
    ciphertexts = sealed(card_cipher(cloud.create_key()))

    assert refused(ciphertexts)
    assert cloud.sent("Decrypt") == []


@pytest.mark.parametrize("plaintext", [b"", b"{}", b"5", f'{{"index": 1, "card": "{MARK}"}}'.encode(), MARK.encode()])
def test_what_is_no_card_is_refused(cipher: CardCipher, refused: Refused, plaintext: bytes):
    context = {"orderId": ORDER_ID, "userId": USER_ID}
    ciphertext, _ = cipher._client.encrypt(
        source=plaintext, materials_manager=cipher._materials(), encryption_context=context
    )

    assert refused({1: ciphertext}).startswith("cards from 1 on ")


@pytest.mark.parametrize(
    "error",
    [
        *(
            client_error("Decrypt", code)
            for code in ("AccessDeniedException", "ThrottlingException", "DisabledException")
        ),
        EndpointConnectionError(endpoint_url="https://kms.test"),
    ],
    ids=["denied", "throttled", "disabled", "not reached"],
)
def test_unusable_key_is_an_error_of_the_key(cipher: CardCipher, cloud: Cloud, error: Exception):
    ciphertexts = sealed(cipher)
    cloud.at_next("Decrypt", error)

    with pytest.raises(KeyUnavailableError) as refusal:
        cipher.decrypt(delivered(), ciphertexts)

    assert str(refusal.value) in {
        "AccessDeniedException",
        "ThrottlingException",
        "DisabledException",
        type(error).__name__,
    }
    assert cipher.decrypt(delivered(), ciphertexts)


# ---------------------------------------------------------------- tampering

LENGTH = 530
"""Approximate length of a ciphertext; a position past its end is cut."""
tampering = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


@tampering
@given(position=st.integers(0, LENGTH), bit=st.integers(0, 7))
@example(position=LENGTH, bit=0)  # the tag
@example(position=LENGTH - 17, bit=0)  # the card
@example(position=100, bit=7)  # the encryption context
def test_any_changed_bit_is_refused(cipher: CardCipher, position: int, bit: int):
    ciphertext = bytearray(sealed(cipher)[1])
    ciphertext[min(position, len(ciphertext) - 1)] ^= 1 << bit

    # moto keeps the key's id in what it encrypts; AWS answers InvalidCiphertextException to every changed bit.
    with pytest.raises(
        (CardUnreadableError, KeyUnavailableError), match=r"cards from 1 on|NotFoundException|AccessDenied"
    ):
        cipher.decrypt(delivered(), {1: bytes(ciphertext)})


@tampering
@given(length=st.integers(0, LENGTH))
def test_ciphertext_that_is_cut_anywhere_is_refused(cipher: CardCipher, refused: Refused, length: int):
    ciphertext = sealed(cipher)[1]

    assert "cards from 1 on" in refused({1: ciphertext[: min(length, len(ciphertext) - 1)]})


@tampering
@given(st.binary(max_size=600))
def test_any_bytes_that_are_no_ciphertext_are_refused(refused: Refused, noise: bytes):
    assert "cards from 1 on" in refused({1: noise})


@tampering
@given(st.binary(max_size=600))
def test_any_bytes_that_begin_as_a_ciphertext_are_refused(cipher: CardCipher, refused: Refused, noise: bytes):
    assert "cards from 1 on" in refused({1: sealed(cipher)[1][:60] + noise})
