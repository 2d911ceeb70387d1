"""Arguments and options that several commands share, and the check of what the user typed."""

from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from giftcards.contracts.base import invalid_fields
from giftcards.rules.languages import LANGUAGES
from giftcards_cli.stack import CommandError

ORDER_ID = typer.Argument(metavar="ORDER_ID", help="The supplier's order id.")

OrderId = Annotated[str, ORDER_ID]
StackName = Annotated[str, typer.Option("--stack", help="The CloudFormation stack.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

_OPTIONS = {"orderId": "ORDER_ID", "userId": "--user", "order_id": "ORDER_ID", "user_id": "--user"}
_LIMITS = {
    "reason": "at most 512 characters",
    "channel": "1 to 32 lower-case letters, digits or hyphens",
    "language": f"one of {', '.join(LANGUAGES)}",
    "label": "1 to 120 characters without control characters",
    "code": "4 to 12 digits",
    "uses": "1 to 100",
    "days": "1 to 365",
    "mail": "one address of at most 254 ASCII characters, without a display name",
}


def validated(model: type[BaseModel], **fields: Any) -> Any:
    """Build a model from arguments.

    Raises
    ------
    CommandError
        With exit code 2, naming one invalid argument.
    """
    try:
        return model(**fields)
    except ValidationError as error:
        field, *_ = invalid_fields(error)
        limits = _LIMITS.get(field, "1 to 128 visible ASCII characters")
        raise CommandError(f"{_OPTIONS.get(field, f'--{field}')} must be {limits}", exit_code=2) from None
