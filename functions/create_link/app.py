"""CreateLink: give the shop or an operator the link to an order's cards. The answer alone holds the link."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from giftcards import buyer_root, composition_root
from giftcards.contracts.base import invalid_fields
from giftcards.contracts.links import LinkOutcome, LinkRequest
from giftcards.use_cases.create_link import LinkAnswer

logger = composition_root.logger()
metrics = composition_root.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Create a link, or return the existing one."""
    try:
        request = LinkRequest.model_validate(event)
    except ValidationError as error:
        message = f"Missing or invalid: {', '.join(invalid_fields(error)) or 'the request'}."
        answer = LinkAnswer(LinkOutcome.INVALID_REQUEST, message)
    else:
        logger.append_keys(orderId=request.order_id)
        answer = buyer_root.link_creation().create(request, now=composition_root.now())
    link_id = answer.created and answer.created.link_id
    composition_root.log(answer.outcome.level, "link asked for", outcome=answer.outcome, linkId=link_id)
    if answer.created is not None:
        return answer.created.model_dump(mode="json", by_alias=True)
    return {"outcome": answer.outcome, "message": answer.message}
