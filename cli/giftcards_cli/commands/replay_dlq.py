"""``giftcards replay-dlq``: republish the OrderPlaced events in the dead-letter queue."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from giftcards.adapters.event_bus import EventBus, EventNotPublishedError
from giftcards.contracts.base import invalid_fields
from giftcards.contracts.events import OrderPlaced
from giftcards.rules.orders import LenientTime
from giftcards_cli import output
from giftcards_cli.arguments import StackName
from giftcards_cli.dead_letters import DeadLetter, DeadLetterQueue
from giftcards_cli.stack import CommandError, Stack, aws_errors
from giftcards_local import STACK_NAME


def replay_dlq(stack: StackName = STACK_NAME) -> None:
    """Republish the OrderPlaced events that could not start the workflow, from their dead-letter queue."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        replay = Replay(deployed.dead_letters, deployed.bus)
        replay.run()
    output.say(f"republished: {replay.republished}")
    if replay.failures:
        why = "; ".join(f"{count} × {reason}" for reason, count in sorted(replay.failures.items()))
        raise CommandError(f"left in the queue: {sum(replay.failures.values())} ({why})")


class _PlacedOrder(OrderPlaced):
    placed_at: LenientTime = None  # the workflow accepts any value that the shop sends here


class _DeadEvent(BaseModel):
    """An event as EventBridge writes it to the queue: unchanged."""

    model_config = ConfigDict(hide_input_in_errors=True)

    detail_type: Literal["OrderPlaced"] = Field(alias="detail-type")
    detail: _PlacedOrder


class UnreadableLetterError(Exception):
    """The message does not contain a valid OrderPlaced event. The text names fields, never their values."""


@dataclass
class Replay:
    """One pass over the queue. A message that SQS delivers twice in one pass is republished once."""

    queue: DeadLetterQueue
    bus: EventBus
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
                self.bus.publish(_event_in(letter), source="giftcards.replay")
            except (UnreadableLetterError, EventNotPublishedError) as error:
                self._failed[letter.message_id] = (letter, str(error))
                return
            self._done.add(letter.message_id)
            self.republished += 1
        self.queue.delete(letter)


def _event_in(letter: DeadLetter) -> OrderPlaced:
    try:
        return _DeadEvent.model_validate_json(letter.body).detail
    except ValidationError as error:
        fields = invalid_fields(error)
        raise UnreadableLetterError(f"missing or invalid: {', '.join(fields)}" if fields else "not an event") from None
