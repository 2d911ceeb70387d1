"""The supplier of a simulated world: the simulator, over HTTP, behind the service's adapter."""

from collections.abc import Callable
from functools import cache
from typing import Any

from giftcards.adapters.oneclickdz.supplier import Supplier, new_client
from giftcards_local.supplier import SupplierBook, SupplierServer
from giftcards_local.supplier.faults import Fault
from simulation.functions import Functions
from simulation.timeline import Timeline

SUPPLIER_SECONDS = 0.05
"""Simulated duration of a call to the supplier."""
REAL_TIMEOUT_SECONDS = 0.25
"""Real timeout of a call to the supplier; tests wait for it."""


class SimulatedSupplier:
    """The service's adapter, whose calls take simulated time, can be intercepted, and can go to another address."""

    def __init__(self, timeline: Timeline, functions: Functions, api_key: str) -> None:
        self._timeline = timeline
        self._functions = functions
        self._server, self.book = _server()
        self.book.__init__(api_keys=[api_key], fulfil_after=0)  # type: ignore[misc] # it starts over
        self._moved_to = ""
        self._moved_after_calls = 0

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def fault(self, **fault: Any) -> str:
        """Add a fault to the simulator."""
        return self.book.faults.add(Fault.model_validate(fault))

    def move_to(self, url: str, *, after_calls: int = 0) -> None:
        """Send calls to another address, after some more calls."""
        self._moved_to, self._moved_after_calls = url, after_calls

    def recover(self) -> None:
        """End every fault."""
        self._moved_to = ""
        self.book.faults.clear()

    def check_order(self, *arguments: Any) -> Any:
        return self._call("checkOrder", lambda supplier: supplier.check_order(*arguments))

    def list_orders(self, *arguments: Any) -> Any:
        return self._call("listOrders", lambda supplier: supplier.list_orders(*arguments))

    def list_statuses(self, *arguments: Any) -> Any:
        return self._call("listStatuses", lambda supplier: supplier.list_statuses(*arguments))

    def _call(self, operation: str, call: Callable[[Supplier], Any]) -> Any:
        self._functions.intercept(operation, "before")
        is_moved = self._moved_to and len(self.book.calls) >= self._moved_after_calls
        answer = call(_adapter(self._moved_to if is_moved else self.url))
        self._timeline.pass_by(SUPPLIER_SECONDS)
        self._functions.intercept(operation, "after")
        return answer


@cache
def _server() -> tuple[SupplierServer, SupplierBook]:
    """Start the simulator. All worlds of this process use it one after another, because stopping it is slow."""
    book = SupplierBook()
    return SupplierServer(book).__enter__(), book


@cache
def _adapter(url: str) -> Supplier:
    """Build the adapter once for an address: its HTTP client takes longer than most tests."""
    return Supplier(url, new_client(), total_seconds=REAL_TIMEOUT_SECONDS)
