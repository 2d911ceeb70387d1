"""The supplier gate: one record that says why, and until when, nobody may call the supplier, and how many may.

The supplier counts refused keys and blocks the address after five, so few callers may present a key that turns out to
be bad, and nobody after them:

- A caller needs a lease on one of ``MAX_CONCURRENT_CALLS`` slots. A key that the supplier has not accepted since it
  was set, or since the gate was last blocked, is presented by one caller at a time.
- A lease that ends without being given back is a call whose answer nobody knows: it may have been "key refused". Its
  place stays lost to this key until the supplier accepts the key. Where all places are lost, the gate is paused, and
  then one caller tries.

So a bad key, old or new, is presented at most ``MAX_CONCURRENT_CALLS`` times, however many callers die and whenever
they do; as long as callers go on dying, it is presented once more in each ``BLOCK_SECONDS``. Answers that get lost on
the network do not count: they look like a supplier that is down, and that must not stop the orders.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

from giftcards.rules.supplier_failure import FailureKind, SupplierFailure, names_access

BLOCK_SECONDS = 15 * 60
"""How long the supplier blocks an address (supplier's documents: about 15 minutes)."""
RATE_LIMIT_SECONDS = 30
"""How long to stay away after a 429 without Retry-After; the supplier publishes no limit."""
MAX_CONCURRENT_CALLS = 3
"""Calls that may be under way: a key that is revoked meanwhile is presented by each of them, and its successor once if
it is bad too, which is still less than the five refusals after which the supplier blocks the address."""
LEASE_SECONDS = 65
"""How long a lease lasts. It must not end before its call does, however long the function runs: a call begins within
``START_SECONDS`` of its lease, and takes at most ``TOTAL_TIMEOUT_SECONDS`` (15, see adapters/supplier.py)."""
START_SECONDS = 40
"""How late after its lease a call may begin. The write of the lease takes 21 s at most, with all its retries."""
MAX_BUSY_PAUSE_SECONDS = 60
"""How long a Retry-After of an answer that says nothing about the key, the address or the rate pauses all orders. It
may be about the one order: only its own wait is longer."""
MIN_SUSPICION_SECONDS = 30
"""For how long orders are refused, and none is answered, until the refusals are about the key or the address. Two bad
orders among good ones seldom follow each other for so long. A refusal that names the key or the address confirms a
suspicion at once: the supplier counts refused keys."""
MAX_SUSPICION_SECONDS = 600
"""After this, a refusal says nothing about the next one."""

_UNTIL_NEW_KEY = {FailureKind.KEY_MISSING, FailureKind.KEY_REFUSED}


@dataclass(frozen=True)
class Block:
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

    reason: FailureKind
    message: str
    at: datetime
    key_version: str | None
    until: datetime | None

    @property
    def is_pause(self) -> bool:
        """Whether time opens the gate, and so a person may too; a refused key would only be refused once more."""
        return self.until is not None


@dataclass(frozen=True)
class Lease:
    """A caller's right to call.

    Attributes
    ----------
    until
        When it ends even if it is never given back.
    owner
        Random token of the caller, so that no other caller's lease is ever taken for its own; None in a lease of the
        former release.
    key_version
        Version id of the key that the caller presents; None in a lease of the former release.
    """

    until: datetime
    owner: str | None = None
    key_version: str | None = None


@dataclass(frozen=True)
class Slot:
    """One of the places that callers take.

    Attributes
    ----------
    number
        From 1.
    lease
        What its caller gets.
    alone
        Whether no other caller may present the same key meanwhile.
    """

    number: int
    lease: Lease
    alone: bool

    @property
    def start_by(self) -> datetime:
        """The last moment to begin the call."""
        return self.lease.until - timedelta(seconds=LEASE_SECONDS - START_SECONDS)


@dataclass(frozen=True)
class Suspicion:
    """An order was refused with a code that could as well be about the key or the address.

    Attributes
    ----------
    order_id
        Which order, the first since the supplier last answered one.
    code
        The supplier's error code.
    at
        When.
    """

    order_id: str
    code: str
    at: datetime

    def is_over(self, now: datetime) -> bool:
        """Whether it is too old to say anything about another refusal."""
        return now > self.at + timedelta(seconds=MAX_SUSPICION_SECONDS)

    def confirmed_by(self, failure: SupplierFailure, order_id: str, now: datetime) -> SupplierFailure | None:
        """Say what the refusal of a second order means, or None where it is too early to say.

        The first order itself confirms nothing, however often it is refused; it is held one day, and names the code.
        But a second 401 does, whatever the order: the supplier counts refused keys.
        """
        least = 0 if names_access(failure.code) else MIN_SUSPICION_SECONDS
        is_second = order_id != self.order_id and now >= self.at + timedelta(seconds=least)
        if not is_second and failure.status != HTTPStatus.UNAUTHORIZED:
            return None
        return SupplierFailure(
            FailureKind.ACCESS_DENIED,
            f"The supplier refuses every order: {self.order_id} with {self.code}, {order_id} with "
            f"{refusal_of(failure)}, with no order answered in between.",
            failure.retry_after_seconds,
            failure.code,
            failure.status,
        )


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
        By place; those that nobody has given back stay.
    closings
        How often the gate has been closed. Equal numbers mean that nobody has closed it in between; times cannot
        say so, two closings can fall into one millisecond.
    presented_version
        Version id of the key that was presented last, by any container.
    suspicion
        The first order that was refused, as far as one answer can show for reasons of its own, since the supplier last
        answered an order.
    """

    refusal: Block | None = None
    refused_versions: frozenset[str] = frozenset()
    pause: Block | None = None
    accepted_version: str | None = None
    leases: Mapping[int, Lease] = field(default_factory=dict)
    closings: int = 0
    presented_version: str | None = None
    suspicion: Suspicion | None = None

    def block(self, now: datetime, key_version: str | None) -> Block | None:
        """Say why this key may not be presented now, or None where it may."""
        refusal = self.refusal
        if refusal is not None and (key_version == refusal.key_version or key_version in self.refused_versions):
            return refusal
        for pause in (self.pause, self._pause_of_lost_calls(now, key_version)):
            if pause is not None and pause.until is not None and now < pause.until:
                return pause
        return None

    def _pause_of_lost_calls(self, now: datetime, key_version: str | None) -> Block | None:
        lost = self.lost(now, key_version)
        if len(lost) < MAX_CONCURRENT_CALLS:
            return None
        last = max(lease.until for lease in lost.values())
        return Block(
            FailureKind.BUSY,
            f"The last {MAX_CONCURRENT_CALLS} calls ended without a recorded answer: the functions crashed, or could "
            "not write to the gate's table. Look at their logs.",
            last,
            key_version,
            until=last + timedelta(seconds=BLOCK_SECONDS),
        )

    def lost(self, now: datetime, key_version: str | None) -> dict[int, Lease]:
        """Return the leases of calls with this key whose answer nobody knows, by place."""
        return {number: lease for number, lease in self._leases_of(key_version).items() if lease.until <= now}

    def is_tried_alone(self, now: datetime, key_version: str | None) -> bool:
        """Say whether only one caller at a time may present this key: the supplier may refuse it."""
        return key_version is None or self.accepted_version != key_version or bool(self.lost(now, key_version))

    def slots(self, now: datetime, key_version: str | None) -> int:
        """Say how many may call at once with this key."""
        return 1 if self.is_tried_alone(now, key_version) else MAX_CONCURRENT_CALLS

    def taken(self, now: datetime) -> int:
        """Say how many places are taken."""
        return sum(lease.until > now for lease in self.leases.values())

    def _leases_of(self, key_version: str | None) -> dict[int, Lease]:
        return {number: lease for number, lease in self.leases.items() if lease.key_version in {key_version, None}}

    def free_place(self, now: datetime, key_version: str | None) -> int | None:
        """Return the first place that a caller with this key may take, or None where it has to queue."""
        lost = self.lost(now, key_version)
        if self.is_tried_alone(now, key_version) and len(self._leases_of(key_version)) > len(lost):
            return None
        for number in range(1, MAX_CONCURRENT_CALLS + 1):
            lease = self.leases.get(number)
            is_over = lease is None or lease.until <= now
            if is_over and (number not in lost or len(lost) == MAX_CONCURRENT_CALLS):
                return number
        return None


def admit(gate: Gate, now: datetime, key_version: str | None, owner: str) -> Slot | SupplierFailure:
    """Give a caller a place, or say why it may not call.

    Parameters
    ----------
    gate
        The record as it is now.
    now
        The time.
    key_version
        Version id of the key that would be presented.
    owner
        Random token of the caller.
    """
    block = gate.block(now, key_version)
    if block is not None:
        seconds = 0.0 if block.until is None else (block.until - now).total_seconds()
        return SupplierFailure(FailureKind.GATE_CLOSED, f"Nobody may call the supplier now: {block.message}", seconds)
    number = gate.free_place(now, key_version)
    if number is None:
        return SupplierFailure(FailureKind.QUEUED, "All slots for calls to the supplier are in use.")
    lease = Lease(now + timedelta(seconds=LEASE_SECONDS), owner, key_version)
    return Slot(number, lease, gate.is_tried_alone(now, key_version))


def accepts_key(answer: object) -> bool:
    """Say whether an answer shows that the supplier has accepted the key that was presented.

    No trouble shows it: what is wrong with an order id may be said before the key is looked at, or without any call.
    """
    return not isinstance(answer, SupplierFailure)


def is_suspicious(failure: SupplierFailure) -> bool:
    """Say whether an order was refused for what could be about the key or the address, by the status or by the code.

    Documented codes are certain, and 410 or 422, say, is about the order, however many are answered so.
    """
    is_denied = failure.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    if failure.kind is FailureKind.ORDER_REFUSED:
        return is_denied or names_access(failure.code)
    return failure.kind is FailureKind.BUSY and is_denied and failure.code is None  # a proxy's page


def refusal_of(failure: SupplierFailure) -> str:
    """Name a refusal in a few characters: the supplier's code, or the status where there is none."""
    return failure.code or str(failure.status)


def block_after(failure: SupplierFailure, now: datetime, key_version: str | None) -> Block | None:
    """Decide whether this trouble closes the gate for all orders, and for how long."""
    match failure.kind:
        case FailureKind.RATE_LIMITED:
            seconds = failure.retry_after_seconds or RATE_LIMIT_SECONDS  # 0 is what a date in the past comes to
        case FailureKind.ADDRESS_BLOCKED | FailureKind.ACCESS_DENIED:
            seconds = max(BLOCK_SECONDS, failure.retry_after_seconds or 0)
        case FailureKind.BUSY if failure.retry_after_seconds:
            seconds = min(failure.retry_after_seconds, MAX_BUSY_PAUSE_SECONDS)
        case kind if kind in _UNTIL_NEW_KEY:
            return Block(failure.kind, failure.message, now, key_version, until=None)
        case _:
            return None
    return Block(failure.kind, failure.message, now, key_version, until=now + timedelta(seconds=seconds))
