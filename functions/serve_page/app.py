"""ServePage: the public page of a link. It has no key, no card and no list; POST asks RedeemLink."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import buyer_root, logs
from giftcards.use_cases.serve_page import PageRequest

logger = logs.logger()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Answer one request. Whatever fails is answered as "not possible just now"."""
    request = PageRequest.from_http(event)
    page = buyer_root.link_page()
    try:
        answer = page.serve(request, now=buyer_root.now())
    except Exception as error:  # noqa: BLE001 - the public must never see an error's text
        logs.log("ERROR", "page failed", route=request.route, error=type(error).__name__)
        answer = page.later(request)
    else:
        logs.log("INFO", "page served", route=request.route, state=answer.state, linkId=answer.link_id)
    return {"statusCode": answer.status, "headers": dict(answer.headers), "body": answer.body}
