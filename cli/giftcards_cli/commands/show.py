"""``giftcards show``."""

from datetime import UTC, datetime

from giftcards.contracts.statuses import OrderStatus
from giftcards_cli import output
from giftcards_cli.arguments import AsJson, OrderId, StackName
from giftcards_cli.commands.links import link_document, links_of
from giftcards_cli.stack import Stack, aws_errors, existing_order
from giftcards_local import STACK_NAME


def show(order_id: OrderId, stack: StackName = STACK_NAME, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show one order: status, counts, timeline, links and mail. Never cards, a URL or an address."""
    now = datetime.now(UTC)
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        order = existing_order(deployed.orders, order_id)
        block = deployed.block(now) if order.status is OrderStatus.HANDLING else None
        links = links_of(deployed, order)
        mail = deployed.mails.get(order.order_id, order.user_id)
    waiting_for = None if block is None else output.block_text(block)
    link_documents = [link_document(link, now) for link in links]
    mail_document = output.mail_document(mail, links)
    if as_json:
        document = output.order_document(order)
        output.print_json(
            document
            | {
                "waitingFor": waiting_for,
                "timeline": output.timeline(order),
                "links": link_documents,
                "mail": mail_document,
            }
        )
    else:
        output.show_order(order, waiting_for, link_documents, mail_document)
