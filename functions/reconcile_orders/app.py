"""ReconcileOrders: compare the supplier's list with the stored orders, and publish discrepancies."""

from datetime import timedelta
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import composition_root
from giftcards.use_cases.reconcile_orders import ReconcileRequest

logger = composition_root.logger()
metrics = composition_root.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Reconcile the orders of a window once. An incomplete run is reported in its outcome, log level and metric."""
    now = composition_root.now()
    window = ReconcileRequest.model_validate(event).window(now)
    time_out = now + timedelta(milliseconds=context.get_remaining_time_in_millis())
    report = composition_root.reconciliation().reconcile(window, time_out=time_out)
    fields = {
        "outcome": report.outcome,
        "note": report.message,
        "pages": report.pages,
        "orders": report.orders,
        "differences": report.differences_found,
        "newDifferences": report.new_differences,
    }
    composition_root.log(report.level, "orders reconciled", **fields)
    for metric, value in report.metrics.items():
        composition_root.measure(metric, value)
    return report.model_dump(mode="json", by_alias=True)
