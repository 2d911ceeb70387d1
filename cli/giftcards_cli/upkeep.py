"""``giftcards resume`` and ``giftcards replay-dlq``: what a person does about orders that do not go on alone."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import uuid4

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from giftcards.adapters.event_bus import EventBus, EventNotPublishedError
from giftcards.adapters.order_table import UnreadableOrder
from giftcards.contracts.events import HeldReason, OrderPlaced
from giftcards.rules.orders import Acceptance, LenientTime, Order, OrderStatus, event_to_resume
from giftcards_cli import output
from giftcards_cli.arguments import ORDER_ID, StackName
from giftcards_cli.dead_letters import DeadLetter, DeadLetterQueue
from giftcards_cli.stack import CommandError, Stack, aws_errors, not_read

MAX_REASON = 512
"""Characters, as for a reveal."""
_RESUME_SOURCE = "giftcards.cli"
_REPLAY_SOURCE = "giftcards.replay"


def resume(  # noqa: PLR0913, PLR0917 - the options of one command
    order_id: Annotated[str | None, ORDER_ID] = None,
    held: Annotated[bool, typer.Option("--held", help="All orders that are held.")] = False,  # noqa: FBT002
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason", help="Resume all orders held for this reason; with --accept-cards, why you accept the cards."
        ),
    ] = None,
    accept_cards: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--accept-cards",
            help="Deliver the --cards of ORDER_ID as they arrive, whatever their values. "
            "Only for SUPPLIER_CONTRACT_BROKEN; requires --reason, which is recorded with your AWS identity.",
        ),
    ] = False,
    cards: Annotated[
        int | None,
        typer.Option(
            "--cards",
            min=0,
            help="How many cards you accept, as the held message counts them; 0 accepts a refund. "
            "The order is held again if the supplier sends another number.",
        ),
    ] = None,
    ordered: Annotated[
        int | None,
        typer.Option("--ordered", min=1, help="How many cards were ordered; used if the supplier does not say."),
    ] = None,
    stack: StackName = "giftcards",
) -> None:
    """Resume held orders: one by its ORDER_ID, all, or all with one reason. Safe at any time."""
    if accept_cards:
        if order_id is None or held or cards is None or not (reason or "").strip():
            raise CommandError("--accept-cards requires an ORDER_ID, the number of --cards and a --reason", exit_code=2)
    elif cards is not None or ordered is not None:
        raise CommandError("--cards and --ordered are for --accept-cards", exit_code=2)
    elif (order_id is not None) + held + (reason is not None) != 1:
        raise CommandError("name an ORDER_ID, or --held, or --reason: one of them", exit_code=2)
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        if order_id is None:
            _resume_held(deployed, None if reason is None else _held_reason(reason))
            return
        if accept_cards and cards is not None:
            _accept_cards(deployed, order_id, str(reason).strip(), cards, ordered)
        _say(_resume_one(deployed, order_id))


def _held_reason(text: str) -> HeldReason:
    try:
        return HeldReason(text)
    except ValueError:
        raise CommandError(f"--reason must be one of {', '.join(HeldReason)}", exit_code=2) from None


def _accept_cards(deployed: Stack, order_id: str, reason: str, cards: int, ordered: int | None) -> None:
    if len(reason) > MAX_REASON:
        raise CommandError(f"--reason must be at most {MAX_REASON} characters", exit_code=2)
    order = deployed.orders.get(order_id)
    broken = HeldReason.SUPPLIER_CONTRACT_BROKEN
    not_held = CommandError(
        f"order {order_id} is not held as {broken}, so nothing is accepted; "
        f"`giftcards show {order_id}` says how it stands"
    )
    if order is None or order.status is not OrderStatus.HELD or order.held_reason is not broken:
        raise not_held
    acceptance = Acceptance(by=deployed.caller(), reason=reason, at=datetime.now(UTC), cards=cards, ordered=ordered)
    deployed.audit.add_acceptance(order, acceptance, str(uuid4()))
    if not deployed.orders.accept_cards(order, acceptance):
        raise not_held


def replay_dlq(stack: StackName = "giftcards") -> None:
    """Put announcements that could not start the workflow back on the bus, from their dead-letter queue."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        replay = Replay(deployed.dead_letters, deployed.bus)
        replay.run()
    _say(f"put back on the bus: {replay.put_back}")
    if replay.left:
        why = "; ".join(f"{count} × {reason}" for reason, count in sorted(replay.left.items()))
        raise CommandError(f"left in the queue: {sum(replay.left.values())} ({why})")


