"""CheckStatus: ask the supplier how far an order is."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import wiring
from giftcards.workflow import StepRequest

logger = wiring.logger()
metrics = wiring.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Check one order once and tell the workflow what to do next."""
    request = StepRequest.model_validate(event)
    logger.append_keys(orderId=request.order_id, execution=request.execution)
    with wiring.naming_outages():
        result = wiring.status_check().check(request, now=wiring.now(), jitter=wiring.jitter())
    told = {"outcome": result.outcome, "note": result.message, "ageSeconds": result.age_seconds}
    wiring.log(result.outcome.level, "order checked", **told)
    return result.model_dump(mode="json", by_alias=True)
