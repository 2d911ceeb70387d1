"""Envelope encryption of cards, by the AWS Encryption SDK.

One data key for the cards of an order: one GenerateDataKey to encrypt them all, one Decrypt to read
them all. The encryption context ``{orderId, userId}`` is bound to every ciphertext and checked on
reading, and so is the card's index, which lies inside the plaintext: a row that is copied to another
order, another user or another place is refused.
"""

import json
from collections.abc import Mapping, Sequence

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

from giftcards.supplier_contract import Card

_ALGORITHM = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
"""Key commitment without signatures: whoever may decrypt may not encrypt, so a signature would add nothing."""
_DATA_KEY_SECONDS = 60.0


class CardUnreadableError(Exception):
    """A stored card is not what was stored for this order, user and place. It says which check failed, no more."""


class _SealedCard(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    index: int
    card: Card


class Vault:
    """Encrypts and decrypts the cards of an order.

    Parameters
    ----------
    key_arn
        The customer key that wraps the data keys.
    session
        botocore session to make the KMS client with; the default one where None.
    """

    def __init__(self, key_arn: str, session: Session | None = None) -> None:
        options = {} if session is None else {"botocore_session": session}
        self._master_key = StrictAwsKmsMasterKeyProvider(key_ids=[key_arn], **options)
        self._client = EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)

    def encrypt(self, order_id: str, user_id: str, cards: Sequence[Card]) -> list[bytes]:
        """Encrypt the cards of an order, in their order, under one data key."""
        materials = self._materials()
        return [
            self._client.encrypt(
                source=_plaintext(index, card),
                materials_manager=materials,
                encryption_context={"orderId": order_id, "userId": user_id},
                algorithm=_ALGORITHM,
            )[0]
            for index, card in enumerate(cards, start=1)
        ]

    def decrypt(self, order_id: str, user_id: str, ciphertexts: Mapping[int, bytes]) -> dict[int, Card]:
        """Decrypt the cards of an order.

        Parameters
        ----------
        order_id, user_id
            Whose cards they have to be.
        ciphertexts
            By index, from 1.

        Raises
        ------
        CardUnreadableError
            If any of them is not the card of this order, user and index.
        """
        materials = self._materials()
        return {
            index: self._decrypt_one(order_id, user_id, index, ciphertexts[index], materials) for index in ciphertexts
        }

    def _decrypt_one(
        self, order_id: str, user_id: str, index: int, ciphertext: bytes, materials: CachingCryptoMaterialsManager
    ) -> Card:
        try:
            plaintext, header = self._client.decrypt(source=ciphertext, materials_manager=materials)
        except BotoCoreError:  # KMS cannot be reached; that says nothing of the card
            raise
        except Exception as error:  # noqa: BLE001 - a changed byte shows in many ways: bad tag, bad text, bad length
            raise CardUnreadableError(f"card {index} cannot be decrypted ({type(error).__name__})") from None
        context = header.encryption_context
        if (context.get("orderId"), context.get("userId")) != (order_id, user_id):
            raise CardUnreadableError(f"card {index} belongs to another order or user")
        try:
            sealed = _SealedCard.model_validate_json(plaintext)
        except ValidationError:
            raise CardUnreadableError(f"card {index} does not hold a card") from None
        if sealed.index != index:
            raise CardUnreadableError(f"card {index} was stored in another place")
        return sealed.card

    def _materials(self) -> CachingCryptoMaterialsManager:
        """Share one data key among the cards of one call, and forget it with the call."""
        return CachingCryptoMaterialsManager(
            master_key_provider=self._master_key,
            cache=LocalCryptoMaterialsCache(capacity=1),
            max_age=_DATA_KEY_SECONDS,
        )


def _plaintext(index: int, card: Card) -> bytes:
    # json and not pydantic, whose serialization warnings quote the values that they warn of
    revealed = {"value": card.value.get_secret_value(), "serial": card.serial.get_secret_value()}
    return json.dumps({"index": index, "card": revealed}, ensure_ascii=False).encode()
