"""``giftcards show``."""

from datetime import UTC, datetime

from giftcards.rules.orders import OrderStatus
from giftcards_cli import output
from giftcards_cli.arguments import AsJson, OrderId, StackName
from giftcards_cli.stack import Stack, aws_errors, existing_order
from giftcards_local import STACK_NAME


def show(order_id: OrderId, stack: StackName = STACK_NAME, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show one order: status, counts and timeline. Never cards."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        order = existing_order(deployed.orders, order_id)
        block = deployed.block(datetime.now(UTC)) if order.status is OrderStatus.HANDLING else None
    waiting_for = None if block is None else output.block_text(block)
    if as_json:
        document = output.order_document(order)
        output.print_json(document | {"waitingFor": waiting_for, "timeline": output.timeline(order)})
    else:
        output.show_order(order, waiting_for)
