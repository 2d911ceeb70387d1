"""A client for the control routes of a simulator in this process or in another."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Literal, Self, TypedDict, Unpack
from urllib.parse import quote

import httpx
from pydantic import JsonValue, TypeAdapter
from pydantic.alias_generators import to_camel

from giftcards_local.supplier.orders import FinalStatus, Lognormal, Uniform
from giftcards_local.supplier.wire import WireModel


class ControlRefusedError(RuntimeError):
    """The simulator refused a control request; the text is its message."""


class RecordedCall(WireModel):
    """A call that the simulator received; the status is None without a response."""

    at: datetime
    route: str
    order_id: str | None
    status: int | None
    key_id: str | None


class OrderFields(TypedDict, total=False):
    """The fields of a new or changed order; see ``book.OrderChange``."""

    type_id: str
    status: FinalStatus
    fulfilled_quantity: int
    fulfil_after: float | Lognormal | Uniform | Mapping[str, object]
    price_per_card: float


class NewOrderFields(OrderFields, total=False):
    """The fields of a new order in addition to its quantity."""

    order_id: str
    product_id: str
    placed_seconds_ago: float


class ChangeFields(OrderFields, total=False):
    """The fields of a changed order; see ``book.OrderChange``."""

    quantity: int


class SlowBodyFields(TypedDict):
    """The chunks of a slow body; names as in JSON."""

    chunkBytes: int
    intervalSeconds: float


class FaultFields(TypedDict, total=False):
    """The fields of a fault; see ``faults.Fault``."""

    order_id: str
    route: Literal["checkOrder", "list", "placeOrder", "validate"]
    status: int
    body: object
    raw_body: str
    headers: Mapping[str, str]
    retry_after: str | float
    delay_seconds: float
    slow_body: SlowBodyFields
    endless_body: bool
    drop_connection: Literal["before", "mid-body"]
    times: int
    after_calls: int
    merge: Mapping[str, object]
    put: Mapping[str, object]
    byte_order_mark: bool


_calls = TypeAdapter(list[RecordedCall])


class SupplierControl:
    """Creates orders, faults and keys in a running simulator, and reads the calls it received.

    Every method raises ``ControlRefusedError`` if the simulator refuses the request.
    """

    def __init__(self, url: str) -> None:
        # Not through the proxies of the environment: the simulator is on 127.0.0.1.
        self._http = httpx.Client(base_url=f"{url}/control", timeout=10, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def add_order(self, quantity: int = 1, **order: Unpack[NewOrderFields]) -> str:
        """Create an order and return its id."""
        return str(self._ask("POST", "/orders", {"quantity": quantity, **_wire(order)})["orderId"])

    def change_order(self, order_id: str, **change: Unpack[ChangeFields]) -> None:
        """Change an order; ``fulfil_after=0`` settles it now."""
        self._ask("PATCH", f"/orders/{quote(order_id, safe='')}", _wire(change))

    def add_fault(self, **fault: Unpack[FaultFields]) -> str:
        """Activate a fault and return its id."""
        return str(self._ask("POST", "/faults", _wire(fault))["faultId"])

    def clear_faults(self, fault_id: str | None = None) -> None:
        """Remove one fault, or all."""
        self._ask("DELETE", "/faults" if fault_id is None else f"/faults/{quote(fault_id, safe='')}")

    def set_keys(self, valid: Iterable[str]) -> None:
        """Accept these keys and no others."""
        self._ask("PUT", "/keys", {"valid": list(valid)})

    def clear_blocks(self) -> None:
        """Reset the count of wrong keys and the block."""
        self._ask("DELETE", "/blocks")

    def calls(self) -> list[RecordedCall]:
        """Return the received calls, oldest first."""
        return _calls.validate_json(self._send("GET", "/calls", None).content)

    def clear_calls(self) -> None:
        self._ask("DELETE", "/calls")

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, JsonValue]:
        response = self._send(method, path, body)
        return dict(response.json()) if response.content else {}

    def _send(self, method: str, path: str, body: Mapping[str, object] | None) -> httpx.Response:
        response = self._http.request(method, path, json=body)
        if response.is_error:
            is_json = response.headers.get("content-type", "").startswith("application/json")
            raise ControlRefusedError(response.json()["message"] if is_json else f"status {response.status_code}")
        return response


def _wire(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        to_camel(name): value.model_dump(by_alias=True) if isinstance(value, WireModel) else value
        for name, value in fields.items()
    }
