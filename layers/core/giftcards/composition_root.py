"""The composition root: builds settings, clients, adapters and use cases, once per container.

boto3 and the modules that need it are imported inside the functions: they take longer to import than everything else
together (bench/handlers.py), and not every function needs all of them.

Tests replace what comes from outside, and start another container, with one call: ``use``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aws_lambda_powertools import Metrics

from giftcards.logs import log, logger
from giftcards.metrics import NAMESPACE, Metric
from giftcards.outside import Outside, now, once, outside, use
from giftcards.rules.gate import CHECK_SLOT_WAIT, DELIVERY_SLOT_WAIT, SlotWait
from giftcards.settings import (
    CheckStatusSettings,
    CountEventsSettings,
    DeliverCardsSettings,
    MeasureOrdersSettings,
    ReconcileOrdersSettings,
    RevealCardsSettings,
    SupplierSettings,
    SweepOrdersSettings,
)
from giftcards.use_cases.check_status import StatusCheck
from giftcards.use_cases.gated_supplier import GatedSupplier
from giftcards.use_cases.shared_list import SharedList

if TYPE_CHECKING:
    from giftcards.use_cases.deliver_cards import CardDelivery
    from giftcards.use_cases.measure_orders import OrderMeasurement
    from giftcards.use_cases.reconcile_orders import Reconciliation
    from giftcards.use_cases.reveal_cards import CardReveal
    from giftcards.use_cases.sweep_orders import OrderSweep

__all__ = ["Outside", "log", "logger", "now", "use"]  # functions and tests get these from this module


def jitter() -> float:
    """Return a random number in [0, 1)."""
    return outside().jitter()


@contextmanager
def naming_outages() -> Iterator[None]:
    """Raise AwsUnavailableError, for which the workflow waits, if AWS throttles, fails or cannot be reached."""
    try:
        yield
    except Exception as error:
        from giftcards.adapters.aws import outage_of

        outage = outage_of(error)
        if outage is None:
            raise
        raise outage from None


@once
def metrics() -> Metrics:
    """Build the metrics, which CloudWatch reads from the log (embedded metric format)."""
    built = Metrics(namespace=NAMESPACE)
    built.set_default_dimensions(stage=CountEventsSettings.from_environment(outside().environment).stage_name)
    return built


def measure(metric: Metric, value: float) -> None:
    """Add a value to the metrics of this invocation."""
    metrics().add_metric(name=metric.label, unit=metric.unit, value=value)


@once
def status_check() -> StatusCheck:
    from giftcards.adapters import aws
    from giftcards.adapters.snapshot_table import SnapshotTable

    settings = CheckStatusSettings.from_environment(outside().environment)
    supplier = _gated_supplier(settings, CHECK_SLOT_WAIT)
    snapshots = SnapshotTable(settings.gate_table_name, aws.dynamodb())
    shared_list = SharedList(supplier, snapshots, now, outside().pause, measure)
    return StatusCheck(supplier, shared_list, settings.policy, now, measure)


@once
def card_delivery() -> "CardDelivery":
    from giftcards.adapters import aws
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.order_table import OrderTable
    from giftcards.use_cases.deliver_cards import CardDelivery

    settings = DeliverCardsSettings.from_environment(outside().environment)
    return CardDelivery(
        supplier=_gated_supplier(settings, DELIVERY_SLOT_WAIT),
        cipher=outside().card_cipher(settings.card_key_arn),
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        policy=settings.policy,
        card_retention=settings.card_retention,
        measure=measure,
    )


@once
def card_reveal() -> "CardReveal":
    from giftcards.adapters import aws
    from giftcards.adapters.audit_table import AuditTable
    from giftcards.adapters.order_table import OrderTable
    from giftcards.use_cases.reveal_cards import CardReveal

    settings = RevealCardsSettings.from_environment(outside().environment)
    return CardReveal(
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        cipher=outside().card_cipher(settings.card_key_arn),
        audit=AuditTable(settings.audit_table_name, aws.dynamodb()),
        measure=measure,
    )


@once
def order_sweep() -> "OrderSweep":
    from giftcards.adapters import aws
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.executions import Executions
    from giftcards.adapters.order_table import OrderTable
    from giftcards.use_cases.sweep_orders import OrderSweep

    settings = SweepOrdersSettings.from_environment(outside().environment)
    return OrderSweep(
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        executions=Executions(aws.step_functions()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
    )


@once
def order_measurement() -> "OrderMeasurement":
    from giftcards.adapters import aws
    from giftcards.adapters.api_key import ApiKeySource
    from giftcards.adapters.gate_table import GateTable
    from giftcards.adapters.order_table import OrderTable
    from giftcards.use_cases.measure_orders import OrderMeasurement

    settings = MeasureOrdersSettings.from_environment(outside().environment)
    return OrderMeasurement(
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        gate=GateTable(settings.gate_table_name, aws.dynamodb()),
        api_key=ApiKeySource(settings.supplier_api_key_secret_arn, aws.secrets_manager()),
        measure=measure,
    )


@once
def reconciliation() -> "Reconciliation":
    from giftcards.adapters import aws
    from giftcards.adapters.discrepancy_table import DiscrepancyTable
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.order_table import OrderTable
    from giftcards.use_cases.reconcile_orders import Reconciliation

    settings = ReconcileOrdersSettings.from_environment(outside().environment)
    return Reconciliation(
        supplier=_gated_supplier(settings, CHECK_SLOT_WAIT),
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        discrepancies=DiscrepancyTable(settings.difference_table_name, aws.dynamodb()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        clock=now,
        pause=outside().pause,
        jitter=jitter,
    )


def _gated_supplier(settings: SupplierSettings, slot_wait: SlotWait) -> GatedSupplier:
    from giftcards.adapters import aws
    from giftcards.adapters.api_key import ApiKeySource
    from giftcards.adapters.gate_table import GateTable

    return GatedSupplier(
        supplier=outside().supplier(settings.supplier_base_url),
        api_key=ApiKeySource(settings.supplier_api_key_secret_arn, aws.secrets_manager()),
        gate=GateTable(settings.gate_table_name, aws.dynamodb()),
        clock=now,
        measure=measure,
        pause=outside().pause,
        jitter=jitter,
        slot_wait=slot_wait,
    )
