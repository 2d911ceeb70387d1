"""``giftcards orders``."""

from typing import Annotated

import typer

from giftcards.adapters.order_table import UnreadableOrder
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import Order
from giftcards_cli import output
from giftcards_cli.arguments import AsJson, StackName
from giftcards_cli.stack import Stack, aws_errors, unreadable_orders
from giftcards_local import STACK_NAME


def orders(
    status: Annotated[OrderStatus | None, typer.Option("--status", help="Only orders with this status.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only orders of this user.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of orders.")] = 100,
    stack: StackName = STACK_NAME,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """List orders, newest first."""
    with aws_errors(stack):
        rows = list(Stack.connect(stack).orders.list(status=status, user_id=user))
    readable = [row for row in rows if isinstance(row, Order)]
    newest_first = sorted(readable, key=lambda order: order.claimed_at, reverse=True)
    unreadable = [row for row in rows if isinstance(row, UnreadableOrder)]
    shown = newest_first[:limit]
    if as_json:
        output.print_json([output.order_document(order) for order in shown])
    elif shown:
        output.console.print(output.orders_table(shown))
        if len(newest_first) > limit:
            output.console.print(f"[dim]{len(newest_first) - limit} more; raise --limit to see them[/]")
    elif not unreadable:
        output.console.print("no orders")
    if unreadable:
        raise unreadable_orders(unreadable)
