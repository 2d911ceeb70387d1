"""SweepOrders: resume open orders that have no execution."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import composition_root
from giftcards.metrics import Metric

logger = composition_root.logger()
metrics = composition_root.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(_event: Any, _context: LambdaContext) -> dict[str, int]:
    """Sweep the open orders once; raise at the end if some were not swept."""
    swept = composition_root.order_sweep().sweep(now=composition_root.now())
    fields = {
        "checked": swept.checked,
        "takenUp": swept.resumed,
        "unreadable": swept.unreadable,
        "failures": swept.failures,
    }
    composition_root.log(swept.level, "orders swept", **fields)
    composition_root.measure(Metric.ORDER_SWEPT, swept.resumed)
    swept.raise_for_failures()
    return {"checked": swept.checked, "takenUp": swept.resumed}
