"""``giftcards resume``: continue held orders; accept cards that the supplier sends in a broken form."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import typer

from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.order_table import OrderTable, UnreadableOrder
from giftcards.contracts.events import HeldReason
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import Acceptance, Order, event_to_resume
from giftcards_cli import output
from giftcards_cli.arguments import ORDER_ID, StackName
from giftcards_cli.stack import EVENT_SOURCE, CommandError, Stack, aws_errors, existing_order, unreadable_orders
from giftcards_local import STACK_NAME

MAX_REASON_LENGTH = 512


def resume(  # noqa: PLR0913, PLR0917 - the options of one command
    order_id: Annotated[str | None, ORDER_ID] = None,
    held: Annotated[bool, typer.Option("--held", help="Resume all held orders.")] = False,  # noqa: FBT002
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason",
            help="Resume all orders held for this reason. With --accept-cards: why you accept the cards; recorded.",
        ),
    ] = None,
    accept_cards: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--accept-cards",
            help="Deliver the readable cards of ORDER_ID, each once, even if the supplier's answer is invalid. Only "
            "for orders held as SUPPLIER_CONTRACT_BROKEN; requires --cards and --reason. "
            "Your AWS identity is recorded.",
        ),
    ] = False,
    cards: Annotated[
        int | None,
        typer.Option(
            "--cards",
            min=0,
            help="How many cards you accept; the order's held message states the number. 0 accepts a refund. "
            "The order is held again if the supplier sends a different number.",
        ),
    ] = None,
    ordered: Annotated[
        int | None,
        typer.Option("--ordered", min=1, help="How many cards were ordered; used only if the supplier does not say."),
    ] = None,
    stack: StackName = STACK_NAME,
) -> None:
    """Resume held orders: one ORDER_ID, all (--held), or all with one --reason. Safe to repeat."""
    if accept_cards:
        if order_id is None or held or cards is None or not (reason or "").strip():
            raise CommandError("--accept-cards requires ORDER_ID, --cards and --reason", exit_code=2)
    elif cards is not None or ordered is not None:
        raise CommandError("--cards and --ordered require --accept-cards", exit_code=2)
    elif (order_id is not None) + held + (reason is not None) != 1:
        raise CommandError("give exactly one of ORDER_ID, --held and --reason", exit_code=2)
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        if order_id is None:
            _resume_held(deployed, None if reason is None else _held_reason(reason))
            return
        if accept_cards and cards is not None:
            _accept_cards(deployed, order_id, str(reason).strip(), cards, ordered)
        output.say(resume_order(deployed.orders, deployed.bus, order_id))


def _held_reason(text: str) -> HeldReason:
    try:
        return HeldReason(text)
    except ValueError:
        raise CommandError(f"--reason must be one of {', '.join(HeldReason)}", exit_code=2) from None


def _accept_cards(deployed: Stack, order_id: str, reason: str, cards: int, ordered: int | None) -> None:
    if len(reason) > MAX_REASON_LENGTH:
        raise CommandError(f"--reason must be at most {MAX_REASON_LENGTH} characters", exit_code=2)
    order = deployed.orders.get(order_id)
    broken = HeldReason.SUPPLIER_CONTRACT_BROKEN
    not_held = CommandError(
        f"order {order_id} is not held as {broken}; nothing was accepted. `giftcards show {order_id}` shows its status"
    )
    if order is None or order.status is not OrderStatus.HELD or order.held_reason is not broken:
        raise not_held
    earlier = order.accept_cards
    if earlier is not None and (earlier.cards, earlier.ordered) != (cards, ordered):
        of_ordered = "" if earlier.ordered is None else f" of {earlier.ordered} ordered"
        raise CommandError(
            f"{earlier.by} has already accepted {earlier.cards} cards{of_ordered}; nothing was accepted. "
            f"`giftcards resume {order_id}` applies that; if the number is wrong, the order is held again without it"
        )
    acceptance = Acceptance(by=deployed.caller(), reason=reason, at=datetime.now(UTC), cards=cards, ordered=ordered)
    deployed.audit.add_acceptance(order, acceptance, str(uuid4()))
    if earlier is None and not deployed.orders.accept_cards(order, acceptance):
        raise CommandError(
            f"order {order_id} was resumed or accepted by someone else meanwhile; nothing was accepted. "
            f"`giftcards show {order_id}` shows its status"
        )


def resume_order(orders: OrderTable, bus: EventBus, order_id: str) -> str:
    """Resume one order and return the line to print.

    An order that is closed but whose outcome event is missing is resumed too, so that the event is published.
    """
    order = existing_order(orders, order_id)
    is_unpublished = order.status.is_final and order.announced_at is None
    if order.status is not OrderStatus.HELD and not is_unpublished:
        raise CommandError(f"order {order_id} {_state(order)}; there is nothing to resume")
    bus.publish(event_to_resume(order), source=EVENT_SOURCE)
    why = f" (it {_state(order)}, but its event was never published)" if is_unpublished else ""
    return f"order {order_id} is resumed{why}; `giftcards show {order_id}` shows its status"


def _state(order: Order) -> str:
    return "is in progress" if order.status is OrderStatus.HANDLING else f"is {output.CLOSED_AS[order.status]}"


def _resume_held(deployed: Stack, reason: HeldReason | None) -> None:
    resumed, unreadable = 0, list[UnreadableOrder]()
    # Read to the end first: an order that is held again at once would appear a second time at the end of the index.
    for order in list(deployed.orders.list_open(OrderStatus.HELD)):
        if isinstance(order, UnreadableOrder):
            unreadable.append(order)
        elif reason is None or order.held_reason is reason:
            deployed.bus.publish(event_to_resume(order), source=EVENT_SOURCE)
            resumed += 1
    output.say(f"held orders resumed: {resumed}")
    if unreadable:
        raise unreadable_orders(unreadable)
