"""Recipients' addresses, sealed by KMS itself: who stores one cannot read it, and who sends mail cannot store one."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from pydantic import SecretStr

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

_NOT_WHAT_WAS_SEALED = {"InvalidCiphertextException", "IncorrectKeyException"}


class RecipientUnreadableError(Exception):
    """A stored address is not what was stored for this order and user."""


class RecipientCipher:
    """Seals and opens an address (at most 254 bytes; KMS takes 4,096) for one order and user."""

    def __init__(self, key_arn: str, kms: "KMSClient") -> None:
        self._key_arn = key_arn
        self._kms = kms

    def seal(self, order_id: str, user_id: str, address: SecretStr) -> bytes:
        """Encrypt an address."""
        return self._kms.encrypt(
            KeyId=self._key_arn,
            Plaintext=address.get_secret_value().encode(),
            EncryptionContext={"orderId": order_id, "userId": user_id},
        )["CiphertextBlob"]

    def open(self, order_id: str, user_id: str, sealed: bytes) -> SecretStr:
        """Decrypt an address.

        Raises
        ------
        RecipientUnreadableError
            If it was sealed for another order or user, or has been changed.
        """
        try:
            answer = self._kms.decrypt(
                KeyId=self._key_arn,
                CiphertextBlob=sealed,
                EncryptionContext={"orderId": order_id, "userId": user_id},
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if code in _NOT_WHAT_WAS_SEALED:
                raise RecipientUnreadableError(str(code)) from None
            raise
        return SecretStr(answer["Plaintext"].decode())
