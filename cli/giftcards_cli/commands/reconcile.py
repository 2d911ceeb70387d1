"""``giftcards reconcile``: run the reconciliation of the supplier's orders with ours now."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from giftcards.use_cases.reconcile_orders import (
    EmptyWindowError,
    FoundDiscrepancy,
    ReconcileRequest,
    ReconciliationReport,
)
from giftcards_cli import output
from giftcards_cli.arguments import AsJson, StackName
from giftcards_cli.stack import CommandError, Stack, aws_errors
from giftcards_local import STACK_NAME

MAX_RUN_SECONDS = 320
"""The function's timeout of 300 s, and the time that Lambda takes to start it."""
_DAYS = ["%Y-%m-%d"]


def reconcile(
    first_day: Annotated[
        datetime | None,
        typer.Option("--from", formats=_DAYS, metavar="DATE", help="First day, UTC. Default: yesterday."),
    ] = None,
    last_day: Annotated[
        datetime | None, typer.Option("--to", formats=_DAYS, metavar="DATE", help="Last day, UTC. Default: today.")
    ] = None,
    stack: StackName = STACK_NAME,
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """Compare the supplier's orders with ours, and publish an event for each new discrepancy."""
    request = _request(first_day, last_day)
    with aws_errors(stack):
        payload = request.model_dump(mode="json", by_alias=True, exclude_none=True)
        answer = Stack.connect(stack).invoke("ReconcileOrders", payload, within_seconds=MAX_RUN_SECONDS)
    report = ReconciliationReport.model_validate(answer)
    if as_json:
        output.print_json(answer)
    else:
        _show(report)
    if not report.is_complete:
        raise CommandError(f"reconciliation incomplete ({report.outcome}): {report.message}")


def _request(first_day: datetime | None, last_day: datetime | None) -> ReconcileRequest:
    try:
        request = ReconcileRequest(first_day=first_day and first_day.date(), last_day=last_day and last_day.date())
        request.window(datetime.now(UTC))
    except ValidationError:
        raise CommandError("--from and --to must be days of this century", exit_code=2) from None
    except EmptyWindowError as error:
        raise CommandError(f"no orders to compare: {error}", exit_code=2) from None
    return request


def _show(report: ReconciliationReport) -> None:
    if report.differences:
        output.console.print(discrepancies_table(report.differences))
        if report.differences_found > len(report.differences):
            output.console.print(f"[dim]{report.differences_found - len(report.differences)} more[/]")
    span = " to ".join(f"{at:%Y-%m-%d %H:%M}" for at in (report.placed_from, report.placed_to))
    new = sum(report.new_differences.values())
    output.console.print(
        f"orders placed {span} UTC: {report.orders} compared, {report.differences_found} discrepancies, {new} new",
        highlight=False,
        soft_wrap=True,
    )


def discrepancies_table(discrepancies: tuple[FoundDiscrepancy, ...]) -> Table:
    """Lay out discrepancies, one row each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("ORDER", "KIND", "OURS", "SUPPLIER'S", "SINCE", "PUBLISHED"):
        table.add_column(column, overflow="fold", no_wrap=column in {"KIND", "SINCE", "PUBLISHED"})
    for discrepancy in discrepancies:
        table.add_row(
            escape(discrepancy.order_id or "no id"),
            discrepancy.kind,
            escape(_counts_text(discrepancy.ours)),
            escape(_counts_text(discrepancy.theirs)),
            "-" if discrepancy.since is None else f"{discrepancy.since.astimezone(UTC):%m-%d %H:%M}",
            "[yellow]now[/]" if discrepancy.is_new else "before",
        )
    return table


def _counts_text(details: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in details.items()) or "-"
