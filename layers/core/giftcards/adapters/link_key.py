"""Tokens of links, derived by KMS: the same order, user, channel and generation give the same token at any time.

Who may call GenerateMac with this key can open every link, so it is as strong a right as Decrypt on the cards' key.
"""

from typing import TYPE_CHECKING

from giftcards.rules.links import token_message, token_of

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


class LinkKey:
    """Derives tokens with an HMAC key that never leaves KMS."""

    def __init__(self, key_arn: str, kms: "KMSClient") -> None:
        self._key_arn = key_arn
        self._kms = kms

    def token(self, order_id: str, user_id: str, channel: str, generation: int) -> str:
        """Derive the token of a link."""
        message = token_message(order_id, user_id, channel, generation)
        answer = self._kms.generate_mac(KeyId=self._key_arn, Message=message, MacAlgorithm="HMAC_SHA_256")
        return token_of(answer["Mac"])
