"""Envelope encryption of cards, by the AWS Encryption SDK.

One data key for the cards of an order: one GenerateDataKey to encrypt them all, one Decrypt to read
them all. The encryption context ``{orderId, userId}`` is bound to every ciphertext and checked on
reading. So are the card's index and the delivery attempt that stored it, which lie inside the plaintext:
a row that is copied to another order, another user or another place, or put back from an attempt that
came to nothing, is refused.
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
"""Key commitment without signatures: whoever may decrypt may not encrypt, so a signature would add nothing."""
_DATA_KEY_SECONDS = 60.0
_SAYS_THAT_THE_CIPHERTEXT_IS_WRONG = {"InvalidCiphertextException", "IncorrectKeyException"}
"""What KMS answers to a changed ciphertext or encryption context; its other errors are about the key or KMS itself."""


class CardUnreadableError(Exception):
    """A stored card is not what was stored for this order, user and place. It says which check failed, no more."""


class KeyUnavailableError(Exception):
    """KMS does not decrypt now, which says nothing of the card. The text is KMS's error code."""


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
        The customer key that wraps the data keys.
    session
        botocore session to make the KMS client with; the default one where None.
    """

    def __init__(self, key_arn: str, session: Session | None = None) -> None:
        session = session or Session()
        session.register("after-call.kms.Decrypt", self._note_error)
        self._kms_error: str | None = None
        self._master_key = StrictAwsKmsMasterKeyProvider(key_ids=[key_arn], botocore_session=session)
        self._client = EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)

    def encrypt(self, order_id: str, user_id: str, attempt: str, cards: Sequence[Card]) -> list[bytes]:
        """Encrypt the cards of an order, in their order, under one data key, for one attempt to deliver them."""
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
        order_id, user_id
            Whose cards they have to be.
        attempt
            The delivery attempt that closed the order.
        ciphertexts
            By index, from 1.

        Raises
        ------
        CardUnreadableError
            If any of them is not the card of this order, user, attempt and index.
        KeyUnavailableError
            If KMS does not decrypt now.
        """
        materials = self._materials()
        cards = {}
        for index, ciphertext in ciphertexts.items():
            sealed = self._open({"orderId": order_id, "userId": user_id}, index, ciphertext, materials)
            if sealed.index != index:
                raise CardUnreadableError(f"card {index} was stored in another place")
            if sealed.attempt != attempt:
                raise CardUnreadableError(f"card {index} is not of the delivery that closed the order")
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
            if self._kms_error is not None and self._kms_error not in _SAYS_THAT_THE_CIPHERTEXT_IS_WRONG:
                raise KeyUnavailableError(self._kms_error) from None
            raise CardUnreadableError(f"card {index} cannot be decrypted ({type(error).__name__})") from None
        if {name: header.encryption_context.get(name) for name in context} != context:
            raise CardUnreadableError(f"card {index} belongs to another order or user")
        try:
            return _SealedCard.model_validate_json(plaintext)
        except ValidationError:
            raise CardUnreadableError(f"card {index} does not hold a card") from None

    def _note_error(self, **call: Any) -> None:
        """Keep KMS's error code, which the SDK does not pass on."""
        self._kms_error = call["parsed"].get("Error", {}).get("Code")

    def _materials(self) -> CachingCryptoMaterialsManager:
        """Share one data key among the cards of one call, and forget it with the call."""
        return CachingCryptoMaterialsManager(
            master_key_provider=self._master_key,
            cache=LocalCryptoMaterialsCache(capacity=1),
            max_age=_DATA_KEY_SECONDS,
        )


def _plaintext(index: int, attempt: str, card: Card) -> bytes:
    # json and not pydantic, whose serialization warnings quote the values that they warn of
    serial = None if card.serial is None else card.serial.get_secret_value()
    revealed = {"value": card.value.get_secret_value(), "serial": serial}
    return json.dumps({"index": index, "attempt": attempt, "card": revealed}, ensure_ascii=False).encode()
