"""A shop's endpoint for the webhook, connected to a deployed service."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from giftcards_local.processes import wait_for
from giftcards_local.webhooks import KEY_HEADER, Listener, Relay, WebhookCloud
from support.service import Service

WEBHOOK_URL = "http://127.0.0.1:8787"
"""Only a parameter of the stack: on the local cloud, the relay knows the endpoint's port."""


@dataclass
class Endpoint:
    """The endpoint, and each call that it has answered.

    Attributes
    ----------
    status
        What it answers from now on.
    """

    status: int = 204
    calls: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)

    def take(self, headers: Mapping[str, str], body: str) -> int:
        """Answer a call, and remember its key and event."""
        status = self.status
        self.calls.append((status, headers.get(KEY_HEADER, ""), json.loads(body)))
        return status

    def accepted(self, order_id: str) -> list[dict[str, Any]]:
        """Return the events of an order that it answered with 2xx."""
        return [event for status, _, event in self.calls if status < 300 and event["detail"]["orderId"] == order_id]

    def until_accepted(self, order_id: str, detail_type: str, *, within: float = 120) -> dict[str, Any]:
        """Wait for an event of an order."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.accepted(order_id) if event["detail-type"] == detail_type]

        assert wait_for(lambda: bool(found()), within_seconds=within), f"no {detail_type} of {order_id} is accepted"
        return found()[0]


@contextmanager
def webhook(service: Service, url: str | None = None) -> Iterator[Endpoint]:
    """Post the service's events to an endpoint of the test, or to a program at a URL."""
    endpoint = Endpoint()
    listener = Listener(0, endpoint.take)
    listener.start()
    cloud = WebhookCloud(service.cloud.client, service.stack.outputs)
    with Relay(url or listener.url, cloud) as relay:
        cloud.connect(relay.url)
        yield endpoint
    listener.stop()
