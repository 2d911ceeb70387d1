"""``giftcards link``."""

from typing import Annotated

import typer

from giftcards.rules.languages import LANGUAGES
from giftcards_cli import output
from giftcards_cli.arguments import AsJson, OrderId, StackName, validated
from giftcards_cli.stack import CommandError, Stack, aws_errors
from giftcards_local import STACK_NAME


def link(  # noqa: PLR0913, PLR0917 - the options of one command
    order_id: OrderId,
    user: Annotated[str, typer.Option("--user", help="The user the cards belong to.")],
    channel: Annotated[str, typer.Option("--channel", help="Names the link; each channel has its own link.")] = "shop",
    language: Annotated[
        str | None, typer.Option("--language", help=f"Language of the page: {', '.join(LANGUAGES)}.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="What the page calls the order.")] = None,
    code: Annotated[
        str | None, typer.Option("--code", help="Access code of 4 to 12 digits; give it to the buyer yourself.")
    ] = None,
    uses: Annotated[int | None, typer.Option("--uses", help="How often the link shows the cards, 1 to 100.")] = None,
    days: Annotated[int | None, typer.Option("--days", help="Days until the link expires, 1 to 365.")] = None,
    replace: Annotated[  # noqa: FBT002
        bool, typer.Option("--replace", help="Close all earlier links of the order and create a new one.")
    ] = False,
    mail: Annotated[
        str | None, typer.Option("--mail", help="Email address to send the link to; it is not stored.")
    ] = None,
    stack: StackName = STACK_NAME,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Print the link that shows the cards of one order to its buyer. The same call returns the same link."""
    from giftcards.contracts.links import LinkRequest  # noqa: PLC0415 - only this command needs it

    request = {
        "order_id": order_id,
        "user_id": user,
        "channel": channel,
        "language": language,
        "label": label,
        "code": code,
        "uses": uses,
        "days": days,
        "replace": replace,
        "mail": mail,
    }
    validated(LinkRequest, **request)
    payload = {"orderId": order_id, "userId": user, **{k: v for k, v in request.items() if not k.endswith("_id")}}
    with aws_errors(stack):
        answer = Stack.connect(stack).invoke("CreateLink", payload)
    if "url" not in answer:
        raise CommandError(answer["message"])
    if as_json:
        output.print_json(answer)
        return
    output.say(answer["url"])
    uses_text = f"{answer['uses']} uses, expires {answer['expiresAt']}"
    output.console.print(f"[dim]link {answer['linkId']}, {uses_text}[/]", highlight=False)
