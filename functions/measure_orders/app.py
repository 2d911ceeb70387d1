"""MeasureOrders: measure waiting and held orders, and whether calls to the supplier are blocked."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import composition_root

logger = composition_root.logger()
metrics = composition_root.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(_event: Any, _context: LambdaContext) -> dict[str, Any]:
    """Measure once."""
    measured = composition_root.order_measurement().take(now=composition_root.now())
    fields = {
        "waiting": measured.waiting,
        "held": measured.held,
        "oldestSeconds": measured.oldest_seconds,
        "gate": measured.gate or "OPEN",
    }
    composition_root.log("INFO", "orders measured", **fields)
    return fields
