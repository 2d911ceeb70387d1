"""RedeemLink: decrypt cards for the holder of a link. ServePage alone may invoke it."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import buyer_root, composition_root
from giftcards.contracts.links import RedeemRequest
from giftcards.contracts.workflow import Level

logger = composition_root.logger()
metrics = composition_root.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Use a link once and show a page of its cards."""
    request = RedeemRequest.model_validate(event)
    redeemed = buyer_root.link_redemption().redeem(
        request, request_id=context.aws_request_id, now=composition_root.now()
    )
    link = redeemed.link
    level: Level = "ERROR" if redeemed.note else "INFO"
    link_id, cards = link and link.link_id, len(redeemed.cards)
    composition_root.log(level, "link used", state=redeemed.state, linkId=link_id, cards=cards, note=redeemed.note)
    return redeemed.to_json()
