"""Arguments and options that several commands have."""

from typing import Annotated

import typer

ORDER_ID = typer.Argument(metavar="ORDER_ID", help="The supplier's order id.")

OrderId = Annotated[str, ORDER_ID]
StackName = Annotated[str, typer.Option("--stack", help="The CloudFormation stack.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
