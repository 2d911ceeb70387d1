"""The shop's API key in Secrets Manager: its current version and the previous one, so that a rotation needs no stop."""

import hmac
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import SecretStr

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

CACHE_SECONDS = 60.0
"""For how long a key that has been rotated away twice is still accepted."""
UNKNOWN_KEY_SECONDS = 1.0
"""An unknown key may be a new one, so the secret is read again, but no more often than this."""
_STAGES = ("AWSCURRENT", "AWSPREVIOUS")


class ShopKeys:
    """Tells whether a caller has the shop's key.

    Parameters
    ----------
    clock
        Returns seconds that never go back.
    """

    def __init__(
        self, secret_arn: str, client: "SecretsManagerClient", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._secret_arn = secret_arn
        self._client = client
        self._clock = clock
        self._keys: tuple[bytes, ...] = ()
        self._read_at = -CACHE_SECONDS
        self._looked_again_at = -UNKNOWN_KEY_SECONDS

    def accept(self, presented: SecretStr) -> bool:
        """Whether this is the current or the previous key.

        Raises
        ------
        botocore.exceptions.ClientError
            If Secrets Manager cannot be read.
        """
        now = self._clock()
        if now - self._read_at >= CACHE_SECONDS:
            self._read(now)
        if self._has(presented):
            return True
        if now - self._looked_again_at < UNKNOWN_KEY_SECONDS:
            return False
        self._looked_again_at = now
        self._read(now)
        return self._has(presented)

    def _has(self, presented: SecretStr) -> bool:
        """Compare with every key, in a time that does not depend on where they differ."""
        key = presented.get_secret_value().encode()
        return any([hmac.compare_digest(key, own) for own in self._keys])  # noqa: C419 - a generator would stop early

    def _read(self, now: float) -> None:
        self._keys = tuple(filter(None, map(self._version, _STAGES)))
        self._read_at = now

    def _version(self, stage: str) -> bytes:
        """Return a version's value; empty if there is none."""
        try:
            secret = self._client.get_secret_value(SecretId=self._secret_arn, VersionStage=stage)
        except self._client.exceptions.ResourceNotFoundException:
            return b""
        return secret.get("SecretString", "").strip().encode()
