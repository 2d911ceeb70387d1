"""Asking the supplier through the gate: the one way in which functions call it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from pydantic import SecretStr

from giftcards.metrics import Meter, Metric
from giftcards.rules.gate import Closing, Gate, Place, accepts_key, admit, closing_after
from giftcards.rules.trouble import Trouble, TroubleKind
from giftcards.supplier_contract import OrderPage

if TYPE_CHECKING:
    from giftcards.adapters.api_key import ApiKey, ApiKeySource
    from giftcards.adapters.gate_table import GateTable
    from giftcards.adapters.supplier import Supplier, View

Answer = TypeVar("Answer")
TRIES_FOR_A_PLACE = 3
"""How often a caller tries for a place that others take before it; then it queues outside, in its Wait state."""


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
    """

    supplier: "Supplier"
    api_key: "ApiKeySource"
    gate: "GateTable"
    clock: Callable[[], datetime]
    measure: Meter
    _compared: Closing | None = field(default=None, init=False)

    def ask(self, order_id: str, view: "type[View]") -> "View | Trouble":
        """Ask for an order, unless the gate is closed; close it for all orders where the answer says so."""
        return self._call(lambda key: self.supplier.check_order(order_id, key, view))

    def list_orders(self, page: int, placed_from: datetime, placed_to: datetime) -> OrderPage | Trouble:
        """Ask for a page of the supplier's list, under the same rules; each page takes a place of its own."""
        return self._call(lambda key: self.supplier.list_orders(page, placed_from, placed_to, key))

    def _call(self, call: Callable[[SecretStr], Answer | Trouble]) -> Answer | Trouble:
        for _ in range(TRIES_FOR_A_PLACE):
            key, gate = self._look()
            place = admit(gate, self.clock(), key.version)
            if isinstance(place, Trouble):
                return place
            if key.value is None:
                missing = Trouble(TroubleKind.KEY_MISSING, f"There is no API key for the supplier. {key.problem}")
                self._close_if_due(missing, key)
                return missing
            if self.gate.take(place, gate):
                return self._call_from(place, gate, key, key.value, call)
        return Trouble(TroubleKind.QUEUED, "Others took every place at the supplier's gate first.")

    def _call_from(
        self, place: Place, gate: Gate, key: "ApiKey", value: SecretStr, call: Callable[[SecretStr], Answer | Trouble]
    ) -> Answer | Trouble:
        """Call, and give the place back once the gate shows what the answer was.

        Not if anything is raised: the place is then free when its lease ends, and nobody presents a key meanwhile
        that may just have been refused.
        """
        started = self.clock()
        answer = call(value)
        self.measure(Metric.SUPPLIER_LATENCY, (self.clock() - started).total_seconds() * 1000)
        self.measure(Metric.of_call(answer.kind if isinstance(answer, Trouble) else None), 1)
        if isinstance(answer, Trouble):
            self._close_if_due(answer, key)
        if accepts_key(answer) and gate.accepted_version != key.version:
            self.gate.accept(key.version, gate)
        self.gate.give_back(place)
        return answer

    def _close_if_due(self, trouble: Trouble, key: "ApiKey") -> None:
        closing = closing_after(trouble, self.clock(), key.version)
        if closing is not None:
            self.gate.close(closing)

    def _look(self) -> tuple["ApiKey", Gate]:
        key, gate = self.api_key.read(), self.gate.read()
        # Another container may have used a newer key than the one cached here. Without a look at the secret, once
        # for each refusal, two containers would present refused keys in turns.
        refusal = gate.refusal
        if refusal is not None and refusal.key_version != key.version and refusal != self._compared:
            key, self._compared = self.api_key.read(fresh=True), refusal
        return key, gate
