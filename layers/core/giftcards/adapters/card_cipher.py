"""Envelope encryption of cards with the AWS Encryption SDK.

All cards of an order share one data key: one GenerateDataKey call to encrypt them, one Decrypt call to decrypt them.
The encryption context ``{orderId, userId}`` is bound to every ciphertext and checked on decryption. The plaintext also
has the card's index and the delivery attempt, so that a row that was copied to another order, user or index, or
restored from a failed attempt, is rejected.
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
from pydantic import BaseModel, ConfigDict, ValidationError

from giftcards.contracts.supplier import Card

_ALGORITHM = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
"""Key commitment without signatures: no role can both encrypt and decrypt, so a signature would add nothing."""
_DATA_KEY_SECONDS = 60.0
_CIPHERTEXT_ERRORS = {"InvalidCiphertextException", "IncorrectKeyException"}
"""KMS's errors for a changed ciphertext or encryption context. Its other errors concern the key or KMS itself."""


class CardUnreadableError(Exception):
    """A stored card is not the one of this order, user and index. The message says which check failed."""


class KeyUnavailableError(Exception):
    """KMS cannot decrypt now; the card may be intact. The message is KMS's error code."""


class _SealedCard(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    index: int
    attempt: str | None = None
    card: Card


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

    def encrypt(self, order_id: str, user_id: str, attempt: str, cards: Sequence[Card]) -> list[bytes]:
        """Encrypt the cards of an order, in this sequence, with one data key, for one delivery attempt."""
        materials = self._materials()
        return [
            self._client.encrypt(
                source=_plaintext(index, attempt, card),
                materials_manager=materials,
                encryption_context={"orderId": order_id, "userId": user_id},
                algorithm=_ALGORITHM,
            )[0]
            for index, card in enumerate(cards, start=1)
        ]

    def decrypt(
        self, order_id: str, user_id: str, attempt: str | None, ciphertexts: Mapping[int, bytes]
    ) -> dict[int, Card]:
        """Decrypt the cards of an order.

        Parameters
        ----------
        attempt
            The delivery attempt that closed the order; None for orders of early releases.
        ciphertexts
            By index, from 1.

        Raises
        ------
        CardUnreadableError
            If any of them is not the card of this order, user, attempt and index.
        KeyUnavailableError
            If KMS cannot decrypt now.
        """
        materials = self._materials()
        cards = {}
        for index, ciphertext in ciphertexts.items():
            sealed = self._open({"orderId": order_id, "userId": user_id}, index, ciphertext, materials)
            if sealed.index != index:
                raise CardUnreadableError(f"card {index} was stored at another index")
            if sealed.attempt != attempt:
                raise CardUnreadableError(f"card {index} is not from the delivery attempt that closed the order")
            cards[index] = sealed.card
        return cards

    def _open(
        self, context: Mapping[str, str], index: int, ciphertext: bytes, materials: CachingCryptoMaterialsManager
    ) -> _SealedCard:
        self._kms_error = None
        try:
            plaintext, header = self._client.decrypt(source=ciphertext, materials_manager=materials)
        except BotoCoreError as error:
            raise KeyUnavailableError(type(error).__name__) from None
        except Exception as error:  # noqa: BLE001 - a changed byte shows in many ways: bad tag, bad text, bad length
            if self._kms_error is not None and self._kms_error not in _CIPHERTEXT_ERRORS:
                raise KeyUnavailableError(self._kms_error) from None
            raise CardUnreadableError(f"card {index} cannot be decrypted ({type(error).__name__})") from None
        if {name: header.encryption_context.get(name) for name in context} != context:
            raise CardUnreadableError(f"card {index} belongs to another order or user")
        try:
            return _SealedCard.model_validate_json(plaintext)
        except ValidationError:
            raise CardUnreadableError(f"card {index} has no valid content") from None

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


def _plaintext(index: int, attempt: str, card: Card) -> bytes:
    # json, because serialization warnings of pydantic quote values
    serial = None if card.serial is None else card.serial.get_secret_value()
    revealed = {"value": card.value.get_secret_value(), "serial": serial}
    return json.dumps({"index": index, "attempt": attempt, "card": revealed}, ensure_ascii=False).encode()
