"""Asking the supplier through the gate: the one way in which functions call it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from giftcards.adapters.supplier import Supplier, View
from giftcards.rules.gate import Gate, gate_after
from giftcards.rules.trouble import Trouble, TroubleKind

if TYPE_CHECKING:
    from giftcards.adapters.api_key import ApiKey, ApiKeySource
    from giftcards.adapters.gate_table import GateTable


@dataclass
class GatedSupplier:
    """The supplier behind its gate.

    Attributes
    ----------
    supplier
        The status route.
    api_key
        Where the key comes from.
    gate
        The record that all checks read before they call.
    clock
        Returns the time, with a time zone.
    """

    supplier: Supplier
    api_key: "ApiKeySource"
    gate: "GateTable"
    clock: Callable[[], datetime]
    _compared_at: datetime | None = field(default=None, init=False)

    def ask(self, order_id: str, view: type[View]) -> View | Trouble:
        """Ask for an order, unless the gate is closed; close it for all orders where the answer says so."""
        key = self.api_key.read()
        gate = self.gate.read()
        if gate is not None and self._may_have_an_old_key(gate, key):
            key, self._compared_at = self.api_key.read(fresh=True), gate.closed_at
        closed_for = None if gate is None else gate.seconds_closed(self.clock(), key.version)
        if gate is not None and closed_for is not None:
            return Trouble(TroubleKind.GATE_CLOSED, f"Nobody may call the supplier now: {gate.message}", closed_for)
        if key.value is None:
            answer: View | Trouble = Trouble(
                TroubleKind.KEY_MISSING, "The supplier's API key is not set, or cannot be sent in a header."
            )
        else:
            answer = self.supplier.check_order(order_id, key.value, view)
        if isinstance(answer, Trouble):
            closing = gate_after(answer, self.clock(), key.version)
            if closing is not None:
                self.gate.close(closing)
        return answer

    def _may_have_an_old_key(self, gate: Gate, key: "ApiKey") -> bool:
        """Whether another container may have closed the gate for a newer key than the one cached here.

        Without a look at the secret, once for each closing, two containers would present refused keys in turns.
        """
        return gate.until is None and gate.key_version != key.version and gate.closed_at != self._compared_at
