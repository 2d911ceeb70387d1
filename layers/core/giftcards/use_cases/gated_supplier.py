"""Calls to the supplier through the gate. Functions make no other calls to it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from pydantic import SecretStr

from giftcards.contracts.statuses import SupplierStatus
from giftcards.contracts.supplier import OrderPage, OrderProgress
from giftcards.metrics import Meter, Metric
from giftcards.rules.gate import (
    Gate,
    Lease,
    Slot,
    SlotWait,
    Suspicion,
    accepts_key,
    admit,
    block_after,
    is_suspicious,
    refusal_of,
)
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure

if TYPE_CHECKING:
    from giftcards.adapters.api_key import ApiKey, ApiKeySource
    from giftcards.adapters.gate_table import GateTable
    from giftcards.adapters.oneclickdz.supplier import Supplier, View

Answer = TypeVar("Answer")
MAX_ACQUIRE_ATTEMPTS = 3
"""Writes in a row that lose a race against other callers. Then the caller pauses like one that finds no free slot."""

KEY_LOOK_SECONDS = 5


def random_token() -> str:
    return uuid4().hex


@dataclass
class GatedSupplier:
    """The supplier behind its gate.

    Attributes
    ----------
    pause
        Sleeps for some seconds.
    jitter
        Returns a random number in [0, 1).
    slot_wait
        How long a call looks for a slot before it gives up as ``QUEUED``.
    """

    supplier: "Supplier"
    api_key: "ApiKeySource"
    gate: "GateTable"
    clock: Callable[[], datetime]
    measure: Meter
    pause: Callable[[float], None]
    jitter: Callable[[], float]
    slot_wait: SlotWait
    token: Callable[[], str] = random_token
    _compared: str | None = field(default=None, init=False)
    _looked_at: datetime | None = field(default=None, init=False)

    def ask(self, order_id: str, view: "type[View]") -> "View | SupplierFailure":
        """Get an order, unless calls are blocked; block calls for all orders if the answer requires it."""
        kind = Metric.SUPPLIER_CHECK if view is OrderProgress else Metric.SUPPLIER_DELIVERY
        return self._call(lambda key: self.supplier.check_order(order_id, key, view), kind, order_id)

    def list_statuses(self, listed: timedelta) -> tuple[datetime, dict[str, SupplierStatus]] | SupplierFailure:
        """Get the statuses of the newest orders, placed at most this long ago, by the same rules.

        Returns
        -------
        The start of the call, and the statuses by order id.
        """

        def call(key: SecretStr) -> tuple[datetime, dict[str, SupplierStatus]] | SupplierFailure:
            began = self.clock()
            page = self.supplier.list_statuses(began - listed, key)
            return page if isinstance(page, SupplierFailure) else (began, page.statuses)

        return self._call(call, Metric.SUPPLIER_LIST)

    def list_orders(self, page: int, placed_from: datetime, placed_to: datetime) -> OrderPage | SupplierFailure:
        """Get a page of the supplier's list by the same rules. Each page acquires a slot."""
        return self._call(
            lambda key: self.supplier.list_orders(page, placed_from, placed_to, key), Metric.SUPPLIER_LIST
        )

    def _call(
        self, call: Callable[[SecretStr], Answer | SupplierFailure], kind: Metric, order_id: str | None = None
    ) -> Answer | SupplierFailure:
        """Call; while all slots are in use, look again for as long as ``slot_wait`` allows.

        Parameters
        ----------
        kind
            The metric that counts this kind of calls.
        order_id
            None for a call of the list.
        """

        def counted(key: SecretStr) -> Answer | SupplierFailure:
            self.measure(kind, 1)
            self.measure(Metric.SLOT_WAIT, waited)
            return call(key)

        key, waited = self.api_key.read(), 0.0
        # Most often the key is accepted and a slot is free, so the first write assumes it instead of a read. Its
        # conditions compare, and it returns the record if they are not met.
        seen = Gate(accepted_version=key.version) if key.value is not None else self.gate.read()
        while True:
            answer = self._call_once(counted, order_id, key, seen)
            if not isinstance(answer, SupplierFailure) or answer.kind is not FailureKind.QUEUED:
                return answer
            if waited >= self.slot_wait.max_seconds:
                self.measure(Metric.SLOT_NOT_FOUND, 1)
                return answer
            seconds = self.slot_wait.pause_seconds(self.jitter())
            self.pause(seconds)
            waited += seconds
            key, seen = self.api_key.read(), self.gate.read()

    def _call_once(
        self,
        call: Callable[[SecretStr], Answer | SupplierFailure],
        order_id: str | None,
        key: "ApiKey",
        seen: Gate,
    ) -> Answer | SupplierFailure:
        for _ in range(MAX_ACQUIRE_ATTEMPTS):
            key = self._newest(key, seen)
            slot = admit(seen, self.clock(), key.version, self.token())
            if isinstance(slot, SupplierFailure):
                newer = self._replacement(key, seen) if seen.is_refused(key.version) else None
                if newer is None:
                    return slot
                key = newer
                continue
            if key.value is None:
                missing = SupplierFailure(
                    FailureKind.KEY_MISSING, f"There is no API key for the supplier. {key.problem}"
                )
                self._block_if_due(missing, key)
                return missing
            is_acquired, seen = self._acquire(slot, seen)
            if is_acquired:
                return self._call_from(_Admitted(slot, seen, key, order_id), key.value, call)
        return SupplierFailure(FailureKind.QUEUED, "Other calls acquired all slots for calls to the supplier first.")

    def _acquire(self, slot: Slot, seen: Gate) -> tuple[bool, Gate]:
        try:
            return self.gate.acquire(slot, seen)
        except Exception:  # the slot may be acquired, and no call was made: it must not count as lost
            self.gate.release(slot, is_answered=False)
            raise

    def _call_from(
        self, admitted: "_Admitted", value: SecretStr, call: Callable[[SecretStr], Answer | SupplierFailure]
    ) -> Answer | SupplierFailure:
        """Call, and release the slot once the gate reflects the answer.

        If anything is raised, the slot is not released: the supplier's answer is unknown then, and the slot is lost to
        this key until the supplier accepts the key.
        """
        slot, started = admitted.slot, self.clock()
        if started > slot.start_by:  # the call could outlast its lease and exceed the limit
            self.gate.release(slot, is_answered=False)
            return SupplierFailure(FailureKind.QUEUED, "It took too long to acquire a slot at the supplier gate.")
        answer = call(value)
        self.measure(Metric.SUPPLIER_LATENCY, (self.clock() - started).total_seconds() * 1000)
        self.measure(Metric.of_call(answer.kind if isinstance(answer, SupplierFailure) else None), 1)
        if isinstance(answer, SupplierFailure):
            answer = self._weigh(answer, admitted)
        elif admitted.seen.is_tried_alone(started, admitted.key.version):
            self.gate.accept(admitted.key.version, admitted.seen, admitted.lost_to_others(started))
        self.gate.release(slot, is_answered=accepts_key(answer))
        return answer

    def _weigh(self, failure: SupplierFailure, admitted: "_Admitted") -> SupplierFailure:
        """Block calls if the failure concerns all orders, and return the failure as it then appears."""
        order_id, suspicion, now = admitted.order_id, admitted.seen.suspicion, self.clock()
        if not is_suspicious(failure) or order_id is None:
            self._block_if_due(failure, admitted.key)
            return failure
        if suspicion is None or suspicion.is_over(now):
            self.gate.suspect(Suspicion(order_id, refusal_of(failure), now), instead_of=suspicion)
            return failure
        denied = suspicion.confirmed_by(failure, order_id, now)
        block = None if denied is None else block_after(denied, now, admitted.key.version)
        if denied is None or block is None or not self.gate.block(block, confirmed=suspicion):
            return failure
        return denied

    def _block_if_due(self, failure: SupplierFailure, key: "ApiKey") -> None:
        block = block_after(failure, self.clock(), key.version)
        if block is not None:
            self.gate.block(block)

    def _replacement(self, refused: "ApiKey", seen: Gate) -> "ApiKey | None":
        """Read the secret again for a refused key, at most once in ``KEY_LOOK_SECONDS``; None if the key is the same.

        The cache alone would keep the orders waiting for up to a minute after a person has replaced the key.
        """
        now = self.clock()
        if self._looked_at is not None and now < self._looked_at + timedelta(seconds=KEY_LOOK_SECONDS):
            return None
        self._looked_at = now
        key, self._compared = self.api_key.read(fresh=True), seen.presented_version
        return key if key.version != refused.version else None

    def _newest(self, key: "ApiKey", seen: Gate) -> "ApiKey":
        """Read the secret again, once for each key, if another container has presented another key.

        Otherwise this container would present its cached key although it was replaced.
        """
        presented = seen.presented_version
        if presented not in {None, key.version, self._compared}:
            key, self._compared = self.api_key.read(fresh=True), presented
        return key


@dataclass(frozen=True)
class _Admitted:
    """A caller with a slot.

    Attributes
    ----------
    seen
        The record as it was before the slot was acquired.
    order_id
        None for a call of the list.
    """

    slot: Slot
    seen: Gate
    key: "ApiKey"
    order_id: str | None

    def lost_to_others(self, now: datetime) -> dict[int, Lease]:
        """Return the leases of earlier lost calls, except the one that this caller's lease replaced."""
        lost = self.seen.lost(now, self.key.version)
        return {number: lease for number, lease in lost.items() if number != self.slot.number}
