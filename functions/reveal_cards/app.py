"""RevealCards: show an order's cards to its user. Cards leave the service only in this response."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from giftcards import composition_root
from giftcards.contracts.base import invalid_fields
from giftcards.metrics import Metric
from giftcards.use_cases.reveal_cards import RevealOutcome, RevealRequest

logger = composition_root.logger()
metrics = composition_root.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Decrypt the cards of one order for one user."""
    try:
        request = RevealRequest.model_validate(event)
    except ValidationError as error:
        message = f"Missing or invalid: {', '.join(invalid_fields(error)) or 'the request'}."
        composition_root.measure(Metric.REVEAL_REFUSED, 1)
        composition_root.log(
            "WARNING", "reveal asked for", outcome=RevealOutcome.INVALID_REQUEST, cards=0, note=message
        )
        return {"outcome": RevealOutcome.INVALID_REQUEST, "message": message, "cards": [], "nextIndex": None}
    logger.append_keys(orderId=request.order_id)
    revealed = composition_root.card_reveal().reveal(
        request, request_id=context.aws_request_id, now=composition_root.now()
    )
    fields = {"outcome": revealed.outcome, "cards": len(revealed.cards), "note": revealed.detail}
    composition_root.log(revealed.outcome.level, "reveal asked for", **fields)
    return revealed.to_json()
