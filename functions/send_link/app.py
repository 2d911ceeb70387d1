"""SendLink: mail links to buyers, when an order is delivered and every 15 minutes."""

from collections import Counter
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import buyer_root, composition_root
from giftcards.contracts.events import CardsDelivered
from giftcards.use_cases.send_link import MailOutcome, MailResult

logger = composition_root.logger()
metrics = composition_root.metrics()
_SPARE_MILLISECONDS = 20_000
"""Time that one mail may need: no new one is begun with less left."""


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Send the mail of one delivery, or all mails that are due."""
    mailing = buyer_root.link_mailing()
    if event.get("detail-type") in {"CardsDelivered", "CardsPartiallyDelivered"}:
        delivered = CardsDelivered.model_validate(event["detail"])
        logger.append_keys(orderId=delivered.order_id)
        results = [mailing.deliver(delivered, now=composition_root.now())]
    else:
        results = mailing.send_due(
            composition_root.now, may_go_on=lambda: context.get_remaining_time_in_millis() > _SPARE_MILLISECONDS
        )
    return _log(results)


def _log(results: list[MailResult]) -> dict[str, int]:
    counts = Counter(result.outcome.value for result in results)
    notes = sorted({result.note for result in results if result.note})
    needs_attention = counts[MailOutcome.REFUSED] + counts[MailOutcome.FAILED]
    composition_root.log("WARNING" if needs_attention else "INFO", "mails sent", **counts, notes=notes)
    return dict(counts)
