"""ServeShop: the HTTP API for shops without AWS. It has no card, no key of cards and no link table."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import buyer_root, composition_root
from giftcards.metrics import Metric
from giftcards.use_cases.serve_shop import ShopRequest, failed

logger = composition_root.logger()
metrics = composition_root.metrics()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Answer one request. Whatever fails is answered with 503: the shop must not see an error's text."""
    failure = None
    try:
        answer = buyer_root.shop_api().serve(ShopRequest.from_http(event))
    except Exception as error:  # noqa: BLE001 - see above
        failure, answer = type(error).__name__, failed()
    composition_root.log(
        "ERROR" if failure else "WARNING" if answer.status >= 400 else "INFO",
        "shop answered",
        route=answer.route,
        status=int(answer.status),
        orderId=answer.order_id,
        note=failure,
    )
    metric = Metric.of_shop_answer(int(answer.status))
    if metric is not None:
        composition_root.measure(metric, 1)
    return answer.to_http()
