"""Links of buyers on the local cloud: how to get one, and what a page shows."""

import json
import re
from html import unescape
from typing import Any

import httpx

from giftcards_local.processes import wait_for
from support.service import Service

WEB = httpx.Client(timeout=60)  # a function's first call on a busy machine takes longer than httpx waits by default


def publish(service: Service, detail: dict[str, Any]) -> None:
    entry = {
        "EventBusName": service.stack.outputs["OrderBusName"],
        "Source": "shop",
        "DetailType": "RecipientSet",
        "Detail": json.dumps(detail),
    }
    assert service.cloud.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def mails_to(service: Service, address: str) -> list[dict[str, str]]:
    return [mail for mail in service.cloud.sent_mails() if mail["to"] == address]


def until_mailed(service: Service, address: str) -> dict[str, str]:
    assert wait_for(lambda: bool(mails_to(service, address)), within_seconds=60), f"no mail to {address}"
    return mails_to(service, address)[0]


def link_in(mail: dict[str, str]) -> str:
    (url,) = re.findall(r"^http\S+/c/[a-z2-7]{32}$", mail["text"].replace("\r", ""), re.MULTILINE)
    return str(url)


def shown_cards(body: str) -> list[tuple[str, str]]:
    values = re.findall(r'data-secret="value"[^>]*>([^<]*)<', body)
    serials = re.findall(r'data-secret="serial"[^>]*>([^<]*)<', body)
    return [(unescape(value), unescape(serial)) for value, serial in zip(values, serials, strict=True)]


def delivered(service: Service, quantity: int = 2, **recipient: Any) -> str:
    """Fulfil an order of alice's; publish its recipient first, if one is given."""
    order_id = service.order(quantity)
    if recipient:
        publish(service, {"orderId": order_id, "userId": "alice", **recipient})
    service.publish({"orderId": order_id, "userId": "alice"})
    service.until_published(order_id)
    return order_id


def url_of(service: Service, order_id: str, *options: str) -> str:
    finished = service.giftcards("link", order_id, "--user", "alice", *options, "--json")
    assert finished.returncode == 0, finished.stderr
    service.printed.pop()  # this command prints a link
    return str(json.loads(finished.stdout)["url"])
