"""The supplier behind the gate, with clock, key and metrics that a test controls."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from giftcards.adapters import aws
from giftcards.adapters.api_key import ApiKeySource
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.oneclickdz.supplier import Supplier
from giftcards.adapters.snapshot_table import SnapshotTable
from giftcards.contracts.supplier import OrderProgress
from giftcards.metrics import Metric
from giftcards.rules.gate import Block, SlotWait
from giftcards.use_cases.check_status import StatusCheck
from giftcards.use_cases.gated_supplier import GatedSupplier
from giftcards.use_cases.shared_list import SharedList
from support.cloud import Cloud
from support.examples import NOW, ORDER_ID, POLL_POLICY
from support.supplier import BASE_URL, KeyRing, SupplierDouble

NO_SLOT_WAIT = SlotWait(0, 0)
"""A caller that finds all slots in use gives up."""


class Journaled:
    """Records the name and first argument of each method call, and forwards it."""

    def __init__(self, wrapped: object, journal: list[tuple[str, Any]]) -> None:
        self._wrapped, self._journal = wrapped, journal

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._wrapped, name)

        def noted(*args: Any, **options: Any) -> Any:
            self._journal.append((name, args[0] if args else None))
            return method(*args, **options)

        return noted


@dataclass
class Clock:
    """A clock that moves only when a test advances it."""

    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Measures:
    """Records metrics."""

    def __init__(self) -> None:
        self.taken: list[tuple[Metric, float]] = []

    def __call__(self, metric: Metric, value: float) -> None:
        self.taken.append((metric, value))


class GatedDouble:
    """The supplier behind the cloud's gate, with a double of the supplier, a key and a clock."""

    def __init__(self, cloud: Cloud) -> None:
        self.supplier = SupplierDouble()
        self.keys = KeyRing()
        self.clock = Clock()
        self.record = GateTable(cloud.gate_table, aws.dynamodb())
        self.journal: list[tuple[str, Any]] = []
        self.measures = Measures()
        self.pauses: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.gated = self.container(Supplier(BASE_URL, self.supplier.client()))

    def container(self, supplier: Any, slot_wait: SlotWait = NO_SLOT_WAIT) -> GatedSupplier:
        """Return another container's supplier behind the same gate."""
        return GatedSupplier(
            Journaled(supplier, self.journal),
            self.keys,
            Journaled(self.record, self.journal),
            self.clock,
            self.measures,
            self.pause,
            lambda: 0.5,
            slot_wait,
        )

    def pause(self, seconds: float) -> None:
        """Sleep on the test's clock, and let others act meanwhile."""
        self.pauses.append(seconds)
        self.clock.advance(seconds)
        self.meanwhile()

    def ask(self, order_id: str = ORDER_ID) -> Any:
        return self.gated.ask(order_id, OrderProgress)

    @property
    def steps(self) -> list[str]:
        """The calls of gate and supplier, in order."""
        return [name for name, _ in self.journal]

    @property
    def blocks(self) -> list[Block]:
        """Every block of the gate."""
        return [block for name, block in self.journal if name == "block"]


def status_check_of(
    supplier: GatedSupplier, cloud: Cloud, clock: Clock, measures: Measures | None = None
) -> StatusCheck:
    """Return the check of orders with the cloud's shared list."""
    measure = measures or Measures()
    snapshots = SnapshotTable(cloud.gate_table, aws.dynamodb())
    shared_list = SharedList(supplier, snapshots, clock, clock.advance, measure)
    return StatusCheck(supplier, shared_list, POLL_POLICY, clock, measure)


def supplier_on(
    cloud: Cloud, supplier: SupplierDouble, clock: Clock, measures: Measures | None = None
) -> GatedSupplier:
    """Return a supplier behind the cloud's gate, with the key in the cloud's secret."""
    return GatedSupplier(
        supplier=Supplier(BASE_URL, supplier.client()),
        api_key=ApiKeySource(cloud.secret_arn, aws.secrets_manager()),
        gate=GateTable(cloud.gate_table, aws.dynamodb()),
        clock=clock,
        measure=measures or Measures(),
        pause=clock.advance,
        jitter=lambda: 0.5,
        slot_wait=NO_SLOT_WAIT,
    )
