"""``giftcards place``."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from giftcards.contracts.events import OrderPlaced
from giftcards_cli import output
from giftcards_cli.arguments import OrderId, StackName, validated
from giftcards_cli.stack import EVENT_SOURCE, CommandError, Stack, aws_errors
from giftcards_local import STACK_NAME


def place(
    order_id: OrderId,
    user: Annotated[str, typer.Option("--user", help="The user the cards belong to.")],
    stack: StackName = STACK_NAME,
) -> None:
    """Start fulfilling an order that was placed at the supplier (publishes OrderPlaced)."""
    event = validated(OrderPlaced, order_id=order_id, user_id=user, placed_at=datetime.now(UTC))
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        order = deployed.orders.get(order_id)
        if order is not None and order.user_id != user:
            raise CommandError(f"order {order_id} belongs to another user; nothing was published")
        deployed.bus.publish(event, source=EVENT_SOURCE)
    output.say(f"OrderPlaced published; `giftcards show {order_id}` shows the order")
