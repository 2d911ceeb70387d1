"""CheckStatus: get an order's status from the supplier."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import composition_root
from giftcards.contracts.workflow import StepRequest

logger = composition_root.logger()
metrics = composition_root.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Check one order once and return the next step."""
    request = StepRequest.model_validate(event)
    logger.append_keys(orderId=request.order_id, execution=request.execution)
    with composition_root.naming_outages():
        result = composition_root.status_check().check(
            request, now=composition_root.now(), jitter=composition_root.jitter()
        )
    fields = {"outcome": result.outcome, "note": result.message, "ageSeconds": result.age_seconds}
    composition_root.log(result.outcome.level, "order checked", **fields)
    return result.model_dump(mode="json", by_alias=True)
