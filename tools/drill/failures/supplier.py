"""Failures of the supplier, and of its API key."""

from typing import get_args

from drill.scene import SHORTENED, Failure, Scene
from giftcards.contracts.events import HeldReason
from giftcards.contracts.statuses import FinalStatus
from giftcards.metrics import Metric
from giftcards_local.supplier import SANDBOX_API_KEY


def answers_503(scene: Scene) -> Failure:
    """The supplier answers 503 to every call."""
    scene.service.supplier.control.add_fault(status=503)
    scene.order()
    scene.emitted(Metric.SUPPLIER_BUSY)
    scene.run("MeasureOrders")
    waiting = scene.emitted(Metric.ORDERS_WAITING)
    closed = [Metric.of_status(status) for status in get_args(FinalStatus)]
    assert [metric.label for metric in closed if scene.values(metric)] == []
    yield f"{waiting}, nothing delivered"
    scene.service.supplier.control.clear_faults()
    yield None
    scene.until_published()


def limits_calls_for_a_day(scene: Scene) -> Failure:
    """The supplier answers 429 once, with a Retry-After of a day."""
    scene.service.supplier.control.add_fault(status=429, retry_after=86_400, times=1)
    scene.scale_waits(SHORTENED)
    scene.order()
    scene.emitted(Metric.SUPPLIER_RATE_LIMITED)
    scene.run("MeasureOrders")
    yield scene.emitted(Metric.GATE_CLOSED, 60)
    yield None
    scene.until_published()


def revokes_the_key(scene: Scene) -> Failure:
    """The supplier revokes the API key."""
    scene.service.supplier.control.set_keys(["another-key"])
    scene.scale_waits(SHORTENED)
    scene.order()
    yield scene.emitted(Metric.SUPPLIER_KEY_REFUSED)
    scene.service.supplier.control.set_keys([SANDBOX_API_KEY, "another-key"])
    scene.service.cloud.set_api_key("another-key")
    yield None
    scene.service.until_published(scene.order_id, within=100)  # functions keep a key for a minute


def rejects_the_order_id(scene: Scene) -> Failure:
    """The supplier rejects the order id, and the execution fails."""
    scene.service.supplier.control.add_fault(status=400)
    scene.order()
    held = scene.held(HeldReason.INVALID_ORDER)
    order = scene.service.stack.orders.get(scene.order_id)
    assert order is not None
    assert scene.service.execution(order)["status"] == "FAILED"
    yield f"AWS/States executions failed 1, {held}"
    scene.service.supplier.control.clear_faults()
    yield None
    scene.until_published()


def sends_an_unknown_status(scene: Scene) -> Failure:
    """The supplier sends a status that its documentation does not have."""
    scene.service.supplier.control.add_fault(merge={"status": "LOST"})
    scene.order()
    yield scene.held(HeldReason.SUPPLIER_CONTRACT_BROKEN)
    scene.service.supplier.control.clear_faults()
    yield None
    scene.until_published()


def never_settles(scene: Scene) -> Failure:
    """The order is pending at the supplier until the deadline."""
    scene.order(fulfil_after=3600)
    yield scene.held(HeldReason.DEADLINE_PASSED)
    scene.service.supplier.control.change_order(scene.order_id, fulfil_after=0)
    yield None
    scene.until_published()


def is_slow(scene: Scene, *, delayed_after_seconds: float = 6) -> Failure:
    """The supplier settles the order after the delay notice."""
    scene.order(fulfil_after=delayed_after_seconds + 1)
    scene.until_published()
    yield f"{scene.emitted(Metric.TIME_TO_DELIVERY, delayed_after_seconds)} s"
    yield None


def fails_to_list(scene: Scene) -> Failure:
    """The supplier cannot list its orders."""
    scene.service.supplier.control.add_fault(route="list", status=500)
    scene.run("ReconcileOrders")
    yield scene.emitted(Metric.RECONCILIATION_INCOMPLETE)
    scene.service.supplier.control.clear_faults()
    yield None
