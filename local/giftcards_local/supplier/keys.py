"""The key check: which keys are valid, how often a wrong one was presented, and the block that follows."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from giftcards_local.supplier.answers import Answer, failure


@dataclass(frozen=True)
class BlockRule:
    """After how many wrong keys an address is blocked, and for how many seconds (the documents: 5, 15 min)."""

    attempts: int = 5
    seconds: float = 900


def key_id(key: str) -> str:
    """Name a key without showing it: the first 8 hex digits of its SHA-256."""
    return _digest(key)[:8]


class KeyRing:
    """Check presented keys. There is one caller, so what the supplier counts per address is one count here."""

    def __init__(self, valid: Iterable[str], rule: BlockRule) -> None:
        self._rule = rule
        self._wrong = 0
        self._blocked_until: datetime | None = None
        self.replace(valid)

    def replace(self, valid: Iterable[str]) -> None:
        """Accept these keys and no others. Only hashes are kept: a dump of this object shows no key."""
        self._valid = frozenset(map(_digest, valid))

    def unblock(self) -> None:
        """Forget the wrong presentations and the block."""
        self._wrong = 0
        self._blocked_until = None

    def would_refuse(self, key: str | None, now: datetime) -> bool:
        """Whether `present` would refuse; counts nothing."""
        return self.is_blocked(now) or not key or _digest(key) not in self._valid

    def present(self, key: str | None, now: datetime) -> Answer | None:
        """Check a presented key and count it.

        Returns
        -------
        Answer | None
            The refusal, or None for a good key, which also resets the count.
        """
        if self.is_blocked(now):
            # Whatever key is presented: the block is on the address.
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
        """Whether wrong keys have blocked the address."""
        return self._blocked_until is not None and now < self._blocked_until


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