def _resume_one(deployed: Stack, order_id: str) -> str:
    order = deployed.orders.get(order_id)
    if order is None:
        raise CommandError(f"no order {order_id!r} has been announced")
    if order.status is not OrderStatus.HELD and not _is_untold(order):
        raise CommandError(f"order {order_id} {_how_it_is(order)}; there is nothing to take up")
    deployed.bus.publish(event_to_resume(order), source=_RESUME_SOURCE)
    was = f"order {order_id} {_how_it_is(order)} but was never announced; it" if _is_untold(order) else "it"
    return f"{was} is taken up again; `giftcards show {order_id}` says how it is"


def _is_untold(order: Order) -> bool:
    return order.status.is_closed and order.announced_at is None


def _how_it_is(order: Order) -> str:
    if order.status is OrderStatus.HANDLING:
        return "is being handled"
    return f"is delivered ({order.status})" if order.status.is_delivered else "is refunded"


def _resume_held(deployed: Stack, reason: HeldReason | None) -> None:
    resumed, unreadable = 0, list[UnreadableOrder]()
    # Read to the end first: an order that is held again at once would turn up again behind.
    for order in list(deployed.orders.list_open(OrderStatus.HELD)):
        if isinstance(order, UnreadableOrder):
            unreadable.append(order)
        elif reason is None or order.held_reason is reason:
            deployed.bus.publish(event_to_resume(order), source=_RESUME_SOURCE)
            resumed += 1
    _say(f"held orders taken up again: {resumed}")
    if unreadable:
        raise not_read(unreadable)


class _DeadOrder(OrderPlaced):
    placed_at: LenientTime = None  # the workflow takes an order whatever the shop says here


class _DeadEvent(BaseModel):
    """What EventBridge puts into the queue: the event as it was."""

    model_config = ConfigDict(hide_input_in_errors=True)

    detail_type: Literal["OrderPlaced"] = Field(alias="detail-type")
    detail: _DeadOrder


class UnreadableLetterError(Exception):
    """A message holds no OrderPlaced event that the bus could be given. The text names fields, never what they hold."""


@dataclass
class Replay:
    """One run over the queue. Whatever SQS delivers twice, a message is put back once in a run.

    Attributes
    ----------
    queue
        Where the messages are.
    bus
        Where their events go.
    put_back
        Events that the bus took.
    """

    queue: DeadLetterQueue
    bus: EventBus
    put_back: int = 0

    def __post_init__(self) -> None:
        self._done: set[str] = set()
        self._left: dict[str, tuple[DeadLetter, str]] = {}

    @property
    def left(self) -> Counter[str]:
        """Say why messages stay in the queue."""
        return Counter(reason for _, reason in self._left.values())

    def run(self) -> None:
        """Put back what can be; what cannot can be seen by others again afterwards."""
        try:
            for letter in self.queue.receive():
                self._handle(letter)
        finally:
            for letter, _ in self._left.values():
                self.queue.give_back(letter)

    def _handle(self, letter: DeadLetter) -> None:
        if letter.message_id in self._left:
            self._left[letter.message_id] = (letter, self._left[letter.message_id][1])
            return
        if letter.message_id not in self._done:
            try:
                self.bus.publish(_event_in(letter), source=_REPLAY_SOURCE)
            except (UnreadableLetterError, EventNotPublishedError) as error:
                self._left[letter.message_id] = (letter, str(error))
                return
            self._done.add(letter.message_id)
            self.put_back += 1
        self.queue.delete(letter)


def _event_in(letter: DeadLetter) -> OrderPlaced:
    try:
        return _DeadEvent.model_validate_json(letter.body).detail
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        fields = sorted({".".join(map(str, problem["loc"])) for problem in problems} - {""})
        raise UnreadableLetterError(f"missing or invalid: {', '.join(fields)}" if fields else "no event") from None


def _say(line: str) -> None:
    output.console.print(line, highlight=False, markup=False, soft_wrap=True)
