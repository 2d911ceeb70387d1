"""``giftcards``: the commands, and how each ends: 0 done, 1 refused or failed with one line, 2 bad usage."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from typer.exceptions import TyperException

from giftcards.adapters.order_table import UnreadableOrder
from giftcards.contracts.events import OrderPlaced
from giftcards.rules.orders import Order, OrderStatus
from giftcards_cli import gate, local, output, reconciliation, restoration, stats, upkeep, watch
from giftcards_cli.arguments import AsJson, OrderId, StackName
from giftcards_cli.stack import CommandError, Stack, aws_errors, not_read
from giftcards_local.processes import LocalError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Gift-card fulfilment: place orders, see how they are, show cards to their user.",
)
app.add_typer(local.app, name="local")
app.command()(local.demo)
app.command()(upkeep.resume)
app.command()(upkeep.replay_dlq)
app.command()(reconciliation.reconcile)
app.command()(restoration.restore)
app.command()(watch.watch)
app.command()(stats.stats)
app.command(name="gate")(gate.gate)

_INTERRUPTED = 130  # Typer's answer to Ctrl-C


@app.command()
def place(
    order_id: OrderId,
    user: Annotated[str, typer.Option("--user", help="Whom the cards belong to.")],
    stack: StackName = "giftcards",
) -> None:
    """Announce an order that has been placed at the supplier (publishes OrderPlaced)."""
    event = _valid(OrderPlaced, order_id=order_id, user_id=user, placed_at=datetime.now(UTC))
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        known = deployed.orders.get(order_id)
        if known is not None and known.user_id != user:
            raise CommandError(f"order {order_id} belongs to another user; it stays with that user")
        deployed.bus.publish(event, source="giftcards.cli")
    output.console.print(
        f"announced; `giftcards show {order_id}` says how it is", highlight=False, markup=False, soft_wrap=True
    )


@app.command()
def orders(
    status: Annotated[OrderStatus | None, typer.Option("--status", help="Only orders of this status.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only orders of this user.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 100,
    stack: StackName = "giftcards",
    as_json: AsJson = False,  # noqa: FBT002 - a flag of the command line
) -> None:
    """List orders, newest first."""
    with aws_errors(stack):
        rows = list(Stack.connect(stack).orders.list(status=status, user_id=user))
    found = sorted((row for row in rows if isinstance(row, Order)), key=lambda order: order.claimed_at, reverse=True)
    unreadable = [row for row in rows if isinstance(row, UnreadableOrder)]
    shown = found[:limit]
    if as_json:
        output.print_json([output.order_document(order) for order in shown])
    elif shown:
        output.console.print(output.orders_table(shown))
        if len(found) > limit:
            output.console.print(f"[dim]{len(found) - limit} more; see --limit[/]")
    elif not unreadable:
        output.console.print("no orders")
    if unreadable:
        raise not_read(unreadable)


@app.command()
def show(order_id: OrderId, stack: StackName = "giftcards", as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show one order: state, counts, timeline. No cards."""
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        order = deployed.orders.get(order_id)
        if order is None:
            raise CommandError(f"no order {order_id!r} has been announced")
        block = deployed.block(datetime.now(UTC)) if order.status is OrderStatus.HANDLING else None
    waiting_for = None if block is None else output.gate_text(block)
    if as_json:
        document = output.order_document(order)
        output.print_json(document | {"waitingFor": waiting_for, "timeline": output.timeline(order)})
    else:
        output.show(order, waiting_for)


@app.command()
def reveal(
    order_id: OrderId,
    user: Annotated[str, typer.Option("--user", help="The user whom the cards belong to.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is written down.")] = "",
    stack: StackName = "giftcards",
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Decrypt the cards of one order, for its own user only. Who asked is written down."""
    from giftcards.use_cases.reveal_cards import RevealRequest  # noqa: PLC0415 - it brings the encryption SDK along

    _valid(RevealRequest, order_id=order_id, user_id=user, reason=reason)
    with aws_errors(stack):
        deployed = Stack.connect(stack)
        request = RevealRequest(order_id=order_id, user_id=user, reason=reason, requested_by=deployed.caller()[:256])
        answer = deployed.invoke("RevealCards", request.model_dump(by_alias=True))
    if answer["outcome"] != "REVEALED":
        raise CommandError(answer["message"])
    if as_json:
        output.print_json({"orderId": order_id, "userId": user, "cards": answer["cards"]})
        return
    output.print_cards(answer["cards"])


def _valid(model: type[BaseModel], **fields: Any) -> Any:
    try:
        return model(**fields)
    except ValidationError as error:
        wrong = str(error.errors(include_input=False)[0]["loc"][0])
        names = {"orderId": "ORDER_ID", "userId": "--user", "order_id": "ORDER_ID", "user_id": "--user"}
        limits = "at most 512 characters" if wrong == "reason" else "1 to 128 visible ASCII characters"
        raise CommandError(f"{names.get(wrong, f'--{wrong}')} must be {limits}", exit_code=2) from None


def main() -> None:
    """Run a command and end the process. Every error is one line on stderr; no traceback, which could quote a card."""
    output.prepare_streams()
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        output.flush()
        if code == _INTERRUPTED:
            code = _ended("stopped", 1)
    except (CommandError, LocalError) as error:
        code = _ended(str(error), getattr(error, "exit_code", 1))
    except TyperException as error:  # 2 for bad usage
        code = _ended(f"{error.format_message()} Try `giftcards --help`.", error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = _ended("stopped", 1)
    except BrokenPipeError:  # the reader has seen enough: `giftcards orders | head -1`
        code = 1
    except OSError as error:  # the text of its number; a file's name is the user's
        where = "" if error.filename is None else f" ({error.filename})"
        code = _ended(f"the operating system reports an error: {error.strerror or type(error).__name__}{where}", 1)
    except Exception as error:  # noqa: BLE001 - its text could hold anything
        code = _ended(f"unexpected {type(error).__name__}; please report it with the command you ran", 1)
    sys.exit(code or 0)


def _ended(message: str, code: int) -> int:
    output.complain(message)
    return code
