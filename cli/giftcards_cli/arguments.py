"""Arguments and options that several commands share, and the check of what the user typed."""

from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from giftcards_cli.stack import CommandError

ORDER_ID = typer.Argument(metavar="ORDER_ID", help="The supplier's order id.")

OrderId = Annotated[str, ORDER_ID]
StackName = Annotated[str, typer.Option("--stack", help="The CloudFormation stack.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

_OPTIONS = {"orderId": "ORDER_ID", "userId": "--user", "order_id": "ORDER_ID", "user_id": "--user"}


def validated(model: type[BaseModel], **fields: Any) -> Any:
    """Build a model from arguments.

    Raises
    ------
    CommandError
        With exit code 2, naming the first invalid argument.
    """
    try:
        return model(**fields)
    except ValidationError as error:
        field = str(error.errors(include_input=False)[0]["loc"][0])
        limits = "at most 512 characters" if field == "reason" else "1 to 128 visible ASCII characters"
        raise CommandError(f"{_OPTIONS.get(field, f'--{field}')} must be {limits}", exit_code=2) from None
