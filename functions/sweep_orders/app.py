"""SweepOrders: have the workflow take up open orders again that no execution has."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import wiring

logger = wiring.logger()
metrics = wiring.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(_event: Any, _context: LambdaContext) -> dict[str, int]:
    """Sweep the open orders once. A sweep that could not do all of it fails after it has done the rest."""
    swept = wiring.order_sweep().sweep(now=wiring.now())
    logger.info(
        "orders swept",
        checked=swept.checked,
        takenUp=swept.taken_up,
        unreadable=swept.unreadable,
        unreadableFields=swept.unreadable_fields,
        failures=swept.failures,
    )
    metrics.add_metric(name="OrderSwept", unit="Count", value=swept.taken_up)
    swept.raise_for_failures()
    return {"checked": swept.checked, "takenUp": swept.taken_up}
