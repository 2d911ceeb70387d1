"""Tokens of links, derived by KMS: the same order, user, channel and generation give the same token at any time.

GenerateMac with this key opens every link, so it is as strong a permission as Decrypt on the cards' key. VerifyMac only
tells that a row is genuine.
"""

from typing import TYPE_CHECKING

from giftcards.rules.links import Link, mac_of, token_message

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


class LinkKey:
    """Derives and verifies MACs with an HMAC key that never leaves KMS."""

    def __init__(self, key_arn: str, kms: "KMSClient") -> None:
        self._key_arn = key_arn
        self._kms = kms

    def mac(self, order_id: str, user_id: str, channel: str, generation: int) -> bytes:
        """Derive the MAC of a link, 32 bytes. Its beginning is the token."""
        message = token_message(order_id, user_id, channel, generation)
        answer = self._kms.generate_mac(KeyId=self._key_arn, Message=message, MacAlgorithm="HMAC_SHA_256")
        return answer["Mac"]

    def is_genuine(self, link: Link, token: str) -> bool:
        """Tell whether a link was issued for the order, user, channel and generation that its row names.

        Without this, write access to the table would be enough to read any card: a row with the hash of an invented
        token could name any order.
        """
        message = token_message(link.order_id, link.user_id, link.channel, link.generation)
        try:
            self._kms.verify_mac(
                KeyId=self._key_arn, Message=message, MacAlgorithm="HMAC_SHA_256", Mac=mac_of(token, link.mac_tail)
            )
        except self._kms.exceptions.KMSInvalidMacException:
            return False
        return True
