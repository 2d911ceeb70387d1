"""Resume and replay as a person uses them: what is published, what stays, and the one line that says why."""

import json
import time
from typing import Any

import boto3
import pytest
from moto.sqs.models import sqs_backends

from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.events import HeldReason
from giftcards_cli import dead_letters
from support.cloud import Cloud, client_error
from support.command_line import CommandResult, Giftcards
from support.examples import NOW, ORDER_ID, REGION, USER_ID
from support.secrets import MARK

CLOSED = {"quantity": 1, "fulfilledQuantity": 1, "deliveredAt": timestamp(NOW)}
ANNOUNCED = CLOSED | {"announcedAt": timestamp(NOW)}
DENIED = (
    "AccessDenied; the credentials in AWS_ACCESS_KEY_ID and its companions lack the permission: "
    "docs/runbook.md lists what each command needs"
)
NOT_TAKEN = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}


def resumed(cloud: Cloud) -> list[str]:
    return [detail["orderId"] for detail in cloud.events_to_resume("giftcards.cli")]


# -------------------------------------------------------------------- resume


def test_held_order_is_taken_up_for_its_own_user(cloud: Cloud, giftcards: Giftcards):
    cloud.claim(placedAt="2026-03-14T09:00:00.000Z")
    cloud.hold()

    said = giftcards("resume", ORDER_ID)

    assert (said.code, said.err) == (0, "")
    assert said.out == f"it is taken up again; `giftcards show {ORDER_ID}` says how it is\n"
    detail = {"orderId": ORDER_ID, "userId": USER_ID, "placedAt": "2026-03-14T09:00:00Z"}
    assert cloud.events_to_resume("giftcards.cli") == [detail]
    assert cloud.writes() == ["PutEvents"]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, "is being handled"),
        ({"status": "FULFILLED"} | ANNOUNCED, "is delivered (FULFILLED)"),
        ({"status": "PARTIALLY_FILLED"} | ANNOUNCED, "is delivered (PARTIALLY_FILLED)"),
        ({"status": "REFUNDED"} | ANNOUNCED, "is refunded"),
    ],
)
def test_order_that_is_not_held_stays_as_it_is(
    cloud: Cloud, giftcards: Giftcards, attributes: dict[str, Any], reason: str
):
    cloud.claim(**attributes)

    said = giftcards("resume", ORDER_ID)

    assert (said.code, said.out) == (1, "")
    assert said.err == f"giftcards: order {ORDER_ID} {reason}; there is nothing to take up\n"
    assert cloud.writes() == []


@pytest.mark.parametrize("order_id", ["unknown", "", "a b"])
def test_order_that_was_never_announced_is_not_made_by_resuming_it(cloud: Cloud, giftcards: Giftcards, order_id: str):
    said = giftcards("resume", order_id)

    assert (said.code, said.out) == (1, "")
    assert said.err == f"giftcards: no order {order_id!r} has been announced\n"
    assert cloud.writes() == []


def test_closed_order_whose_event_never_went_out_is_announced_and_says_so(cloud: Cloud, giftcards: Giftcards):
    cloud.claim(status="FULFILLED", **CLOSED)

    said = giftcards("resume", ORDER_ID)

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"order {ORDER_ID} is delivered (FULFILLED) but was never announced; it is taken up")
    assert resumed(cloud) == [ORDER_ID]


@pytest.fixture
def some_held(cloud: Cloud) -> None:
    """Given two orders held at their deadline, one that the supplier does not know, and one that is being handled."""
    reasons = {"late-1": "DEADLINE_PASSED", "late-2": "DEADLINE_PASSED", "unknown": "ORDER_UNKNOWN"}
    for order_id, reason in reasons.items():
        cloud.claim(order_id, user_id=f"user-of-{order_id}")
        cloud.hold(order_id, reason)
    cloud.claim("open")


@pytest.mark.usefixtures("some_held")
@pytest.mark.parametrize(
    ("named", "orders"),
    [
        (["--held"], ["late-1", "late-2", "unknown"]),
        (["--reason", "DEADLINE_PASSED"], ["late-1", "late-2"]),
        (["--reason", "UNEXPECTED_ERROR"], []),
    ],
)
def test_held_orders_are_taken_up_together(cloud: Cloud, giftcards: Giftcards, named: list[str], orders: list[str]):
    said = giftcards("resume", *named)

    assert (said.code, said.err) == (0, "")
    assert said.out == f"held orders taken up again: {len(orders)}\n"
    assert sorted(resumed(cloud)) == orders
    assert all(d["userId"] == f"user-of-{d['orderId']}" for d in cloud.events_to_resume("giftcards.cli"))


def test_nothing_held_is_no_failure(giftcards: Giftcards):
    assert giftcards("resume", "--held") == CommandResult(0, "held orders taken up again: 0\n", "")


