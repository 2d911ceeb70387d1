"""The relay does for the webhook what EventBridge does: retries, limits and the dead-letter queue."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from giftcards_local import webhooks
from giftcards_local.processes import wait_for
from giftcards_local.webhooks import KEY_HEADER, Listener, Relay, Target, WebhookCloud

EVENT = '{"id": "1", "detail-type": "CardsDelivered"}'


@dataclass
class FakeCloud:
    """The rule's target and the dead-letter queue."""

    limits: Target = field(default_factory=lambda: Target(60, 185, "queue"))
    kept: list[tuple[str, str]] = field(default_factory=list)

    def target(self) -> Target:
        return self.limits

    def keep(self, event: str, _target: Target, error: str) -> None:
        self.kept.append((event, error))


@dataclass
class Shop:
    """A shop's program and what it got."""

    statuses: list[int]
    calls: list[tuple[Mapping[str, str], str]] = field(default_factory=list)
    slow: float = 0

    def take(self, headers: Mapping[str, str], body: str) -> int:
        self.calls.append((headers, body))
        time.sleep(self.slow)
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


@pytest.fixture
def run(on_loopback: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Shop, FakeCloud], Relay]]:
    monkeypatch.setattr(webhooks, "FIRST_PAUSE_SECONDS", 0.02)
    started: list[Any] = []

    def start(shop: Shop, cloud: FakeCloud) -> Relay:
        listener = Listener(0, shop.take)
        listener.start()
        relay = Relay(listener.url, cloud).__enter__()  # type: ignore[arg-type]
        started.extend([relay, listener])
        return relay

    yield start
    for each in started:
        each.__exit__() if isinstance(each, Relay) else each.stop()


def post(relay: Relay, event: str = EVENT) -> None:
    headers = {KEY_HEADER: "key", "Content-Type": "application/json", "X-Other": "dropped"}
    assert httpx.post(relay.url, content=event, headers=headers, trust_env=False).status_code == 202


def test_event_is_posted_once_with_its_key_and_body(run: Callable[[Shop, FakeCloud], Relay]):
    shop, cloud = Shop([204]), FakeCloud()
    post(run(shop, cloud))
    assert wait_for(lambda: len(shop.calls) == 1, within_seconds=10)
    ((headers, body),) = shop.calls
    assert (headers[KEY_HEADER], headers["Content-Type"], "X-Other" in headers) == ("key", "application/json", False)
    assert (body, cloud.kept) == (EVENT, [])


@pytest.mark.parametrize("status", [401, 407, 409, 429, 500, 503])
def test_event_is_retried_until_it_is_accepted(run: Callable[[Shop, FakeCloud], Relay], status: int):
    shop, cloud = Shop([status, status, status, 200]), FakeCloud()
    post(run(shop, cloud))
    assert wait_for(lambda: len(shop.calls) == 4, within_seconds=10)
    assert cloud.kept == []


@pytest.mark.parametrize("status", [302, 400, 403, 404, 410])
def test_refusal_goes_to_the_dead_letter_queue_at_once(run: Callable[[Shop, FakeCloud], Relay], status: int):
    shop, cloud = Shop([status]), FakeCloud()
    post(run(shop, cloud))
    assert wait_for(lambda: bool(cloud.kept), within_seconds=10)
    assert (len(shop.calls), cloud.kept) == (1, [(EVENT, f"HTTP {status}")])


@pytest.mark.parametrize("limits", [{"max_age_seconds": 1.0}, {"max_retries": 2}])
def test_event_is_kept_after_its_age_or_retries(run: Callable[[Shop, FakeCloud], Relay], limits: dict[str, Any]):
    shop, cloud = Shop([500]), FakeCloud()
    cloud.limits = replace(cloud.limits, **limits)
    post(run(shop, cloud))
    assert wait_for(lambda: bool(cloud.kept), within_seconds=10)
    assert len(shop.calls) >= 2
    if "max_retries" in limits:
        assert len(shop.calls) == 3


def test_program_that_is_gone_or_slow_is_retried(
    run: Callable[[Shop, FakeCloud], Relay], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.1)
    shop, cloud = Shop([200], slow=0.3), FakeCloud()
    cloud.limits = replace(cloud.limits, max_retries=1)
    post(run(shop, cloud))
    assert wait_for(lambda: bool(cloud.kept), within_seconds=10)
    assert (len(shop.calls), cloud.kept) == (2, [(EVENT, "ReadTimeout")])


def test_what_waits_at_the_end_is_kept(run: Callable[[Shop, FakeCloud], Relay], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(webhooks, "FIRST_PAUSE_SECONDS", 60)
    shop, cloud = Shop([500]), FakeCloud()
    relay = run(shop, cloud)
    post(relay)
    assert wait_for(lambda: bool(shop.calls), within_seconds=10)
    relay.__exit__()
    assert cloud.kept == [(EVENT, "HTTP 500")]


def test_pauses_grow_to_a_limit_and_vary(run: Callable[[Shop, FakeCloud], Relay], monkeypatch: pytest.MonkeyPatch):
    pauses: list[float] = []

    def wait(_event: threading.Event, pause: float | None = None) -> bool:
        pauses.append(pause or 0)
        return len(pauses) == 8

    monkeypatch.setattr(webhooks, "FIRST_PAUSE_SECONDS", 1.0)
    relay = run(Shop([500]), FakeCloud(limits=Target(3600, 185, "queue")))
    monkeypatch.setattr(relay._stopped, "wait", lambda pause: wait(relay._stopped, pause))
    post(relay)
    assert wait_for(lambda: len(pauses) == 8, within_seconds=10)
    assert all(0.5 * most <= pause <= most for pause, most in zip(pauses, [1, 2, 4, 8, 16, 30, 30, 30], strict=True))


class Described:
    """boto3's clients, as far as the webhook needs them."""

    def __init__(self) -> None:
        self.targets = [{
            "DeadLetterConfig": {"Arn": "arn:aws:sqs:us-east-1:000000000000:dead"},
            "RetryPolicy": {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185},
        }]  # fmt: skip

    def __call__(self, _service: str) -> "Described":
        return self

    @staticmethod
    def describe_stack_resource(**_: str) -> dict[str, Any]:
        return {"StackResourceDetail": {"PhysicalResourceId": "orders|webhook-rule"}}

    def list_targets_by_rule(self, **given: str) -> dict[str, Any]:
        assert given == {"Rule": "webhook-rule", "EventBusName": "orders"}
        return {"Targets": self.targets}

    @staticmethod
    def get_queue_url(QueueName: str) -> dict[str, str]:  # noqa: N803 - boto3's names
        return {"QueueUrl": f"http://queues/{QueueName}"}


def test_limits_are_those_of_the_rule():
    cloud = WebhookCloud(Described(), {"OrderBusName": "orders"})
    assert cloud.target() == Target(86400, 185, "http://queues/dead")
