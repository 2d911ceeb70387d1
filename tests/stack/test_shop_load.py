"""A shop without AWS under load and during an outage of its endpoint. `make test-chaos` runs it."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY
from stack.test_shop import USER, no_order_starts
from support.service import Service, deployed
from support.webhook import WEBHOOK_URL, webhook

PARAMETERS = {"PollSchedule": "600:2", "DelayedAfterSeconds": "540", "LogRetentionDays": "1", "WebhookUrl": WEBHOOK_URL}
AT_ONCE = 8
"""Calls in progress. The local cloud starts a process for each, which imports everything; AWS has no such limit."""
OUTAGE_SECONDS = 60.0
POSTS_PER_SECOND = 50


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("shop"), PARAMETERS) as running:
        running.cloud.set_api_key(SANDBOX_API_KEY)
        yield running


def test_hundred_posts_at_once_are_one_delivery(service: Service) -> None:
    order_id = service.order(3)
    body = {"orderId": order_id, "userId": USER}

    def post(_: int) -> int:
        return service.shop("POST", "/v1/orders", body).status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = Counter(pool.map(post, range(100)))
    assert answers == {202: 100}
    service.until_published(order_id, within=300)
    delivered = [event for event in service.bus.events_about(order_id) if event["detail-type"] == "CardsDelivered"]
    assert len({event["detail"]["deliveryId"] for event in delivered}) == len(delivered) == 1
    assert len(service.items(order_id)) == 2  # the order and the row of its cards


def test_every_event_arrives_after_the_endpoint_failed_for_a_minute(service: Service) -> None:
    with webhook(service) as endpoint:
        endpoint.status = 500
        began = time.monotonic()
        orders = [service.order(1) for _ in range(10)]
        for order_id in orders:
            assert service.shop("POST", "/v1/orders", {"orderId": order_id, "userId": USER}).status_code == 202
        assert wait_for(lambda: time.monotonic() - began > OUTAGE_SECONDS, within_seconds=OUTAGE_SECONDS + 10)
        assert {event["detail"]["orderId"] for _, _, event in endpoint.calls} == set(orders)
        assert not [order_id for order_id in orders if endpoint.accepted(order_id)]
        endpoint.status = 204
        for order_id in orders:
            endpoint.until_accepted(order_id, "CardsDelivered")
    assert [len(endpoint.accepted(order_id)) for order_id in orders] == [1] * len(orders)
    assert service.dead_letters() == []


def test_no_post_is_refused_while_the_key_is_rotated(service: Service) -> None:
    variables = service.shop_variables
    url, keys = f"{variables['SHOP_API_URL']}/v1/orders", [variables["SHOP_API_KEY"]]
    service.shop("GET", "/v1/orders/none")  # a warm container
    numbers, answers, is_over = itertools.count(), list[tuple[int, str]](), threading.Event()
    began = time.monotonic()

    def posts(shop: httpx.Client) -> None:
        while not is_over.is_set():
            number, key = next(numbers), keys[-1]
            at = began + number / POSTS_PER_SECOND
            wait_for(lambda at=at: time.monotonic() >= at, within_seconds=60)
            body = {"orderId": f"rotation-{number}", "userId": USER}
            answer = shop.post(url, json=body, headers={"Authorization": f"Bearer {key}"})
            answers.append((answer.status_code, key))

    def until_more() -> None:
        enough = len(answers) + 2 * POSTS_PER_SECOND
        assert wait_for(lambda: len(answers) >= enough, within_seconds=60)

    with httpx.Client(timeout=60, trust_env=False) as shop, no_order_starts(service), ThreadPoolExecutor(8) as pool:
        running = [pool.submit(posts, shop) for _ in range(8)]
        try:
            until_more()
            assert service.giftcards("rotate-key", "shop").returncode == 0
            until_more()  # with the previous key
            keys.append(service.cloud.shop_variables()["SHOP_API_KEY"])
            until_more()
        finally:
            is_over.set()
    assert [post.result() for post in running] == [None] * len(running)
    assert {status for status, _ in answers} == {202}
    assert {key for _, key in answers} == set(keys)
    assert keys[0] != keys[1]
