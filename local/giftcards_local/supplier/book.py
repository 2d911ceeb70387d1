"""The simulator's state: orders, keys, faults, and the calls it received."""

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from giftcards_local.supplier.faults import FaultBoard
from giftcards_local.supplier.keys import BlockRule, KeyRing, key_id
from giftcards_local.supplier.orders import FinalStatus, FulfilAfter, Order, OrderId, Quantity, outcome
from giftcards_local.supplier.orders import seconds_to_fulfil as draw
from giftcards_local.supplier.wire import Seconds, WireModel

SANDBOX_API_KEY = "sandbox-key-0000000000000000"
DEFAULT_PRODUCT_ID = "507f1f77bcf86cd799439011"

_fulfil_after = TypeAdapter[FulfilAfter](FulfilAfter)
_orders = TypeAdapter(list[Order])


class UnreadableStateError(ValueError):
    """The state file exists but does not contain orders of this simulator."""


class OrderChange(WireModel):
    """The fields of an order that can be set at creation or changed later."""

    quantity: Quantity | None = None
    type_id: str | None = Field(default=None, min_length=1)
    status: FinalStatus | None = None
    fulfilled_quantity: int | None = Field(default=None, ge=0)
    fulfil_after: FulfilAfter | None = None
    price_per_card: float | None = Field(default=None, ge=0)


class NewOrder(OrderChange):
    """An order to create; unlike in ``placeOrder``, its id, final status and age can be set."""

    order_id: OrderId | None = None
    quantity: Quantity
    placed_seconds_ago: Seconds = 0
    product_id: str = Field(default=DEFAULT_PRODUCT_ID, min_length=1)


class Call:
    """A received call; its status is None until the response."""

    def __init__(self, at: datetime, route: str, order_id: str | None, key: str | None) -> None:
        self.at = at
        self.route = route
        self.order_id = order_id
        self.status: int | None = None
        # Not the key: tests print the list of calls.
        self.key_id = key_id(key) if key else None

    def document(self) -> dict[str, JsonValue]:
        """Return the call as ``GET /control/calls`` does."""
        return {
            "at": self.at.isoformat(),
            "route": self.route,
            "orderId": self.order_id,
            "status": self.status,
            "keyId": self.key_id,
        }


class SupplierBook:
    """The state of one simulator. Used only in the event loop of its server, so it needs no locks.

    Parameters
    ----------
    fulfil_after
        Default seconds until an order is final, or a distribution of them.
    state_file
        Keeps the orders across restarts, never cards or keys. None: orders are lost.

    Raises
    ------
    UnreadableStateError
        If the state file does not contain orders.
    """

    def __init__(
        self,
        *,
        api_keys: Iterable[str] = (SANDBOX_API_KEY,),
        fulfil_after: FulfilAfter | Mapping[str, object] = 8,
        state_file: Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        block: BlockRule = BlockRule(),  # noqa: B008 - frozen
    ) -> None:
        self.keys = KeyRing(api_keys, block)
        self.faults = FaultBoard()
        self.calls: list[Call] = []
        self.clock = clock
        self._fulfil_after = _fulfil_after.validate_python(fulfil_after)
        self._state_file = state_file
        self._orders = {order.order_id: order for order in _load(state_file)}

    def record(self, route: str, order_id: str | None, key: str | None) -> Call:
        call = Call(self.clock(), route, order_id, key)
        self.calls.append(call)
        return call

    def order(self, order_id: str) -> Order | None:
        return self._orders.get(order_id)

    def newest_first(self) -> list[Order]:
        """Return the orders as the supplier lists them; of two placed at the same time, the one created later first."""
        return sorted(self._orders.values(), key=lambda order: order.placed_at)[::-1]

    def add(self, new: NewOrder) -> Order:
        """Create an order.

        Raises
        ------
        ValueError
            If the id is taken, or status and counts contradict each other.
        """
        # 24 hex digits, as in https://docs.oneclickdz.com/en/api-reference/gift-cards/check-order
        order_id = new.order_id or secrets.token_hex(12)
        if order_id in self._orders:
            raise ValueError(f"order {order_id} exists already")
        type_id = new.type_id or "type_001"
        wait = self._fulfil_after if new.fulfil_after is None else new.fulfil_after
        return self._keep(
            Order(
                orderId=order_id,
                productId=new.product_id,
                typeId=type_id,
                quantity=new.quantity,
                fulfilledQuantity=outcome(new.quantity, type_id, new.status, new.fulfilled_quantity),
                pricePerCard=490 if new.price_per_card is None else new.price_per_card,
                placedAt=self.clock() - timedelta(seconds=new.placed_seconds_ago),
                fulfilAfter=draw(wait, order_id),
            )
        )

    def change(self, order: Order, change: OrderChange) -> Order:
        """Change an order; ``fulfilAfter`` counts from when it was placed.

        Raises
        ------
        ValueError
            If status and counts contradict each other.
        """
        updates = change.model_dump(exclude_none=True, exclude={"status", "fulfilled_quantity", "fulfil_after"})
        changed = order.model_copy(update=updates)
        if change.fulfil_after is not None:
            changed = changed.model_copy(update={"fulfil_after": draw(change.fulfil_after, order.order_id)})
        if change.model_fields_set & {"quantity", "type_id", "status", "fulfilled_quantity"}:
            status = change.status
            if status is None and change.fulfilled_quantity is None and change.type_id is None:
                # A new quantity alone keeps the final status: all, some or none of the cards.
                status = order.final_status
            count = outcome(changed.quantity, changed.type_id, status, change.fulfilled_quantity)
            changed = changed.model_copy(update={"fulfilled_quantity": count})
        return self._keep(changed)

    def _keep(self, order: Order) -> Order:
        self._orders[order.order_id] = order
        if self._state_file is not None:
            document = {"orders": _orders.dump_python(list(self._orders.values()), mode="json", by_alias=True)}
            # Written to another file and renamed: a killed simulator leaves the old state or the new one.
            temporary = self._state_file.with_name(self._state_file.name + ".new")
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(self._state_file)
        return order


def _load(state_file: Path | None) -> list[Order]:
    if state_file is None or not state_file.exists():
        return []
    try:
        return _orders.validate_python(json.loads(state_file.read_text(encoding="utf-8"))["orders"])
    except (ValidationError, ValueError, KeyError, TypeError):
        raise UnreadableStateError(f"{state_file} does not hold orders of the supplier simulator") from None
