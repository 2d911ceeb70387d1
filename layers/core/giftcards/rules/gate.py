"""The supplier gate: one record that says why and until when calls are blocked, and that limits concurrent calls.

It is a circuit breaker and a semaphore that all orders share. The supplier counts refused keys and blocks the address
after five, so only a few callers may present a key that turns out to be bad:

- A call needs a lease on one of ``MAX_CONCURRENT_CALLS`` slots. A key that the supplier has not accepted since it was
  set, or since the gate was last blocked, is presented by one caller at a time.
- A lease that expires without being released is a lost call: its answer is unknown and may have been "key refused".
  Its slot stays lost to this key until the supplier accepts the key. If all slots are lost, the gate is paused, and
  then one caller tries.

So a bad key, old or new, is presented at most ``MAX_CONCURRENT_CALLS`` times, however many callers crash and whenever
they do; while callers keep crashing, it is presented once more every ``BLOCK_SECONDS``. Answers that get lost on the
network do not count: they look like a supplier that is down, and that must not stop the orders.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

from giftcards.rules.supplier_failure import FailureKind, SupplierFailure, names_access

BLOCK_SECONDS = 15 * 60
"""How long the supplier blocks an address: about 15 minutes (https://docs.oneclickdz.com/en/error-handling)."""
RATE_LIMIT_SECONDS = 30
"""Pause after a 429 without Retry-After. The supplier publishes no rate limit."""
MAX_CONCURRENT_CALLS = 3
"""A key that is revoked is presented by each of these calls, and its successor once if it is bad too: fewer than five
refusals, after which the supplier blocks the address."""
LEASE_SECONDS = 65
"""A lease must not expire before its call ends: a call starts within ``START_SECONDS`` of its lease, and takes at most
``TOTAL_TIMEOUT_SECONDS`` (15, see adapters/oneclickdz/supplier.py)."""
START_SECONDS = 40
"""Latest start of a call after its lease. Writing the lease takes at most 21 s with all retries."""
MAX_BUSY_PAUSE_SECONDS = 60
"""Longest pause of all orders for a Retry-After that does not concern the key, the address or the rate. It may concern
this one order, so only this order waits longer."""
MIN_SUSPICION_SECONDS = 30
"""If orders have been refused for this long and none was answered, the refusals concern the key or the address. Two bad
orders among good ones seldom follow each other for this long. A refusal that names the key or the address confirms a
suspicion immediately: the supplier counts refused keys."""
MAX_SUSPICION_SECONDS = 600
"""After this, a refusal says nothing about a later one."""

_UNTIL_NEW_KEY = {FailureKind.KEY_MISSING, FailureKind.KEY_REFUSED}


@dataclass(frozen=True)
class Block:
    """Why calls are blocked.

    Attributes
    ----------
    message
        The reason as a sentence for an operator.
    key_version
        Version id of the secret at that time; None if the secret had no value.
    until
        None if only another version of the secret ends the block.
    """

    reason: FailureKind
    message: str
    at: datetime
    key_version: str | None
    until: datetime | None

    @property
    def is_pause(self) -> bool:
        """Whether time ends the block. Then an operator may end it too; a refused key would only be refused again."""
        return self.until is not None


@dataclass(frozen=True)
class Lease:
    """A caller's right to call.

    Attributes
    ----------
    owner
        Random token that tells this lease from another caller's; None in a lease of an earlier release.
    key_version
        Version id of the key that the caller presents; None in a lease of an earlier release.
    """

    until: datetime
    owner: str | None = None
    key_version: str | None = None


@dataclass(frozen=True)
class Slot:
    """A slot with the lease of the caller that acquires it.

    Attributes
    ----------
    number
        From 1.
    alone
        Whether no other caller may present the same key at the same time.
    """

    number: int
    lease: Lease
    alone: bool

    @property
    def start_by(self) -> datetime:
        """Latest start of the call."""
        return self.lease.until - timedelta(seconds=LEASE_SECONDS - START_SECONDS)


@dataclass(frozen=True)
class SlotWait:
    """How a caller that finds all slots in use looks for one.

    Attributes
    ----------
    max_seconds
        Then it gives up as ``QUEUED``, and its order waits in the workflow.
    mean_pause_seconds
        Mean time between two looks.
    """

    max_seconds: float
    mean_pause_seconds: float

    def pause_seconds(self, jitter: float) -> float:
        """Return the seconds until the next look: half to one and a half times the mean, by a number in [0, 1)."""
        return self.mean_pause_seconds * (0.5 + jitter)


CHECK_SLOT_WAIT = SlotWait(5, 0.4)
DELIVERY_SLOT_WAIT = SlotWait(20, 0.2)
"""A delivery looks longer and twice as often, so it goes before checks. The functions' timeouts include these waits."""


@dataclass(frozen=True)
class Suspicion:
    """An order was refused with a code that could also concern the key or the address.

    It is the first such order since the supplier last answered an order.
    """

    order_id: str
    code: str
    at: datetime

    def is_over(self, now: datetime) -> bool:
        return now > self.at + timedelta(seconds=MAX_SUSPICION_SECONDS)

    def confirmed_by(self, failure: SupplierFailure, order_id: str, now: datetime) -> SupplierFailure | None:
        """Return what the refusal of a second order means, or None if it is too early to tell.

        The first order confirms nothing, however often it is refused; in the end it is held with the code. But a second
        401 does, for any order: the supplier counts refused keys.
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
        The last block that only another key ends.
    refused_versions
        Version ids of all keys that were ever refused: a call with an old key can end after the new key was refused.
    pause
        The last block that time ends.
    accepted_version
        Version id of the key that the supplier has accepted since the last block; None if there is none.
    leases
        By slot number. Leases that were not released stay.
    closings
        Number of blocks so far. Equal numbers mean that there was no block in between; times cannot show that, because
        two blocks can occur in one millisecond.
    presented_version
        Version id of the key that any container presented last.
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
        """Return the block that keeps this key from being presented now, or None."""
        if self.is_refused(key_version):
            return self.refusal
        for pause in (self.pause, self._pause_of_lost_calls(now, key_version)):
            if pause is not None and pause.until is not None and now < pause.until:
                return pause
        return None

    def is_refused(self, key_version: str | None) -> bool:
        """Return whether only another key helps."""
        refusal = self.refusal
        return refusal is not None and (key_version == refusal.key_version or key_version in self.refused_versions)

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
        """Return the leases of lost calls with this key, by slot number."""
        return {number: lease for number, lease in self._leases_of(key_version).items() if lease.until <= now}

    def is_tried_alone(self, now: datetime, key_version: str | None) -> bool:
        """Return whether only one caller at a time may present this key, because the supplier may refuse it."""
        return key_version is None or self.accepted_version != key_version or bool(self.lost(now, key_version))

    def slots(self, now: datetime, key_version: str | None) -> int:
        """Return how many concurrent calls this key allows."""
        return 1 if self.is_tried_alone(now, key_version) else MAX_CONCURRENT_CALLS

    def taken(self, now: datetime) -> int:
        """Return how many slots are in use."""
        return sum(lease.until > now for lease in self.leases.values())

    def _leases_of(self, key_version: str | None) -> dict[int, Lease]:
        return {number: lease for number, lease in self.leases.items() if lease.key_version in {key_version, None}}

    def free_slot(self, now: datetime, key_version: str | None) -> int | None:
        """Return the first slot that a caller with this key may acquire, or None if it has to queue."""
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
    """Choose a slot for a caller, or return why it may not call.

    Parameters
    ----------
    key_version
        Version id of the key that would be presented.
    owner
        Random token of the caller.
    """
    block = gate.block(now, key_version)
    if block is not None:
        seconds = 0.0 if block.until is None else (block.until - now).total_seconds()
        return SupplierFailure(FailureKind.GATE_CLOSED, f"Calls to the supplier are blocked: {block.message}", seconds)
    number = gate.free_slot(now, key_version)
    if number is None:
        return SupplierFailure(FailureKind.QUEUED, "All slots for calls to the supplier are in use.")
    lease = Lease(now + timedelta(seconds=LEASE_SECONDS), owner, key_version)
    return Slot(number, lease, gate.is_tried_alone(now, key_version))


def accepts_key(answer: object) -> bool:
    """Return whether an answer shows that the supplier accepted the key.

    No failure shows it: the supplier may reject an order id before it checks the key, or no call was made.
    """
    return not isinstance(answer, SupplierFailure)


def is_suspicious(failure: SupplierFailure) -> bool:
    """Return whether the refusal of an order could also concern the key or the address, by its status or its code.

    Documented codes are certain, and 410 or 422, for example, concern the order, however many orders get them.
    """
    is_denied = failure.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    if failure.kind is FailureKind.ORDER_REFUSED:
        return is_denied or names_access(failure.code)
    return failure.kind is FailureKind.BUSY and is_denied and failure.code is None  # a proxy's page


def refusal_of(failure: SupplierFailure) -> str:
    """Return the supplier's code, or the HTTP status if there is none."""
    return failure.code or str(failure.status)


def block_after(failure: SupplierFailure, now: datetime, key_version: str | None) -> Block | None:
    """Decide whether this failure blocks calls for all orders, and for how long."""
    match failure.kind:
        case FailureKind.RATE_LIMITED:
            seconds = failure.retry_after_seconds or RATE_LIMIT_SECONDS  # a date in the past gives 0
        case FailureKind.ADDRESS_BLOCKED | FailureKind.ACCESS_DENIED:
            seconds = max(BLOCK_SECONDS, failure.retry_after_seconds or 0)
        case FailureKind.BUSY if failure.retry_after_seconds:
            seconds = min(failure.retry_after_seconds, MAX_BUSY_PAUSE_SECONDS)
        case kind if kind in _UNTIL_NEW_KEY:
            return Block(failure.kind, failure.message, now, key_version, until=None)
        case _:
            return None
    return Block(failure.kind, failure.message, now, key_version, until=now + timedelta(seconds=seconds))
