"""`giftcards replay-dlq`: which events are republished, which messages stay in the queue, and why."""

import json
import time
from typing import Any

import boto3
import pytest
from moto.sqs.models import sqs_backends

from giftcards_cli import dead_letters
from giftcards_cli.stack import Stack
from support.cloud import Cloud, client_error
from support.command_line import Giftcards
from support.examples import ORDER_ID, REGION, USER_ID
from support.secrets import MARK

NOT_ACCEPTED = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}


def event(order_id: str = ORDER_ID, **changes: Any) -> str:
    """Return an event as the rule sends it to the queue."""
    detail = {"orderId": order_id, "userId": USER_ID, "placedAt": "2026-03-14T09:00:00Z", "note": "more"}
    envelope = {"version": "0", "id": "1", "detail-type": "OrderPlaced", "source": "shop", "detail": detail}
    return json.dumps(envelope | changes)


class Queue:
    """A dead-letter queue of the stack."""

    def __init__(self, name: str = "dead") -> None:
        self._name = name
        self._sqs: Any = boto3.client("sqs")
        self._url = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self._sqs.send_message(QueueUrl=self._url, MessageBody=body)

    @property
    def _messages(self) -> list[Any]:
        return list(sqs_backends["123456789012"][REGION].queues[self._name]._messages)

    @property
    def bodies(self) -> list[str]:
        """All messages, visible or not."""
        return [message.body for message in self._messages]

    @property
    def visible(self) -> list[str]:
        """The messages that the next reader receives."""
        soon = (time.time() + 1) * 1000  # a received message is invisible for minutes
        return [message.body for message in self._messages if message.visible_at < soon]

    def show_all(self) -> None:
        """Make all messages visible, as after their visibility timeout."""
        for message in self._messages:
            message.visible_at = 0.0


@pytest.fixture
def queue(giftcards: Giftcards, cloud: Cloud) -> Queue:
    queue = Queue()
    cloud.forget()
    return queue


def replayed(cloud: Cloud) -> list[str]:
    return [detail["orderId"] for detail in cloud.events_to_resume("giftcards.replay")]


