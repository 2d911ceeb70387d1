"""Asking the supplier through the gate: the one way in which functions call it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from pydantic import SecretStr

from giftcards.metrics import Meter, Metric
from giftcards.rules.gate import (
    Gate,
    Lease,
    Place,
    Suspicion,
    accepts_key,
    admit,
    closing_after,
    is_suspicious,
    refusal_of,
)
from giftcards.rules.trouble import Trouble, TroubleKind
from giftcards.supplier_contract import OrderPage

if TYPE_CHECKING:
    from giftcards.adapters.api_key import ApiKey, ApiKeySource
    from giftcards.adapters.gate_table import GateTable
    from giftcards.adapters.supplier import Supplier, View

Answer = TypeVar("Answer")
TRIES_FOR_A_PLACE = 3
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

    def ask(self, order_id: str, view: "type[View]") -> "View | Trouble":
        """Ask for an order, unless the gate is closed; close it for all orders where the answer says so."""
        return self._call(lambda key: self.supplier.check_order(order_id, key, view), order_id)

    def list_orders(self, page: int, placed_from: datetime, placed_to: datetime) -> OrderPage | Trouble:
        """Ask for a page of the supplier's list, under the same rules; each page takes a place of its own."""
        return self._call(lambda key: self.supplier.list_orders(page, placed_from, placed_to, key), None)

    def _call(self, call: Callable[[SecretStr], Answer | Trouble], order_id: str | None) -> Answer | Trouble:
        for _ in range(TRIES_FOR_A_PLACE):
            key, gate = self._look()
            place = admit(gate, self.clock(), key.version, self.token())
            if isinstance(place, Trouble):
                return place
            if key.value is None:
                missing = Trouble(TroubleKind.KEY_MISSING, f"There is no API key for the supplier. {key.problem}")
                self._close_if_due(missing, key)
                return missing
            if self._take(place, gate):
                return self._call_from(_Admitted(place, gate, key, order_id), key.value, call)
        return Trouble(TroubleKind.QUEUED, "Others took every place at the supplier's gate first.")

    def _take(self, place: Place, seen: Gate) -> bool:
        try:
            return self.gate.take(place, seen)
        except Exception:  # the write may have happened, and no call was made: the place must not count as lost
            self.gate.give_back(place, is_answered=False)
            raise

    def _call_from(
        self, admitted: "_Admitted", value: SecretStr, call: Callable[[SecretStr], Answer | Trouble]
    ) -> Answer | Trouble:
        """Call, and give the place back once the gate shows what the answer was.

        Not if anything is raised: nobody else can know then what the supplier has answered, and the place is lost to
        this key until the supplier accepts it.
        """
        place, started = admitted.place, self.clock()
        if started > place.start_by:  # the call might outlast its lease, and be one too many
            self.gate.give_back(place, is_answered=False)
            return Trouble(TroubleKind.QUEUED, "It took too long to acquire a slot at the supplier gate.")
        answer = call(value)
        self.measure(Metric.SUPPLIER_LATENCY, (self.clock() - started).total_seconds() * 1000)
        self.measure(Metric.of_call(answer.kind if isinstance(answer, Trouble) else None), 1)
        if isinstance(answer, Trouble):
            answer = self._weigh(answer, admitted)
        elif admitted.seen.is_tried_alone(started, admitted.key.version):
            self.gate.accept(admitted.key.version, admitted.seen, admitted.lost_to_others(started))
        self.gate.give_back(place, is_answered=accepts_key(answer))
        return answer

    def _weigh(self, trouble: Trouble, admitted: "_Admitted") -> Trouble:
        """Close the gate if the trouble is about all orders, and say what the trouble is in that light."""
        order_id, suspicion, now = admitted.order_id, admitted.seen.suspicion, self.clock()
        if not is_suspicious(trouble) or order_id is None:
            self._close_if_due(trouble, admitted.key)
            return trouble
        if suspicion is None or suspicion.is_over(now):
            self.gate.suspect(Suspicion(order_id, refusal_of(trouble), now), instead_of=suspicion)
            return trouble
        denied = suspicion.confirmed_by(trouble, order_id, now)
        closing = None if denied is None else closing_after(denied, now, admitted.key.version)
        if denied is None or closing is None or not self.gate.close(closing, confirmed=suspicion):
            return trouble
        return denied

    def _close_if_due(self, trouble: Trouble, key: "ApiKey") -> None:
        closing = closing_after(trouble, self.clock(), key.version)
        if closing is not None:
            self.gate.close(closing)

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

    place: Place
    seen: Gate
    key: "ApiKey"
    order_id: str | None

    def lost_to_others(self, now: datetime) -> dict[int, Lease]:
        """Return the leases of earlier calls whose answer nobody knows, without the one that this caller replaced."""
        lost = self.seen.lost(now, self.key.version)
        return {number: lease for number, lease in lost.items() if number != self.place.number}
