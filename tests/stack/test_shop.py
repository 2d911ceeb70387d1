"""A shop without AWS, on the local cloud: its API over HTTP, its webhook, and the programs of docs/shops.md."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from giftcards_local import PROJECT
from giftcards_local.processes import free_port, wait_for
from giftcards_local.webhooks import KEY_HEADER
from stack.interpreters import find
from support.laptop import NO_AWS
from support.page_commands import not_printed, run_blocks
from support.service import MAX_WAIT_SECONDS, Service
from support.webhook import Endpoint, webhook
from template.pages import blocks, programs

pytestmark = pytest.mark.usefixtures("unknown_orders")  # it sets the API key
CHECKER = PROJECT / ".venv-openapi/bin/schemathesis"
USER = "alice"


def environment(service: Service, **more: str) -> dict[str, str]:
    return NO_AWS | service.shop_variables | {"PATH": os.environ["PATH"], "SUPPLIER_URL": service.supplier.url} | more


@contextmanager
def target_limits(service: Service, **limits: int) -> Iterator[None]:
    """Change the retry policy of the webhook's rule meanwhile."""
    events = service.cloud.client("events")
    rule = {
        "Rule": service.physical_id("WebhookRule").rpartition("|")[2],
        "EventBusName": service.stack.outputs["OrderBusName"],
    }
    (target,) = events.list_targets_by_rule(**rule)["Targets"]
    events.put_targets(**rule, Targets=[target | {"RetryPolicy": target["RetryPolicy"] | limits}])
    try:
        yield
    finally:
        events.put_targets(**rule, Targets=[target])


@contextmanager
def no_order_starts(service: Service) -> Iterator[None]:
    """Keep accepted orders from the workflow meanwhile: they are about the API alone."""
    events = service.cloud.client("events")
    rule = {
        "Name": service.physical_id("OrderPlacedRule").rpartition("|")[2],
        "EventBusName": service.stack.outputs["OrderBusName"],
    }
    events.disable_rule(**rule)
    try:
        yield
    finally:
        events.enable_rule(**rule)


def placed(service: Service, **terms: Any) -> str:
    """Place an order at the supplier and post it."""
    order_id = service.order(2, **terms)
    answer = service.shop("POST", "/v1/orders", {"orderId": order_id, "userId": USER})
    assert (answer.status_code, answer.json()) == (202, {"orderId": order_id})
    return order_id


def link_of(service: Service, order_id: str, **options: Any) -> httpx.Response:
    return service.shop("POST", f"/v1/orders/{order_id}/links", {"userId": USER} | options)


# The API


def test_order_is_placed_read_and_shown_by_its_link(service: Service) -> None:
    order_id = placed(service)
    service.until_published(order_id)

    shown = service.shop("GET", f"/v1/orders/{order_id}").json()
    assert (shown["status"], shown["fulfilledQuantity"], shown["userId"]) == ("FULFILLED", 2, USER)
    link = link_of(service, order_id, label="2 × card").json()
    assert httpx.get(link["url"], timeout=30, trust_env=False).status_code == 200
    assert link_of(service, order_id, label="2 × card").json() == link
    assert link_of(service, order_id, userId="mallory").status_code == 404
    assert link_of(service, order_id, uses=0).json()["errors"][0]["field"] == "uses"


def test_order_without_cards_has_no_link(service: Service, unknown_orders: tuple[str, ...]) -> None:
    order_id = unknown_orders[0]
    assert wait_for(lambda: service.shop("GET", f"/v1/orders/{order_id}").status_code == 200, within_seconds=60)
    refused = link_of(service, order_id, userId="erin")
    assert (refused.status_code, refused.json()["reason"]) == (409, "NOT_DELIVERED")


def test_many_posts_at_once_are_one_delivery(service: Service) -> None:
    order_id = service.order(1)
    with ThreadPoolExecutor(5) as pool:
        posts = [
            pool.submit(service.shop, "POST", "/v1/orders", {"orderId": order_id, "userId": USER}) for _ in range(10)
        ]
    assert {post.result().status_code for post in posts} == {202}
    service.until_published(order_id)
    delivered = [event for event in service.bus.events_about(order_id) if event["detail-type"] == "CardsDelivered"]
    assert len(delivered) == 1
    assert len(service.items(order_id)) == 2  # the order and its card


