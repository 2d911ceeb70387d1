"""Asking the supplier through the gate: the one way in which functions call it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from pydantic import SecretStr

from giftcards.contracts.supplier import OrderPage
from giftcards.metrics import Meter, Metric
from giftcards.rules.gate import (
    Gate,
    Lease,
    Slot,
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
"""How often a caller tries for a place that others take before it; then it queues outside, in its Wait state."""


def random_token() -> str:
    """Make a token that no other caller has."""
    return uuid4().hex


@dataclass
class GatedSupplier:
    """The supplier behind its gate.

    Attributes
    ----------
    supplier
        The supplier's routes.
    api_key
        Where the key comes from.
    gate
        The record that all callers read before they call.
    clock
        Returns the time, with a time zone.
    measure
        What is told of each call: how long it took, and what it came to.
    token
        Makes the random token of each lease.
    """

    supplier: "Supplier"
    api_key: "ApiKeySource"
    gate: "GateTable"
    clock: Callable[[], datetime]
    measure: Meter
    token: Callable[[], str] = random_token
    _compared: str | None = field(default=None, init=False)

    def ask(self, order_id: str, view: "type[View]") -> "View | SupplierFailure":
        """Ask for an order, unless the gate is closed; close it for all orders where the answer says so."""
        return self._call(lambda key: self.supplier.check_order(order_id, key, view), order_id)

    def list_orders(self, page: int, placed_from: datetime, placed_to: datetime) -> OrderPage | SupplierFailure:
        """Ask for a page of the supplier's list, under the same rules; each page takes a place of its own."""
        return self._call(lambda key: self.supplier.list_orders(page, placed_from, placed_to, key), None)

    def _call(
        self, call: Callable[[SecretStr], Answer | SupplierFailure], order_id: str | None
    ) -> Answer | SupplierFailure:
        for _ in range(MAX_ACQUIRE_ATTEMPTS):
            key, gate = self._look()
            slot = admit(gate, self.clock(), key.version, self.token())
            if isinstance(slot, SupplierFailure):
                return slot
            if key.value is None:
                missing = SupplierFailure(
                    FailureKind.KEY_MISSING, f"There is no API key for the supplier. {key.problem}"
                )
                self._close_if_due(missing, key)
                return missing
            if self._take(slot, gate):
                return self._call_from(_Admitted(slot, gate, key, order_id), key.value, call)
        return SupplierFailure(FailureKind.QUEUED, "Others took every place at the supplier's gate first.")

    def _take(self, slot: Slot, seen: Gate) -> bool:
        try:
            return self.gate.acquire(slot, seen)
        except Exception:  # the write may have happened, and no call was made: the place must not count as lost
            self.gate.release(slot, is_answered=False)
            raise

    def _call_from(
        self, admitted: "_Admitted", value: SecretStr, call: Callable[[SecretStr], Answer | SupplierFailure]
    ) -> Answer | SupplierFailure:
        """Call, and give the place back once the gate shows what the answer was.

        Not if anything is raised: nobody else can know then what the supplier has answered, and the place is lost to
        this key until the supplier accepts it.
        """
        slot, started = admitted.slot, self.clock()
        if started > slot.start_by:  # the call might outlast its lease, and be one too many
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
        """Close the gate if the trouble is about all orders, and say what the trouble is in that light."""
        order_id, suspicion, now = admitted.order_id, admitted.seen.suspicion, self.clock()
        if not is_suspicious(failure) or order_id is None:
            self._close_if_due(failure, admitted.key)
            return failure
        if suspicion is None or suspicion.is_over(now):
            self.gate.suspect(Suspicion(order_id, refusal_of(failure), now), instead_of=suspicion)
            return failure
        denied = suspicion.confirmed_by(failure, order_id, now)
        block = None if denied is None else block_after(denied, now, admitted.key.version)
        if denied is None or block is None or not self.gate.close(block, confirmed=suspicion):
            return failure
        return denied

    def _close_if_due(self, failure: SupplierFailure, key: "ApiKey") -> None:
        block = block_after(failure, self.clock(), key.version)
        if block is not None:
            self.gate.close(block)

    def _look(self) -> tuple["ApiKey", Gate]:
        key, gate = self.api_key.read(), self.gate.read()
        # Another container may have presented a newer key than the one cached here. Without a look at the secret, once
        # for each such key, this one would present a key that has been replaced.
        presented = gate.presented_version
        if presented not in {None, key.version, self._compared}:
            key, self._compared = self.api_key.read(fresh=True), presented
        return key, gate


@dataclass(frozen=True)
class _Admitted:
    """A caller that has got a place.

    Attributes
    ----------
    seen
        The record as it was read before.
    order_id
        Which order it asks about; None where it asks for the list.
    """

    slot: Slot
    seen: Gate
    key: "ApiKey"
    order_id: str | None

    def lost_to_others(self, now: datetime) -> dict[int, Lease]:
        """Return the leases of earlier calls whose answer nobody knows, without the one that this caller replaced."""
        lost = self.seen.lost(now, self.key.version)
        return {number: lease for number, lease in lost.items() if number != self.slot.number}