@pytest.mark.usefixtures("some_held")
def test_held_order_that_cannot_be_read_does_not_keep_the_others(cloud: Cloud, giftcards: Giftcards):
    cloud.put(cloud.card_table, cloud.order_row("late-1") | {"userId": f"{MARK} {MARK}"})

    said = giftcards("resume", "--held")

    assert said == CommandResult(
        1, "held orders taken up again: 2\n", "giftcards: orders whose rows cannot be read: 1 (late-1: userId)\n"
    )
    assert sorted(resumed(cloud)) == ["late-2", "unknown"]


@pytest.mark.parametrize(
    "named",
    [[], [ORDER_ID, "--held"], ["--held", "--reason", "ORDER_UNKNOWN"], [ORDER_ID, "--reason", "ORDER_UNKNOWN"]],
)
def test_resume_takes_one_way_of_naming_orders(cloud: Cloud, giftcards: Giftcards, named: list[str]):
    said = giftcards("resume", *named)

    assert said == CommandResult(2, "", "giftcards: name an ORDER_ID, or --held, or --reason: one of them\n")
    assert cloud.calls == []


def test_resume_knows_the_reasons_of_holds_and_no_others(giftcards: Giftcards):
    said = giftcards("resume", "--reason", "BAD_LUCK")

    assert (said.code, said.out) == (2, "")
    assert all(reason in said.err for reason in HeldReason)


@pytest.mark.usefixtures("some_held")
@pytest.mark.parametrize(
    ("operation", "outcome", "line"),
    [
        ("PutEvents", NOT_TAKEN, "EventBridge did not take OrderPlaced: InternalFailure"),
        ("PutEvents", client_error("PutEvents", "AccessDenied"), f"AWS refused PutEvents: {DENIED}"),
        ("Query", client_error("Query", "AccessDenied"), f"AWS refused Query: {DENIED}"),
    ],
)
def test_what_aws_refuses_is_one_line(cloud: Cloud, giftcards: Giftcards, operation: str, outcome: Any, line: str):
    cloud.at_next(operation, outcome)

    assert giftcards("resume", "--held") == CommandResult(1, "", f"giftcards: {line}\n")


# -------------------------------------------------------------------- replay


def event(order_id: str = ORDER_ID, **changes: Any) -> str:
    """Make what the rule leaves in the queue."""
    detail = {"orderId": order_id, "userId": USER_ID, "placedAt": "2026-03-14T09:00:00Z", "note": "more"}
    envelope = {"version": "0", "id": "1", "detail-type": "OrderPlaced", "source": "shop", "detail": detail}
    return json.dumps(envelope | changes)


class Queue:
    """The dead-letter queue of the stack."""

    def __init__(self) -> None:
        self._sqs: Any = boto3.client("sqs")
        self._url = self._sqs.get_queue_url(QueueName="dead")["QueueUrl"]

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self._sqs.send_message(QueueUrl=self._url, MessageBody=body)

    @property
    def _messages(self) -> list[Any]:
        (queue,) = sqs_backends["123456789012"][REGION].queues.values()
        return list(queue._messages)

    @property
    def bodies(self) -> list[str]:
        """What lies in the queue, whether it can be seen or not."""
        return [message.body for message in self._messages]

    @property
    def visible(self) -> list[str]:
        """What anybody who asks now would get."""
        soon = (time.time() + 1) * 1000  # what has been received is away for minutes
        return [message.body for message in self._messages if message.visible_at < soon]

    def show_all(self) -> None:
        """Let messages be seen again, as when their visibility timeout has passed."""
        for message in self._messages:
            message.visible_at = 0.0


@pytest.fixture
def queue(giftcards: Giftcards, cloud: Cloud) -> Queue:
    queue = Queue()
    cloud.forget()
    return queue


def replayed(cloud: Cloud) -> list[str]:
    return [detail["orderId"] for detail in cloud.events_to_resume("giftcards.replay")]


