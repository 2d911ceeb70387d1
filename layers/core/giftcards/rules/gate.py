"""The supplier gate: one record that says why, and until when, nobody may call the supplier, and how many may.

The supplier counts refused keys and blocks the address after a few, so a bad key must be presented once, not
once for each order. Whoever wants to call takes one of a few places first. A key that the supplier has not
accepted since it was set, or since the gate was last closed, is tried by one caller alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from giftcards.rules.trouble import Trouble, TroubleKind

BLOCK_SECONDS = 15 * 60
"""How long the supplier blocks an address (supplier's documents: about 15 minutes)."""
RATE_LIMIT_SECONDS = 30
"""How long to stay away after a 429 without Retry-After; the supplier publishes no limit."""
CALLS_AT_ONCE = 3
"""Calls that may be under way. A key that is revoked meanwhile is presented by each of them, its successor by one
more if that is bad too, and the supplier blocks the address after five refusals (supplier's documents)."""
LEASE_SECONDS = 65
"""How long a caller may keep its place: longer than a function may run, so that only one that has crashed loses it."""

_UNTIL_NEW_KEY = {TroubleKind.KEY_MISSING, TroubleKind.KEY_REFUSED}


@dataclass(frozen=True)
class Closing:
    """Why nobody may call the supplier.

    Attributes
    ----------
    reason
        What closed the gate.
    message
        The same for a person.
    at
        When.
    key_version
        Version id of the secret that was current then; None where the secret had no value.
    until
        When the gate opens by itself; None where it opens only with another version of the secret.
    """

    reason: TroubleKind
    message: str
    at: datetime
    key_version: str | None
    until: datetime | None

    @property
    def is_pause(self) -> bool:
        """Whether time opens the gate, and so a person may too; a refused key would only be refused once more."""
        return self.until is not None


@dataclass(frozen=True)
class Place:
    """One of the places that callers take.

    Attributes
    ----------
    number
        From 1.
    before
        Until when somebody had it before, which the one who takes it must have seen.
    until
        When it is free again even if its holder never gives it back.
    """

    number: int
    before: datetime | None
    until: datetime


@dataclass(frozen=True)
class Gate:
    """The record.

    Attributes
    ----------
    refusal
        The last closing that only another key opens.
    refused_versions
        Version ids of all keys that were ever refused: a call that was under way with an old key can end after
        the new key was refused too.
    pause
        The last closing that time opens.
    accepted_version
        Version id of the key that the supplier has accepted since the gate was last closed.
    leases
        By place, until when it is taken.
    closings
        How often the gate has been closed. Equal numbers mean that nobody has closed it in between; times cannot
        say so, two closings can fall into one millisecond.
    """

    refusal: Closing | None = None
    refused_versions: frozenset[str] = frozenset()
    pause: Closing | None = None
    accepted_version: str | None = None
    leases: Mapping[int, datetime] = field(default_factory=dict)
    closings: int = 0

    def closing(self, now: datetime, key_version: str | None) -> Closing | None:
        """Say why this key may not be presented now, or None where it may."""
        refusal = self.refusal
        if refusal is not None and (key_version == refusal.key_version or key_version in self.refused_versions):
            return refusal
        if self.pause is not None and self.pause.until is not None and now < self.pause.until:
            return self.pause
        return None

    def places(self, key_version: str | None) -> int:
        """Say how many may call at once with this key; one alone where the supplier has not accepted it."""
        is_known = self.accepted_version is not None and self.accepted_version == key_version
        return CALLS_AT_ONCE if is_known else 1

    def taken(self, now: datetime) -> int:
        """Say how many places are taken."""
        return sum(until > now for until in self.leases.values())


def admit(gate: Gate, now: datetime, key_version: str | None) -> Place | Trouble:
    """Give a caller a place, or say why it may not call.

    Parameters
    ----------
    gate
        The record as it is now.
    now
        The time.
    key_version
        Version id of the key that would be presented.
    """
    closing = gate.closing(now, key_version)
    if closing is not None:
        seconds = 0.0 if closing.until is None else (closing.until - now).total_seconds()
        return Trouble(TroubleKind.GATE_CLOSED, f"Nobody may call the supplier now: {closing.message}", seconds)
    for number in range(1, gate.places(key_version) + 1):
        before = gate.leases.get(number)
        if before is None or before <= now:
            return Place(number, before, now + timedelta(seconds=LEASE_SECONDS))
    return Trouble(TroubleKind.QUEUED, "As many calls to the supplier are under way as may be.")


def accepts_key(answer: object) -> bool:
    """Say whether an answer shows that the supplier has accepted the key that was presented.

    No trouble shows it: what is wrong with an order id may be said before the key is looked at, or without any call.
    """
    return not isinstance(answer, Trouble)


def closing_after(trouble: Trouble, now: datetime, key_version: str | None) -> Closing | None:
    """Decide whether this trouble closes the gate for all orders, and for how long."""
    match trouble.kind:
        case TroubleKind.RATE_LIMITED:
            seconds = trouble.retry_after_seconds or RATE_LIMIT_SECONDS  # 0 is what a date in the past comes to
        case TroubleKind.ADDRESS_BLOCKED | TroubleKind.ACCESS_DENIED:
            seconds = max(BLOCK_SECONDS, trouble.retry_after_seconds or 0)
        case TroubleKind.BUSY if trouble.retry_after_seconds:
            seconds = trouble.retry_after_seconds
        case kind if kind in _UNTIL_NEW_KEY:
            return Closing(trouble.kind, trouble.message, now, key_version, until=None)
        case _:
            return None
    return Closing(trouble.kind, trouble.message, now, key_version, until=now + timedelta(seconds=seconds))
