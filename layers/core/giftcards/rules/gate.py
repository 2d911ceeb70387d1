"""The supplier gate: one record that says why, and until when, nobody may call the supplier.

The supplier counts refused keys and blocks the address after a few, so a bad key must be presented
once, not once for each order.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from giftcards.rules.trouble import Trouble, TroubleKind

BLOCK_SECONDS = 15 * 60
"""How long the supplier blocks an address (supplier's documents: about 15 minutes)."""
RATE_LIMIT_SECONDS = 30
"""How long to stay away after a 429 without Retry-After; the supplier publishes no limit."""

_UNTIL_NEW_KEY = {TroubleKind.KEY_MISSING, TroubleKind.KEY_REFUSED}


@dataclass(frozen=True)
class Gate:
    """A closed gate.

    Attributes
    ----------
    reason
        What closed it.
    message
        The same for a person.
    closed_at
        When.
    key_version
        Version id of the secret that was current then; None where the secret had no value.
    until
        When it opens by itself; None where it opens only with another version of the secret.
    """

    reason: TroubleKind
    message: str
    closed_at: datetime
    key_version: str | None
    until: datetime | None

    def seconds_closed(self, now: datetime, key_version: str | None) -> float | None:
        """Seconds until the gate opens, 0 where only a new key opens it, or None where it is open."""
        if self.until is None:
            return 0.0 if key_version == self.key_version else None
        remaining = (self.until - now).total_seconds()
        return remaining if remaining > 0 else None


def gate_after(trouble: Trouble, now: datetime, key_version: str | None) -> Gate | None:
    """Decide whether this trouble closes the gate for all orders, and for how long."""
    match trouble.kind:
        case TroubleKind.RATE_LIMITED:
            seconds = RATE_LIMIT_SECONDS if trouble.retry_after_seconds is None else trouble.retry_after_seconds
        case TroubleKind.ADDRESS_BLOCKED | TroubleKind.ACCESS_DENIED:
            seconds = max(BLOCK_SECONDS, trouble.retry_after_seconds or 0)
        case kind if kind in _UNTIL_NEW_KEY:
            return Gate(trouble.kind, trouble.message, now, key_version, until=None)
        case _:
            return None
    return Gate(trouble.kind, trouble.message, now, key_version, until=now + timedelta(seconds=seconds))
