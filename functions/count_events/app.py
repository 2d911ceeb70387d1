"""CountEvents: measure the workflow's events."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import composition_root
from giftcards.use_cases.count_events import CountedEvent, count

logger = composition_root.logger()
metrics = composition_root.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> None:
    """Measure one event of the order bus."""
    counted = CountedEvent.model_validate(event)
    logger.append_keys(orderId=counted.detail.order_id, execution=counted.execution)
    count(counted, composition_root.measure)
    fields = {"event": counted.detail_type, "reason": counted.detail.reason}
    composition_root.log(counted.level, "event counted", **{name: value for name, value in fields.items() if value})
