"""StoreRecipient: seal the address that a shop names for an order's link."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from giftcards import buyer_root, composition_root
from giftcards.contracts.links import RecipientSet
from giftcards.use_cases.store_recipient import RecipientOutcome, UnusableRecipient

logger = composition_root.logger()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> None:
    """Store the recipient of one RecipientSet event."""
    detail = event.get("detail")
    now = composition_root.now()
    try:
        recipient = RecipientSet.model_validate(detail)
    except ValidationError:
        _refuse(detail)
        return
    logger.append_keys(orderId=recipient.order_id)
    outcome = buyer_root.recipient_storage().store(recipient, now=now)
    composition_root.log("INFO", "recipient named", outcome=outcome)


def _refuse(detail: Any) -> None:
    try:
        unusable = UnusableRecipient.model_validate(detail)
    except ValidationError:
        outcome = RecipientOutcome.INVALID_REQUEST
    else:
        logger.append_keys(orderId=unusable.order_id)
        outcome = buyer_root.recipient_storage().refuse(unusable, now=composition_root.now())
    composition_root.log("WARNING", "recipient named", outcome=outcome)