def test_event_is_republished_and_then_deleted(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    queue.send(event())

    assert giftcards("replay-dlq").code == 0

    detail = {"orderId": ORDER_ID, "userId": USER_ID, "placedAt": "2026-03-14T09:00:00Z"}
    assert cloud.events_to_resume("giftcards.replay") == [detail]
    assert queue.bodies == []
    # No other reader receives the message while its event is being published.
    assert all(params["VisibilityTimeout"] >= 60 for params in cloud.sent("ReceiveMessage"))


@pytest.mark.parametrize("placed_at", ["2026-03-14T09:00:00", "yesterday", "2026-02-30T00:00:00Z", None, {}, ""])
def test_event_with_an_invalid_time_is_republished_without_it(
    cloud: Cloud, giftcards: Giftcards, queue: Queue, placed_at: object
):
    queue.send(event(detail={"orderId": ORDER_ID, "userId": USER_ID, "placedAt": placed_at}))

    assert giftcards("replay-dlq").code == 0

    assert cloud.events_to_resume("giftcards.replay") == [{"orderId": ORDER_ID, "userId": USER_ID}]
    assert queue.bodies == []


def test_empty_queue_is_success(giftcards: Giftcards, queue: Queue):
    result = giftcards("replay-dlq")

    assert (result.code, result.err) == (0, "")
    assert result.out.endswith(": 0\n")


def test_all_events_are_republished_when_sqs_returns_one_at_a_time(
    cloud: Cloud, giftcards: Giftcards, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dead_letters, "_MAX_MESSAGES", 1)
    queue.send(*(event(f"order-{number}") for number in range(7)))

    assert giftcards("replay-dlq").code == 0

    assert sorted(replayed(cloud)) == [f"order-{number}" for number in range(7)]
    assert queue.bodies == []


UNREADABLE = {
    "not JSON": (f"{MARK} {MARK}", "not an event"),
    "not an object": (f'["{MARK}"]', "not an event"),
    "another event": (event(**{"detail-type": MARK}), ": detail-type"),
    "no order": (event(detail={"userId": MARK}), ": detail.orderId"),
    "invalid ids": (event(detail={"orderId": "", "userId": f"{MARK} "}), "detail.orderId, detail.userId"),
    "no detail": (event(detail=MARK), ": detail)"),
}


@pytest.mark.parametrize("unreadable", UNREADABLE)
def test_invalid_message_stays_in_the_queue_and_visible(
    cloud: Cloud, giftcards: Giftcards, queue: Queue, unreadable: str
):
    body, reason = UNREADABLE[unreadable]
    queue.send(body, event())

    result = giftcards("replay-dlq")

    assert result.code == 1
    assert reason in result.err
    assert result.err.count("\n") == 1
    assert MARK not in result.out + result.err
    assert queue.visible == [body]
    assert replayed(cloud) == [ORDER_ID]


def test_event_that_the_bus_rejects_stays_in_the_queue(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    queue.send(event("first"), event("second"))
    cloud.at_next("PutEvents", NOT_ACCEPTED)

    result = giftcards("replay-dlq")

    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "InternalFailure" in result.err
    assert [json.loads(body)["detail"]["orderId"] for body in queue.visible] == ["first"]


def test_event_is_deleted_only_after_it_is_republished(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    queue.send(event())
    cloud.at_next("PutEvents", client_error("PutEvents", "AccessDenied"))

    assert giftcards("replay-dlq").code == 1

    assert queue.bodies == [event()]
    assert cloud.sent("DeleteMessage") == []


def redeliver_at_the_second_read(cloud: Cloud, queue: Queue) -> None:
    """Let SQS deliver every message a second time."""
    reads = 0

    def read() -> None:
        nonlocal reads
        reads += 1
        if reads == 2:
            queue.show_all()

    cloud.at_next("ReceiveMessage", read, times=9)


def test_rejected_event_is_not_retried_in_the_same_run(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    queue.send(event())
    cloud.at_next("PutEvents", NOT_ACCEPTED)
    redeliver_at_the_second_read(cloud, queue)

    assert giftcards("replay-dlq").code == 1

    assert len(cloud.sent("ReceiveMessage")) == 2
    assert len(cloud.sent("PutEvents")) == 1
    assert queue.visible == [event()]


def test_message_that_sqs_delivers_twice_is_republished_once(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    # Given a deletion that has no effect yet, so that SQS delivers both messages a second time
    queue.send(event("twice"), f"{MARK}")
    cloud.at_next("DeleteMessage", {})
    redeliver_at_the_second_read(cloud, queue)

    result = giftcards("replay-dlq")

    assert len(cloud.sent("ReceiveMessage")) >= 2
    assert result.code == 1
    assert replayed(cloud) == ["twice"]
    assert queue.visible == [MARK]


def test_replay_ends_even_if_every_event_returns_to_the_queue(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    # Given a workflow that still cannot start
    queue.send(event("order-1"), event("order-2"))
    cloud.at_next("PutEvents", lambda: queue.send(event("comes-back")), times=1000)

    result = giftcards("replay-dlq")

    assert result.code == 0
    assert len(cloud.sent("ReceiveMessage")) == 3
    assert queue.visible != []


# The webhook's queue


@pytest.fixture
def webhook_queue(giftcards: Giftcards, cloud: Cloud, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Queue:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="webhook-dead")["QueueUrl"]
    monkeypatch.setattr(Stack, "webhook_dead_letters", dead_letters.DeadLetterQueue(url, sqs))
    cloud.forget()
    return Queue("webhook-dead")


def outgoing(detail_type: str = "OrderRefunded", **detail: Any) -> str:
    """Return an event of the service as the webhook's rule sends it to the queue."""
    given = {"schemaVersion": "1", "orderId": ORDER_ID, "userId": USER_ID, "added": {"later": "é"}} | detail
    return json.dumps({"id": "1", "detail-type": detail_type, "source": "giftcards", "detail": given})


def test_webhook_event_is_republished_as_it_was(cloud: Cloud, giftcards: Giftcards, webhook_queue: Queue):
    webhook_queue.send(outgoing())

    result = giftcards("replay-dlq")

    assert (result.code, result.out.endswith(": 1\n")) == (0, True)
    (call,) = cloud.sent("PutEvents")
    (entry,) = call["Entries"]
    assert (entry["Source"], entry["DetailType"]) == ("giftcards.replay", "OrderRefunded")
    assert json.loads(entry["Detail"]) == json.loads(outgoing())["detail"]
    assert webhook_queue.bodies == []


def test_both_queues_are_replayed_and_counted(cloud: Cloud, giftcards: Giftcards, queue: Queue, webhook_queue: Queue):
    queue.send(event(), "nonsense")
    webhook_queue.send(outgoing("CardsDelivered"), outgoing("OrderUnclaimed"))

    result = giftcards("replay-dlq")

    assert (result.code, result.out.endswith(": 2\n")) == (1, True)
    assert {call["Entries"][0]["DetailType"] for call in cloud.sent("PutEvents")} == {"OrderPlaced", "CardsDelivered"}
    assert (len(queue.visible), len(webhook_queue.visible)) == (1, 1)
    assert "detail-type" in result.err


def test_webhook_replays_only_what_the_webhook_posts(cloud: Cloud, giftcards: Giftcards, webhook_queue: Queue):
    webhook_queue.send(event(), outgoing(MARK), f"{MARK} {MARK}")
    result = giftcards("replay-dlq")
    assert (result.code, cloud.sent("PutEvents")) == (1, [])
    assert MARK not in result.out + result.err
