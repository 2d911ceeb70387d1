"""SweepOrders: have the workflow take up open orders again that no execution has."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import wiring
from giftcards.metrics import Metric

logger = wiring.logger()
metrics = wiring.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(_event: Any, _context: LambdaContext) -> dict[str, int]:
    """Sweep the open orders once. A sweep that could not do all of it fails after it has done the rest."""
    swept = wiring.order_sweep().sweep(now=wiring.now())
    told = {
        "checked": swept.checked,
        "takenUp": swept.taken_up,
        "unreadable": swept.unreadable,
        "failures": swept.failures,
    }
    wiring.log(swept.level, "orders swept", **told)
    wiring.measure(Metric.ORDER_SWEPT, swept.taken_up)
    swept.raise_for_failures()
    return {"checked": swept.checked, "takenUp": swept.taken_up}
