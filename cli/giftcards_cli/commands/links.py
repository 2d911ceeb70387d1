"""``giftcards links`` and ``giftcards revoke-links``."""

from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from giftcards.adapters.timestamps import timestamp
from giftcards.rules.links import Link
from giftcards.rules.orders import Order
from giftcards_cli import output
from giftcards_cli.arguments import AsJson, OrderId, StackName
from giftcards_cli.stack import CommandError, Stack, aws_errors, existing_order
from giftcards_local import STACK_NAME


def links(order_id: OrderId, stack: StackName = STACK_NAME, as_json: AsJson = False) -> None:  # noqa: FBT002
    """List the links of one order. Never a URL: `giftcards link` prints it."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        found = links_of(deployed, existing_order(deployed.orders, order_id))
    documents = [link_document(link, datetime.now(UTC)) for link in found]
    if as_json:
        output.print_json(documents)
        return
    if not documents:
        output.console.print("no links; create one with `giftcards link`")
        return
    table = Table(box=None, header_style="dim")
    for heading in ("LINK", "CHANNEL", "STATE", "USES", "CREATED", "EXPIRES", "LAST USED"):
        table.add_column(heading)
    for document in documents:
        used = f"{document['uses']} of {document['maxUses']}"
        times = (document[name] or "" for name in ("createdAt", "expiresAt", "lastUsedAt"))
        table.add_row(document["linkId"], document["channel"], document["state"], used, *times)
    output.console.print(table)


def revoke_links(order_id: OrderId, stack: StackName = STACK_NAME) -> None:
    """Close all links of one order. The buyer sees that the link was replaced; `giftcards link` creates a new one."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        order = existing_order(deployed.orders, order_id)
        order_links = deployed.links.get_links(order.order_id, order.user_id)
        mail = deployed.mails.get(order.order_id, order.user_id)
        has_nothing = mail is None and not order_links.is_stored
        # Also where no link is open: a mail that is due would send one.
        is_revoked = has_nothing or deployed.links.replace(order_links, None, at=datetime.now(UTC))
    if not is_revoked:
        raise CommandError("the order's links have changed meanwhile; run the command again")
    output.say(f"revoked {len(order_links.open)} links of order {order_id}")


def links_of(deployed: Stack, order: Order) -> list[Link]:
    """Read the links of an order, the oldest first."""
    hashes = deployed.links.get_links(order.order_id, order.user_id).hashes
    return [link for link in map(deployed.links.get_link, hashes) if link is not None]


def link_document(link: Link, now: datetime) -> dict[str, Any]:
    """Return a link as ``--json`` prints it."""
    return {
        "linkId": link.link_id,
        "channel": link.channel,
        "createdAt": timestamp(link.created_at),
        "expiresAt": timestamp(link.expires_at),
        "uses": link.uses,
        "maxUses": link.max_uses,
        "lastUsedAt": None if link.last_used_at is None else timestamp(link.last_used_at),
        "state": link.state(now),
    }
