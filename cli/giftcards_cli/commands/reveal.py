"""``giftcards reveal``."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from giftcards_cli import output
from giftcards_cli.arguments import AsJson, OrderId, StackName, validated
from giftcards_cli.stack import CommandError, Stack, aws_errors
from giftcards_local import STACK_NAME


def reveal(
    order_id: OrderId,
    user: Annotated[str, typer.Option("--user", help="The user the cards belong to.")],
    reason: Annotated[str, typer.Option("--reason", help="Why you need the cards; recorded in the audit log.")] = "",
    stack: StackName = STACK_NAME,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Decrypt the cards of one order, for the user they belong to. Your AWS identity is recorded in the audit log."""
    from giftcards.use_cases.reveal_cards import RevealRequest  # noqa: PLC0415 - imports the encryption SDK: slow

    validated(RevealRequest, order_id=order_id, user_id=user, reason=reason)
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        request = RevealRequest(order_id=order_id, user_id=user, reason=reason, requested_by=deployed.caller()[:256])
        cards = list(_revealed(deployed, request.model_dump(by_alias=True)))
    if as_json:
        output.print_json({"orderId": order_id, "userId": user, "cards": cards})
        return
    output.print_cards(cards)


def _revealed(deployed: Stack, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Ask for all cards of an order: an answer of the function has as many as fit."""
    next_index: int | None = 1
    while next_index is not None:
        answer = deployed.invoke("RevealCards", request | {"fromIndex": next_index})
        if answer["outcome"] != "REVEALED":
            raise CommandError(answer["message"])
        yield from answer["cards"]
        next_index = answer.get("nextIndex")
