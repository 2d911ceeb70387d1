"""The key check: valid keys, the count of wrong ones, and the block of the address."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from giftcards_local.supplier.answers import Answer, failure


@dataclass(frozen=True)
class BlockRule:
    """Number of wrong keys that block an address, and the duration: https://docs.oneclickdz.com/en/error-handling."""

    attempts: int = 5
    seconds: float = 900


def key_id(key: str) -> str:
    """Identify a key without showing it: the first 8 hex digits of its SHA-256."""
    return _digest(key)[:8]


class KeyRing:
    """Checks keys. The supplier counts wrong keys per address; here, all callers have the same address."""

    def __init__(self, valid: Iterable[str], rule: BlockRule) -> None:
        self._rule = rule
        self._wrong = 0
        self._blocked_until: datetime | None = None
        self.replace(valid)

    def replace(self, valid: Iterable[str]) -> None:
        """Accept only these keys. Only their hashes are kept: a dump of this object shows no key."""
        self._valid = frozenset(map(_digest, valid))

    def unblock(self) -> None:
        """Reset the count of wrong keys and the block."""
        self._wrong = 0
        self._blocked_until = None

    def would_refuse(self, key: str | None, now: datetime) -> bool:
        """Whether ``present`` would refuse the key; counts nothing."""
        return self.is_blocked(now) or not key or _digest(key) not in self._valid

    def present(self, key: str | None, now: datetime) -> Answer | None:
        """Check a key and count it if it is wrong.

        Returns
        -------
        Answer | None
            The refusal; None for a valid key, which also resets the count.
        """
        if self.is_blocked(now):
            # For every key: the address is blocked.
            return failure(403, "IP_BLOCKED", "Too many failed attempts; this address is temporarily blocked")
        if not key:
            return failure(401, "MISSING_ACCESS_TOKEN", "Access token is required")
        if _digest(key) in self._valid:
            self.unblock()
            return None
        self._wrong += 1
        left = max(self._rule.attempts - self._wrong, 0)
        if left == 0:
            self._blocked_until = now + timedelta(seconds=self._rule.seconds)
            self._wrong = 0
        return failure(401, "INVALID_ACCESS_TOKEN", "The provided access token is invalid", {"attemptsLeft": left})

    def is_blocked(self, now: datetime) -> bool:
        return self._blocked_until is not None and now < self._blocked_until


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
