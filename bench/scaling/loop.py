"""The loop in the supplier's documents: each order polls for itself, without a gate, and the answer has its cards.

Every 5 seconds, 120 times at most (https://docs.oneclickdz.com/en/polling-strategies). Then the order is given up.
"""

from collections.abc import Generator
from functools import partial

import httpx

from scaling.clock import VirtualTime
from scaling.supplier import SimulatedOrder, Supplier

INTERVAL_SECONDS, MAX_POLLS = 5.0, 120
READ_TIMEOUT_SECONDS = 5.0


class Loop:
    """A program that polls."""

    def __init__(self, clock: VirtualTime, supplier: Supplier, key: str) -> None:
        self._clock = clock
        self._supplier = supplier
        self._key = key

    def place(self, order: SimulatedOrder) -> None:
        """Place an order at the supplier and poll for it."""
        self._supplier.add(order)
        self._continue(self._poll(order))

    def _continue(self, waits: Generator[float, None, None]) -> None:
        seconds = next(waits, None)
        if seconds is not None:
            self._clock.after(seconds, partial(self._continue, waits))

    def _poll(self, order: SimulatedOrder) -> Generator[float, None, None]:
        supplier, target = self._supplier, f"/v3/gift-cards/checkOrder/{order.order_id}"
        for _ in range(MAX_POLLS):
            yield INTERVAL_SECONDS
            with supplier.received(self._key, "loop") as call:
                failure = supplier.failure(self._key)
                if isinstance(failure, httpx.TransportError):
                    timed_out = isinstance(failure, httpx.ReadTimeout)
                    yield READ_TIMEOUT_SECONDS if timed_out else supplier.latency
                    continue
                yield supplier.latency / 2
                call.answer = failure or supplier.answer(target)
                yield supplier.latency / 2
            if call.answer.is_settled:
                order.detected_at = order.delivered_at = self._clock.seconds
                order.ended = "delivered"
                return
        order.ended = "given up"
