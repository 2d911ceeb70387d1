"""What a container builds once and keeps: settings, clients, adapters.

boto3 and what needs it are imported here, when a container first needs them, and not at the top of any
module that a handler imports: together they take longer to import than all the rest (bench/handlers.py).
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING
from uuid import uuid4

from aws_lambda_powertools import Metrics

from giftcards.adapters.oneclickdz.supplier import Supplier, new_client
from giftcards.logs import log, logger
from giftcards.metrics import NAMESPACE, Metric
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

if TYPE_CHECKING:
    from giftcards.use_cases.deliver_cards import CardDelivery
    from giftcards.use_cases.measure_orders import OrderMeasurement
    from giftcards.use_cases.reconcile_orders import Reconciliation
    from giftcards.use_cases.reveal_cards import CardReveal
    from giftcards.use_cases.sweep_orders import OrderSweep

__all__ = ["log", "logger"]  # functions log through this module


def now() -> datetime:
    """Tell the time in UTC."""
    return datetime.now(UTC)


def jitter() -> float:
    """Draw a number in [0, 1)."""
    return random.random()  # noqa: S311 - it spreads retries, it guards nothing


@contextmanager
def naming_outages() -> Iterator[None]:
    """Raise an outage of AWS under the one name that the workflow waits for; let everything else pass.

    Raises
    ------
    AwsUnavailableError
        If AWS throttles, fails or cannot be reached.
    """
    try:
        yield
    except Exception as error:
        from giftcards.adapters.aws import outage_of

        outage = outage_of(error)
        if outage is None:
            raise
        raise outage from None


@cache
def metrics() -> Metrics:
    """Build what writes metrics into the log, whence CloudWatch takes them (embedded metric format)."""
    built = Metrics(namespace=NAMESPACE)
    built.set_default_dimensions(stage=CountEventsSettings.from_environment().stage_name)
    return built


def measure(metric: Metric, value: float) -> None:
    """Measure something in this invocation."""
    metrics().add_metric(name=metric.label, unit=metric.unit, value=value)


@cache
def status_check() -> StatusCheck:
    """Build what CheckStatus needs."""
    settings = CheckStatusSettings.from_environment()
    return StatusCheck(_gated_supplier(settings), settings.policy, measure)


@cache
def card_delivery() -> "CardDelivery":
    """Build what DeliverCards needs."""
    from giftcards.adapters import aws
    from giftcards.adapters.card_cipher import CardCipher
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.order_table import OrderTable
    from giftcards.use_cases.deliver_cards import CardDelivery

    settings = DeliverCardsSettings.from_environment()
    return CardDelivery(
        supplier=_gated_supplier(settings),
        cipher=CardCipher(settings.card_key_arn),
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        policy=settings.policy,
        card_retention=settings.card_retention,
        new_attempt=lambda: str(uuid4()),
        measure=measure,
    )


@cache
def card_reveal() -> "CardReveal":
    """Build what RevealCards needs."""
    from giftcards.adapters import aws
    from giftcards.adapters.audit_table import AuditTable
    from giftcards.adapters.card_cipher import CardCipher
    from giftcards.adapters.order_table import OrderTable
    from giftcards.use_cases.reveal_cards import CardReveal

    settings = RevealCardsSettings.from_environment()
    return CardReveal(
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        cipher=CardCipher(settings.card_key_arn),
        audit=AuditTable(settings.audit_table_name, aws.dynamodb()),
        measure=measure,
    )


@cache
def order_sweep() -> "OrderSweep":
    """Build what SweepOrders needs."""
    from giftcards.adapters import aws
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.executions import Executions
    from giftcards.adapters.order_table import OrderTable
    from giftcards.use_cases.sweep_orders import OrderSweep

    settings = SweepOrdersSettings.from_environment()
    return OrderSweep(
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        executions=Executions(aws.step_functions()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
    )


@cache
def order_measurement() -> "OrderMeasurement":
    """Build what MeasureOrders needs."""
    from giftcards.adapters import aws
    from giftcards.adapters.api_key import ApiKeySource
    from giftcards.adapters.gate_table import GateTable
    from giftcards.adapters.order_table import OrderTable
    from giftcards.use_cases.measure_orders import OrderMeasurement

    settings = MeasureOrdersSettings.from_environment()
    return OrderMeasurement(
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        gate=GateTable(settings.gate_table_name, aws.dynamodb()),
        api_key=ApiKeySource(settings.supplier_api_key_secret_arn, aws.secrets_manager()),
        measure=measure,
    )


@cache
def reconciliation() -> "Reconciliation":
    """Build what ReconcileOrders needs."""
    from giftcards.adapters import aws
    from giftcards.adapters.discrepancy_table import DifferenceTable
    from giftcards.adapters.event_bus import EventBus
    from giftcards.adapters.order_table import OrderTable
    from giftcards.use_cases.reconcile_orders import Reconciliation

    settings = ReconcileOrdersSettings.from_environment()
    return Reconciliation(
        supplier=_gated_supplier(settings),
        orders=OrderTable(settings.card_table_name, aws.dynamodb()),
        differences=DifferenceTable(settings.difference_table_name, aws.dynamodb()),
        bus=EventBus(settings.order_bus_name, aws.event_bridge()),
        clock=now,
        pause=time.sleep,
        jitter=jitter,
    )


def _gated_supplier(settings: SupplierSettings) -> GatedSupplier:
    from giftcards.adapters import aws
    from giftcards.adapters.api_key import ApiKeySource
    from giftcards.adapters.gate_table import GateTable

    return GatedSupplier(
        supplier=Supplier(settings.supplier_base_url, new_client()),
        api_key=ApiKeySource(settings.supplier_api_key_secret_arn, aws.secrets_manager()),
        gate=GateTable(settings.gate_table_name, aws.dynamodb()),
        clock=now,
        measure=measure,
    )
