"""Envelope encryption of cards with the AWS Encryption SDK.

A ciphertext holds the cards of one row, up to 100 of them or more: a call of the SDK takes 0.2 ms, whatever it
encrypts. All ciphertexts of an order share one data key: one GenerateDataKey call to encrypt them, one Decrypt call to
decrypt them.

The encryption context ``{orderId, userId}`` is bound to every ciphertext and checked on decryption. The plaintext also
has the index of its first card, the number of cards in the order and the time of the delivery. So a row that was copied
to another order, user or place, or that is of another delivery of the order, is rejected, and a row that is missing is
noticed whatever the order row says.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aws_encryption_sdk import (
    CachingCryptoMaterialsManager,
    CommitmentPolicy,
    EncryptionSDKClient,
    LocalCryptoMaterialsCache,
    StrictAwsKmsMasterKeyProvider,
)
from aws_encryption_sdk.identifiers import Algorithm
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.supplier import Card
from giftcards.rules.card_rows import grouped
from giftcards.rules.orders import Order

_ALGORITHM = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
"""Key commitment without signatures: no role can both encrypt and decrypt, so a signature would add nothing."""
_DATA_KEY_SECONDS = 60.0
_CIPHERTEXT_ERRORS = {"InvalidCiphertextException", "IncorrectKeyException"}
"""KMS's errors for a changed ciphertext or encryption context. Its other errors concern the key or KMS itself."""


class CardUnreadableError(Exception):
    """A stored row is not the one of this order, user, place and delivery. The message says which check failed."""


class KeyUnavailableError(Exception):
    """KMS cannot decrypt now; the card may be intact. The message is KMS's error code."""


class _SealedCards(BaseModel):
    """What a ciphertext holds.

    Attributes
    ----------
    first
        Index of the first of the cards, from 1.
    total
        Number of cards in the order.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    first: int
    total: int
    delivered_at: AwareDatetime
    cards: tuple[Card, ...]

    def mismatch(self, order: Order, first: int) -> str | None:
        """Return why these are not the cards of an order from this index on; None if they are."""
        if self.first != first:
            return "were stored at another index"
        if self.delivered_at != order.delivered_at:
            return "are not from the delivery that closed the order"
        return None if self.total == order.fulfilled_quantity else "are of an order with another number of cards"


class _SealedCard(BaseModel):
    """The same of earlier releases, which encrypted each card alone."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    index: int
    attempt: str | None = None
    card: Card

    @property
    def cards(self) -> tuple[Card, ...]:
        return (self.card,)

    def mismatch(self, order: Order, first: int) -> str | None:
        if self.index != first:
            return "were stored at another index"
        return None if self.attempt == order.delivery_attempt else "are not from the delivery that closed the order"


class CardCipher:
    """Encrypts and decrypts the cards of an order.

    Parameters
    ----------
    key_arn
        Customer managed key that wraps the data keys.
    session
        botocore session for the KMS client; None for a default one.
    """

    def __init__(self, key_arn: str, session: Session | None = None) -> None:
        session = session or Session()
        session.register("after-call.kms.Decrypt", self._note_error)
        self._kms_error: str | None = None
        self._master_key = StrictAwsKmsMasterKeyProvider(key_ids=[key_arn], botocore_session=session)
        self._client = EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)

    def encrypt(self, order: Order, cards: Sequence[Card]) -> dict[int, bytes]:
        """Encrypt all cards of a closed order, in this sequence, with one data key.

        Returns
        -------
        A ciphertext for each row, by the index of its first card, from 1.
        """
        materials = self._materials()
        # No variable holds a text while the SDK calls KMS: whatever dumps frames would show it.
        return {
            row.start + 1: self._client.encrypt(
                source=_plaintext(order, row.start + 1, cards[row.start : row.stop]),
                materials_manager=materials,
                encryption_context=_context(order),
                algorithm=_ALGORITHM,
            )[0]
            for row in grouped([len(_text_of(card)) for card in cards])
        }

    def decrypt(self, order: Order, ciphertexts: Mapping[int, bytes]) -> dict[int, Card]:
        """Decrypt cards of a closed order, from rows of this release or of an earlier one.

        Parameters
        ----------
        ciphertexts
            By the index of the first card in each.

        Returns
        -------
        The cards by index.

        Raises
        ------
        CardUnreadableError
            If any of them does not hold the cards of this order, user, delivery and index.
        KeyUnavailableError
            If KMS cannot decrypt now.
        """
        materials = self._materials()
        cards: dict[int, Card] = {}
        for first, ciphertext in ciphertexts.items():
            sealed = self._open(order, first, ciphertext, materials)
            if mismatch := sealed.mismatch(order, first):
                raise CardUnreadableError(f"cards from {first} on {mismatch}")
            cards |= enumerate(sealed.cards, start=first)
        return cards

    def _open(
        self, order: Order, first: int, ciphertext: bytes, materials: CachingCryptoMaterialsManager
    ) -> _SealedCards | _SealedCard:
        self._kms_error = None
        try:
            plaintext, header = self._client.decrypt(source=ciphertext, materials_manager=materials)
        except BotoCoreError as error:
            raise KeyUnavailableError(type(error).__name__) from None
        except Exception as error:  # noqa: BLE001 - a changed byte shows in many ways: bad tag, bad text, bad length
            if self._kms_error is not None and self._kms_error not in _CIPHERTEXT_ERRORS:
                raise KeyUnavailableError(self._kms_error) from None
            raise CardUnreadableError(f"cards from {first} on cannot be decrypted ({type(error).__name__})") from None
        context = _context(order)
        if {name: header.encryption_context.get(name) for name in context} != context:
            raise CardUnreadableError(f"cards from {first} on belong to another order or user")
        try:
            return (_SealedCard if order.card_rows is None else _SealedCards).model_validate_json(plaintext)
        except ValidationError:
            raise CardUnreadableError(f"cards from {first} on have no valid content") from None

    def _note_error(self, **call: Any) -> None:
        """Keep KMS's error code, which the SDK does not expose."""
        self._kms_error = call["parsed"].get("Error", {}).get("Code")

    def _materials(self) -> CachingCryptoMaterialsManager:
        """Cache one data key for the cards of one call."""
        return CachingCryptoMaterialsManager(
            master_key_provider=self._master_key,
            cache=LocalCryptoMaterialsCache(capacity=1),
            max_age=_DATA_KEY_SECONDS,
        )


def _context(order: Order) -> dict[str, str]:
    return {"orderId": order.order_id, "userId": order.user_id}


def _plaintext(order: Order, first: int, cards: Sequence[Card]) -> bytes:
    at = None if order.delivered_at is None else timestamp(order.delivered_at)
    begin = json.dumps({"first": first, "total": order.fulfilled_quantity, "delivered_at": at}).encode()
    return begin[:-1] + b', "cards": [' + b",".join(map(_text_of, cards)) + b"]}"


def _text_of(card: Card) -> bytes:
    # json, because serialization warnings of pydantic quote values
    serial = None if card.serial is None else card.serial.get_secret_value()
    return json.dumps({"value": card.value.get_secret_value(), "serial": serial}, ensure_ascii=False).encode()