def test_event_is_put_back_on_the_bus_and_deleted(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    queue.send(event())

    assert giftcards("replay-dlq") == CommandResult(0, "put back on the bus: 1\n", "")

    detail = {"orderId": ORDER_ID, "userId": USER_ID, "placedAt": "2026-03-14T09:00:00Z"}
    assert cloud.events_to_resume("giftcards.replay") == [detail]
    assert queue.bodies == []
    # Others must not get a message while its event is being published.
    assert all(params["VisibilityTimeout"] >= 60 for params in cloud.sent("ReceiveMessage"))


@pytest.mark.parametrize("placed_at", ["2026-03-14T09:00:00", "yesterday", "2026-02-30T00:00:00Z", None, {}, ""])
def test_event_whose_time_cannot_be_read_is_put_back_without_it(
    cloud: Cloud, giftcards: Giftcards, queue: Queue, placed_at: object
):
    queue.send(event(detail={"orderId": ORDER_ID, "userId": USER_ID, "placedAt": placed_at}))

    assert giftcards("replay-dlq") == CommandResult(0, "put back on the bus: 1\n", "")

    assert cloud.events_to_resume("giftcards.replay") == [{"orderId": ORDER_ID, "userId": USER_ID}]
    assert queue.bodies == []


def test_empty_queue_is_no_failure(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    assert giftcards("replay-dlq") == CommandResult(0, "put back on the bus: 0\n", "")


def test_all_that_waits_is_put_back_however_little_sqs_gives_at_once(
    cloud: Cloud, giftcards: Giftcards, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dead_letters, "_AT_ONCE", 1)
    queue.send(*(event(f"order-{number}") for number in range(7)))

    assert giftcards("replay-dlq").code == 0

    assert sorted(replayed(cloud)) == [f"order-{number}" for number in range(7)]
    assert queue.bodies == []


UNREADABLE = {
    "no JSON": (f"{MARK} {MARK}", "no event"),
    "no object": (f'["{MARK}"]', "no event"),
    "another event": (event(**{"detail-type": MARK}), "missing or invalid: detail-type"),
    "no order": (event(detail={"userId": MARK}), "missing or invalid: detail.orderId"),
    "invalid ids": (event(detail={"orderId": "", "userId": f"{MARK} "}), "detail.orderId, detail.userId"),
    "no detail": (event(detail=MARK), "missing or invalid: detail"),
}


@pytest.mark.parametrize("unreadable", UNREADABLE)
def test_message_that_holds_no_order_stays_in_the_queue_for_all_to_see(
    cloud: Cloud, giftcards: Giftcards, queue: Queue, unreadable: str
):
    body, reason = UNREADABLE[unreadable]
    queue.send(body, event())

    said = giftcards("replay-dlq")

    assert (said.code, said.out) == (1, "put back on the bus: 1\n")
    assert said.err.startswith("giftcards: left in the queue: 1 (1 × ")
    assert reason in said.err
    assert said.err.count("\n") == 1
    assert MARK not in said.out + said.err
    assert queue.visible == [body]
    assert replayed(cloud) == [ORDER_ID]


def test_event_that_the_bus_does_not_take_stays_in_the_queue(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    queue.send(event("first"), event("second"))
    cloud.at_next("PutEvents", NOT_TAKEN)

    said = giftcards("replay-dlq")

    why = "1 × EventBridge did not take OrderPlaced: InternalFailure"
    assert said == CommandResult(1, "put back on the bus: 1\n", f"giftcards: left in the queue: 1 ({why})\n")
    assert [json.loads(body)["detail"]["orderId"] for body in queue.visible] == ["first"]


def test_event_is_deleted_only_after_the_bus_took_it(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    queue.send(event())
    cloud.at_next("PutEvents", client_error("PutEvents", "AccessDenied"))

    said = giftcards("replay-dlq")

    assert said == CommandResult(1, "", f"giftcards: AWS refused PutEvents: {DENIED}\n")
    assert queue.bodies == [event()]
    assert cloud.sent("DeleteMessage") == []


def turn_up_at_the_second_read(cloud: Cloud, queue: Queue) -> None:
    """Have SQS deliver again what it has delivered."""
    reads = 0

    def read() -> None:
        nonlocal reads
        reads += 1
        if reads == 2:
            queue.show_all()

    cloud.at_next("ReceiveMessage", read, times=9)


def test_event_that_the_bus_did_not_take_is_left_for_another_run(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    queue.send(event())
    cloud.at_next("PutEvents", NOT_TAKEN)
    turn_up_at_the_second_read(cloud, queue)

    assert giftcards("replay-dlq").out == "put back on the bus: 0\n"

    assert len(cloud.sent("ReceiveMessage")) == 2
    assert len(cloud.sent("PutEvents")) == 1
    assert queue.visible == [event()]


def test_message_that_sqs_delivers_twice_is_put_back_once(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    # Given that a deletion is slow and the message turns up again, and so does one that cannot be read
    queue.send(event("twice"), f"{MARK}")
    cloud.at_next("DeleteMessage", {})
    turn_up_at_the_second_read(cloud, queue)

    said = giftcards("replay-dlq")

    assert len(cloud.sent("ReceiveMessage")) >= 2
    assert (said.code, said.out) == (1, "put back on the bus: 1\n")
    assert replayed(cloud) == ["twice"]
    assert queue.visible == [MARK]


def test_replay_ends_although_every_event_comes_back_at_once(cloud: Cloud, giftcards: Giftcards, queue: Queue):
    # Given a workflow that still cannot be started
    queue.send(event("order-1"), event("order-2"))
    cloud.at_next("PutEvents", lambda: queue.send(event("comes-back")), times=1000)

    said = giftcards("replay-dlq")

    assert said.code == 0
    assert len(cloud.sent("ReceiveMessage")) == 3
    assert queue.visible != []


# -------------------------------------------------------------- accept cards

WHY = ("--accept-cards", "--cards", "2", "--reason", " seen in the console ")


def test_accepted_order_has_who_and_why_in_its_row_and_is_resumed(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")

    said = giftcards("resume", ORDER_ID, *WHY)

    assert (said.code, said.err) == (0, "")
    assert resumed(cloud) == [ORDER_ID]
    acceptance = cloud.order_row()["acceptCards"]
    assert acceptance["reason"] == "seen in the console"
    assert acceptance["by"].startswith("arn:aws:")
    assert acceptance["at"].endswith("Z")
    assert (acceptance["cards"], "ordered" in acceptance) == (2, False)
    assert cloud.writes() == ["PutItem", "UpdateItem", "PutEvents"]


def test_every_acceptance_is_in_the_audit_table_before_the_order_says_so(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")

    giftcards("resume", ORDER_ID, *WHY)
    giftcards("resume", ORDER_ID, "--accept-cards", "--cards", "0", "--ordered", "3", "--reason", "refunded")

    records = cloud.rows(cloud.audit_table)
    assert {record["pk"] for record in records} == {f"ACCEPT#{ORDER_ID}"}
    assert sorted((record["cards"], record.get("ordered"), record["reason"]) for record in records) == [
        (0, 3, "refunded"),
        (2, None, "seen in the console"),
    ]
    assert cloud.order_row()["acceptCards"]["ordered"] == 3


def test_order_is_not_accepted_when_the_acceptance_cannot_be_recorded(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")
    cloud.at_next("PutItem", client_error("PutItem", "AccessDeniedException"), table=cloud.audit_table)

    assert giftcards("resume", ORDER_ID, *WHY).code == 1

    assert "acceptCards" not in cloud.order_row()
    assert resumed(cloud) == []


@pytest.mark.parametrize("reason", sorted(set(HeldReason) - {HeldReason.SUPPLIER_CONTRACT_BROKEN}))
def test_order_that_is_held_for_another_reason_is_not_accepted(cloud: Cloud, giftcards: Giftcards, reason: str):
    cloud.claim()
    cloud.hold(reason=reason)

    assert_not_accepted(cloud, giftcards)


def test_order_that_is_not_held_is_not_accepted(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()

    assert_not_accepted(cloud, giftcards)


def test_order_that_is_resumed_by_somebody_else_meanwhile_is_not_accepted(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")
    cloud.at_next("UpdateItem", cloud.claim)

    assert_not_accepted(cloud, giftcards)


def assert_not_accepted(cloud: Cloud, giftcards: Giftcards) -> None:
    said = giftcards("resume", ORDER_ID, *WHY)

    assert (said.code, said.out) == (1, "")
    assert "is not held as SUPPLIER_CONTRACT_BROKEN" in said.err
    assert "acceptCards" not in cloud.order_row()
    assert resumed(cloud) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--accept-cards",),
        (ORDER_ID, "--accept-cards"),
        (ORDER_ID, "--accept-cards", "--reason", "why"),
        (ORDER_ID, "--accept-cards", "--cards", "1"),
        (ORDER_ID, "--cards", "1"),
        (ORDER_ID, "--ordered", "1"),
        (ORDER_ID, "--accept-cards", "--cards", "1", "--reason", " "),
        (ORDER_ID, "--accept-cards", "--cards", "1", "--reason", "x" * 513),
        ("--accept-cards", "--cards", "1", "--reason", "why"),
        ("--held", "--accept-cards", "--cards", "1", "--reason", "why"),
        (ORDER_ID, "--held", "--accept-cards", "--cards", "1", "--reason", "why"),
        (ORDER_ID, "--reason", "why"),
        ("--reason", "why"),
    ],
)
def test_acceptance_asks_for_one_order_and_a_reason(cloud: Cloud, giftcards: Giftcards, arguments: tuple[str, ...]):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")

    said = giftcards("resume", *arguments)

    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert cloud.writes() == []


def test_acceptance_is_shown_with_the_order(cloud: Cloud, giftcards: Giftcards):
    cloud.claim()
    cloud.hold(reason="SUPPLIER_CONTRACT_BROKEN")
    giftcards("resume", ORDER_ID, *WHY)

    assert "seen in the console" in giftcards("show", ORDER_ID).out
    assert "seen in the console" in giftcards("show", ORDER_ID, "--json").out
