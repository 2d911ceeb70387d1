"""``giftcards replay-dlq``: republish the events in the dead-letter queues of the workflow and of the webhook."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from giftcards.adapters.event_bus import EventBus, EventNotPublishedError
from giftcards.contracts.base import invalid_fields
from giftcards.contracts.events import WEBHOOK_EVENTS, OrderPlaced
from giftcards.rules.orders import LenientTime
from giftcards_cli import output
from giftcards_cli.arguments import StackName
from giftcards_cli.dead_letters import DeadLetter, DeadLetterQueue
from giftcards_cli.stack import CommandError, Stack, aws_errors
from giftcards_local import STACK_NAME

REPLAY_SOURCE = "giftcards.replay"
"""Source of replayed events. Of the rules for the service's events, the webhook's alone matches it."""
_Event = TypeVar("_Event", bound=BaseModel)


def replay_dlq(stack: StackName = STACK_NAME) -> None:
    """Republish the events in the dead-letter queues.

    These are the OrderPlaced events that could not start the workflow, and the events that the webhook could not
    deliver.
    """
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        replays = [Replay(deployed.dead_letters, deployed.bus, _placed_order_in)]
        if deployed.webhook_dead_letters is not None:
            replays.append(Replay(deployed.webhook_dead_letters, deployed.bus, _webhook_event_in))
        for replay in replays:
            replay.run()
    output.say(f"republished: {sum(replay.republished for replay in replays)}")
    failures = sum((replay.failures for replay in replays), Counter[str]())
    if failures:
        why = "; ".join(f"{count} × {reason}" for reason, count in sorted(failures.items()))
        raise CommandError(f"left in the queue: {sum(failures.values())} ({why})")


class _PlacedOrder(OrderPlaced):
    placed_at: LenientTime = None  # the workflow accepts any value that the shop sends here


class _DeadEvent(BaseModel):
    """An event as EventBridge writes it to the queue: unchanged."""

    model_config = ConfigDict(hide_input_in_errors=True)

    detail_type: Literal["OrderPlaced"] = Field(alias="detail-type")
    detail: _PlacedOrder


class _WebhookEvent(BaseModel):
    """An event of the service, as EventBridge writes it to the queue: unchanged."""

    model_config = ConfigDict(hide_input_in_errors=True)

    detail_type: Literal[WEBHOOK_EVENTS] = Field(alias="detail-type")  # type: ignore[valid-type]
    detail: dict[str, Any]


class UnreadableLetterError(Exception):
    """The message does not contain a valid event. The text names fields, never their values."""


@dataclass
class Replay:
    """One pass over a queue. A message that SQS delivers twice in one pass is republished once.

    Attributes
    ----------
    event_in
        Returns detail-type and detail of the event in a message, the detail as JSON.
    """

    queue: DeadLetterQueue
    bus: EventBus
    event_in: Callable[[DeadLetter], tuple[str, str]]
    republished: int = 0

    def __post_init__(self) -> None:
        self._done: set[str] = set()
        self._failed: dict[str, tuple[DeadLetter, str]] = {}

    @property
    def failures(self) -> Counter[str]:
        """The messages that stay in the queue, counted by reason."""
        return Counter(reason for _, reason in self._failed.values())

    def run(self) -> None:
        """Republish every valid event; make the other messages visible to other readers again."""
        try:
            for letter in self.queue.receive():
                self._handle(letter)
        finally:
            for letter, _ in self._failed.values():
                self.queue.release(letter)

    def _handle(self, letter: DeadLetter) -> None:
        if letter.message_id in self._failed:
            self._failed[letter.message_id] = (letter, self._failed[letter.message_id][1])  # the newest receipt
            return
        if letter.message_id not in self._done:
            try:
                self.bus.publish_detail(*self.event_in(letter), source=REPLAY_SOURCE)
            except (UnreadableLetterError, EventNotPublishedError) as error:
                self._failed[letter.message_id] = (letter, str(error))
                return
            self._done.add(letter.message_id)
            self.republished += 1
        self.queue.delete(letter)


def _placed_order_in(letter: DeadLetter) -> tuple[str, str]:
    event = _read(_DeadEvent, letter)
    return event.detail_type, event.detail.model_dump_json(by_alias=True, exclude_none=True)


def _webhook_event_in(letter: DeadLetter) -> tuple[str, str]:
    event = _read(_WebhookEvent, letter)
    return event.detail_type, json.dumps(event.detail)


def _read(model: type[_Event], letter: DeadLetter) -> _Event:
    try:
        return model.model_validate_json(letter.body)
    except ValidationError as error:
        fields = invalid_fields(error)
        raise UnreadableLetterError(f"missing or invalid: {', '.join(fields)}" if fields else "not an event") from None
