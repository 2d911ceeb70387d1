"""RecordMailStatus: note bounces and complaints that Amazon SES reports."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import buyer_root, composition_root
from giftcards.contracts.links import SesEvent

logger = composition_root.logger()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> None:
    """Note one report of SES."""
    status = buyer_root.mail_status_recording().record(SesEvent.model_validate(event))
    composition_root.log("INFO", "mail reported on", linkId=status.link_id, noted=status.noted)
