"""MeasureOrders: say how many orders wait or are held, and whether the supplier may be called."""

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
    told = {
        "waiting": measured.waiting,
        "held": measured.held,
        "oldestSeconds": measured.oldest_seconds,
        "gate": measured.gate or "OPEN",
    }
    composition_root.log("INFO", "orders measured", **told)
    return told