def test_wrong_key_is_refused_and_every_other_path_is_the_pages(service: Service) -> None:
    refused = service.shop("GET", "/v1/orders/1", key="wrong")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert service.shop("GET", "/v2/orders").headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("order_id", ["a%2Fb", "100%25", "%22%3C", "a%2Flinksx"])
def test_order_id_in_a_path_may_have_any_visible_character(service: Service, order_id: str) -> None:
    answer = service.shop("GET", f"/v1/orders/{order_id}")
    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")


def test_api_serves_what_its_document_describes(service: Service, tmp_path: Path) -> None:
    variables = service.shop_variables
    command = [str(CHECKER), "--config-file", str(PROJECT / "tests/stack/schemathesis.toml"), "run"]
    command += [str(PROJECT / "docs/openapi.yaml"), "--url", variables["SHOP_API_URL"], "--no-color"]
    command += ["--header", f"Authorization: Bearer {variables['SHOP_API_KEY']}"]
    # One worker: with several, `ast` raises SystemError at random (https://github.com/python/cpython/issues/106905).
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "6", "--workers", "1"]
    command += ["--request-timeout", "60"]
    with no_order_starts(service):
        checked = subprocess.run(
            command,
            cwd=tmp_path,  # it writes what it has found
            env=NO_AWS | {"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
    assert checked.returncode == 0, checked.stdout[-6000:] + checked.stderr[-2000:]


# The webhook


def test_events_arrive_with_the_key(service: Service) -> None:
    with webhook(service) as endpoint:
        order_id = placed(service)
        event = endpoint.until_accepted(order_id, "CardsDelivered")
        url = link_of(service, order_id).json()["url"]
        assert httpx.post(url, trust_env=False).status_code == 200
        endpoint.until_accepted(order_id, "CardsViewed")
    assert {key for _, key, _ in endpoint.calls} == {service.shop_variables["WEBHOOK_KEY"]}
    assert {"version", "id", "detail-type", "source", "time", "detail"} <= set(event)
    assert event["detail"] == service.until_event(order_id, "CardsDelivered")


def test_event_is_retried_until_the_endpoint_works_again(service: Service) -> None:
    with webhook(service) as endpoint:
        endpoint.status = 500
        order_id = placed(service)
        assert wait_for(lambda: len(endpoint.calls) >= 2, within_seconds=MAX_WAIT_SECONDS)
        endpoint.status = 204
        endpoint.until_accepted(order_id, "CardsDelivered")
    assert len(endpoint.accepted(order_id)) == 1


def test_undelivered_event_is_kept_and_replayed(service: Service) -> None:
    queue = {"QueueUrl": service.physical_id("WebhookDeadLetterQueue")}

    def waiting() -> int:  # what WebhookDeadLettersAlarm watches
        count = "ApproximateNumberOfMessages"
        answer = service.cloud.client("sqs").get_queue_attributes(**queue, AttributeNames=[count])
        return int(answer["Attributes"][count])

    with webhook(service) as endpoint:
        endpoint.status = 503
        with target_limits(service, MaximumRetryAttempts=0):
            order_id = placed(service)
            assert wait_for(lambda: waiting() == 1, within_seconds=MAX_WAIT_SECONDS)
        endpoint.status = 204
        assert service.giftcards("replay-dlq").returncode == 0
        replayed = endpoint.until_accepted(order_id, "CardsDelivered")
    assert waiting() == 0
    assert replayed["source"] == "giftcards.replay"
    assert replayed["detail"] == service.until_event(order_id, "CardsDelivered")


def test_keys_are_rotated_without_a_stop(service: Service) -> None:
    shop_key, webhook_key = (service.shop_variables[name] for name in ("SHOP_API_KEY", "WEBHOOK_KEY"))
    with webhook(service) as endpoint:
        rotated = [service.giftcards("rotate-key", *step) for step in (["shop"], ["webhook"])]
        endpoint.until_accepted(placed(service), "CardsDelivered")
        assert endpoint.calls[-1][1] == webhook_key, "the new key is not sent before the second step"
        rotated.append(service.giftcards("rotate-key", "webhook", "--finish"))
        assert [step.returncode for step in rotated] == [0, 0, 0]
        now = service.cloud.shop_variables()
        assert now["SHOP_API_KEY"] != shop_key
        for key in (shop_key, now["SHOP_API_KEY"]):
            assert service.shop("GET", "/v1/orders/none", key=key).status_code == 404
        endpoint.until_accepted(placed(service), "CardsDelivered")
        assert endpoint.calls[-1][1] == now["WEBHOOK_KEY"] != webhook_key
    del service.shop_variables  # the rest of the tests has the new keys


# The programs of docs/shops.md


def test_page_is_followed(service: Service, tmp_path: Path) -> None:
    page = blocks("docs/shops.md")
    printed = run_blocks(page, tmp_path, environment(service), within_seconds=120)
    missing = {str(block): not_printed(block, text) for block, text in zip(page, printed, strict=True)}
    assert {block: lines for block, lines in missing.items() if lines} == {}


LANGUAGES: dict[str, tuple[str, Callable[[], list[str]], Callable[[int], list[str]]]] = {
    "php": ("php", lambda: [find("php")], lambda port: ["-S", f"127.0.0.1:{port}", "webhook.php"]),
    "js": ("mjs", lambda: [find("node")], lambda port: ["webhook.mjs", str(port)]),
    "python": ("py", lambda: [sys.executable], lambda port: ["webhook.py", str(port)]),
}


@contextmanager
def receiver(command: list[str], port: int, folder: Path, variables: dict[str, str]) -> Iterator[str]:
    """Run a webhook program until the end of the block, and give its URL."""
    url = f"http://127.0.0.1:{port}/"
    with (
        (folder / "webhook.log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT) as program,
    ):
        try:
            yield url
        finally:
            program.kill()


def answer(url: str, event: dict[str, Any], key: str) -> int | None:
    """Return the status for an event; None if nothing answers."""
    try:
        return httpx.post(url, json=event, headers={KEY_HEADER: key}, timeout=10, trust_env=False).status_code
    except httpx.HTTPError:
        return None


@pytest.mark.parametrize("language", LANGUAGES)
def test_programs_of_the_page_integrate_a_shop(service: Service, tmp_path: Path, language: str) -> None:
    ending, interpreter, serve = LANGUAGES[language]
    for name, text in zip(("shop", "webhook"), programs("docs/shops.md", language), strict=True):
        (tmp_path / f"{name}.{ending}").write_text(text)
    key = service.shop_variables["WEBHOOK_KEY"]
    variables = environment(service, WEBHOOK_KEY=f"the-previous-key {key}", TMPDIR=str(tmp_path))
    run = interpreter()

    def shop(*arguments: str) -> dict[str, Any]:
        finished = subprocess.run(
            [*run, f"shop.{ending}", *arguments],
            cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return dict(json.loads(finished.stdout))

    news, port = tmp_path / "news.txt", free_port()
    with receiver([*run, *serve(port)], port, tmp_path, variables) as url, webhook(service, url):
        unknown = {"detail-type": "OrderUnknown", "detail": {"orderId": "none"}}
        assert wait_for(lambda: answer(url, unknown, key) == 204, within_seconds=60), "the program does not start"
        order_id = service.order(1)
        assert shop("place", order_id, USER) == {"orderId": order_id}
        assert wait_for(news.exists, within_seconds=MAX_WAIT_SECONDS)
        event = {"detail-type": "CardsDelivered", "detail": {"orderId": order_id}}
        assert [answer(url, event, given) for given in (key, "the-previous-key", "wrong", "")] == [204, 204, 401, 401]
    assert news.read_text() == f"{order_id} ready\n", "once, in spite of repeats"
    assert shop("show", order_id)["status"] == "FULFILLED"
    assert shop("link", order_id, USER)["userId"] == USER


def test_php_shop_prints_the_link_of_what_it_sold(service: Service) -> None:
    program, port = PROJECT / "examples/php-shop/shop.php", free_port()
    assert len(program.read_text().splitlines()) <= 60
    with webhook(service, f"http://127.0.0.1:{port}/"):
        finished = subprocess.run(
            [find("php"), str(program), USER, f"http://127.0.0.1:{port}"],
            env=environment(service), capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert httpx.get(finished.stdout.strip(), timeout=30, trust_env=False).status_code == 200


def test_endpoint_of_these_tests_sees_a_missing_key() -> None:
    endpoint = Endpoint()
    endpoint.take({}, '{"detail": {}}')
    assert endpoint.calls == [(204, "", {"detail": {}})]
