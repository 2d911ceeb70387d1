"""``giftcards local``: the service on this machine.

``giftcards_local.service`` is imported when it is used: it makes up a third of the start time of other commands.
"""
# ruff: noqa: PLC0415

import codecs
import json
import re
import shlex
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from giftcards_cli import output
from giftcards_cli.signals import end_on_signals
from giftcards_cli.stack import CommandError
from giftcards_local import DEFAULT_FULFIL_AFTER_SECONDS, PROJECT, STACK_NAME

if TYPE_CHECKING:
    from giftcards_local.service import LocalService

FOLDER = PROJECT / ".giftcards"

app = typer.Typer(help="Run the service on this machine, on a local cloud.")


@app.command()
def up(
    supplier_url: Annotated[
        str | None, typer.Option(help="Base URL of a real supplier, instead of the simulator.")
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="File that contains the API key of that supplier.")] = None,
    fulfil_after: Annotated[
        float, typer.Option(min=0, help="Seconds after which the simulator fulfils an order.")
    ] = DEFAULT_FULFIL_AFTER_SECONDS,
    webhook_url: Annotated[
        str | None, typer.Option(help="URL of a program of yours that gets every event, as your shop would.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete all earlier orders and state first.")] = False,  # noqa: FBT002
) -> None:
    """Start the local cloud, build and deploy the service, and print how to use it."""
    end_on_signals()
    for option, url in (("--supplier-url", supplier_url), ("--webhook-url", webhook_url)):
        if url is not None and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
            raise CommandError(f"{option} must be an http or https URL", exit_code=2)
    if (supplier_url is None) != (api_key_file is None):
        raise CommandError(
            "--supplier-url and --api-key-file require each other; the simulator has its own key", exit_code=2
        )
    api_key = None if api_key_file is None else _read_api_key(api_key_file)
    service = _service(say=lambda what: output.console.print(f"[dim]{what} …[/]"))
    if fresh:
        service.wipe()
    service.up(supplier_url=supplier_url, api_key=api_key, fulfil_after_seconds=fulfil_after, webhook_url=webhook_url)
    _print_how_to_use(service, real_supplier=supplier_url is not None)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,  # noqa: FBT002
) -> None:
    """Show what is running on this machine."""
    service = _service()
    cloud, supplier = service.state.cloud, service.state.supplier
    document = {
        "running": service.is_running,
        "cloudUrl": cloud.url if cloud and service.is_running else None,
        "supplierUrl": service.state.supplier_url or None,
        "simulatorRunning": supplier is not None and supplier.is_running,
        "folder": str(service.folder),
    }
    if as_json:
        output.print_json(document)
    elif document["running"]:
        output.console.print(f"local cloud  {document['cloudUrl']}", highlight=False)
        output.console.print(f"supplier     {document['supplierUrl']}", highlight=False)
        usage = f"use it with  source {_short(service.environment_file)}"
        output.console.print(usage, markup=False, highlight=False, soft_wrap=True)
    else:
        output.console.print("not running; start it with `giftcards local up`")


@app.command()
def down() -> None:
    """Stop what `up` started. Orders and state are kept for the next `up`."""
    was_running = _service().down()
    output.console.print(
        "stopped; `giftcards local up` continues with the same orders" if was_running else "it was not running"
    )


@app.command()
def mail(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,  # noqa: FBT002
) -> None:
    """Show the emails that the local cloud has sent, newest last. No email leaves this machine."""
    service = _service()
    if not service.is_running:
        raise CommandError("the local cloud is not running; start it with `giftcards local up`")
    mails = service.cloud.sent_mails()
    if as_json:
        output.print_json(mails)
        return
    if not mails:
        output.console.print("no email yet: publish RecipientSet for a delivered order")
    for sent in mails:
        output.say(f"to       {sent['to']}\nsubject  {sent['subject']}\n")
        output.say(f"{sent['text'].strip()}\n")


@app.command()
def webhooks(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")] = 8787,
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print each event as one line of JSON and nothing else.")
    ] = False,
) -> None:
    """Listen for the webhook and print what arrives, until Ctrl-C."""
    from giftcards_local.webhooks import KEY_HEADER, Listener

    end_on_signals()

    def show(headers: Mapping[str, str], body: str) -> int:
        event = json.loads(body)
        if as_json:
            output.say(json.dumps(event))
        else:
            key = "with a key" if headers.get(KEY_HEADER) else "WITHOUT A KEY"
            output.say(f"{event['time']}  {event['detail-type']:<24} {event['detail'].get('orderId', '')}  {key}")
        output.flush()
        return 204

    try:
        listener = Listener(port, show)
    except OSError as error:
        raise CommandError(f"cannot listen on 127.0.0.1:{port}: {error.strerror}") from None
    if not as_json:
        output.console.print(f"listening at {listener.url}", highlight=False)
        output.console.print(f"post to it with: giftcards local up --webhook-url {listener.url}", highlight=False)
    listener.run()


@app.command(hidden=True)
def relay(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")],
    to: Annotated[str, typer.Option(help="URL of the program that gets the events.")],
    cloud_url: Annotated[str, typer.Option(help="URL of the local cloud.")],
) -> None:
    """Retry the webhook, as EventBridge does; `giftcards local up` starts it."""
    from giftcards_cli.stack import Stack
    from giftcards_local.environment import local_session
    from giftcards_local.webhooks import Relay, WebhookCloud

    end_on_signals()
    session = local_session()
    stack = Stack(STACK_NAME, session, cloud_url)
    cloud = WebhookCloud(lambda service: session.client(service, endpoint_url=cloud_url), stack.outputs)  # type: ignore[call-overload]
    with Relay(to, cloud, port=port):
        threading.Event().wait()


@app.command()
def supplier(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")] = 0,
    fulfil_after: Annotated[
        float, typer.Option(min=0, help="Seconds after which an order is fulfilled.")
    ] = DEFAULT_FULFIL_AFTER_SECONDS,
    api_key: Annotated[
        list[str] | None, typer.Option(help="API key to accept, repeatable. Default: the sandbox key.")
    ] = None,
    state_file: Annotated[Path | None, typer.Option(help="File that keeps orders across restarts.")] = None,
) -> None:
    """Run only the supplier simulator, until Ctrl-C."""
    from giftcards_local.supplier import UnreadableStateError, serve

    keys = {} if api_key is None else {"api_keys": api_key}
    try:
        serve(port, fulfil_after=fulfil_after, state_file=state_file, on_ready=_print_how_to_order, **keys)
    except UnreadableStateError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"cannot listen on 127.0.0.1:{port}: {error.strerror}") from None


def _service(say: Callable[[str], None] = lambda _: None) -> "LocalService":
    from giftcards_local.service import LocalService

    return LocalService(FOLDER, say)


def _print_how_to_use(service: "LocalService", *, real_supplier: bool) -> None:
    say = output.console.print
    say(
        f"\n[bold green]The service is up[/] at {service.cloud.url}",
        highlight=False,
    )
    say("\nIn each shell that uses it:", highlight=False)
    programs = shlex.quote(str(PROJECT / ".venv" / "bin"))
    for command in (f"source {_short(service.environment_file)}", f'export PATH={programs}:"$PATH"'):
        say(f"  {command}", markup=False, highlight=False, soft_wrap=True)
    if real_supplier:
        say("\nPublish an order that you placed at the supplier:", highlight=False)
    else:
        _print_how_to_order(service.state.supplier_url)
        say("\nPublish the order that you placed (its orderId is in the response):", highlight=False)
    for command in ("place ORDER_ID --user alice", "orders", "show ORDER_ID", "reveal ORDER_ID --user alice"):
        say(f"  giftcards {command}", highlight=False)
    say("\nA shop without AWS calls the HTTP API; docs/shops.md shows how:", highlight=False)
    say(
        '  curl -s "$SHOP_API_URL/v1/orders/ORDER_ID" -H "Authorization: Bearer $SHOP_API_KEY"',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    say("\n[dim]giftcards local down[/] stops the service and keeps its orders.", highlight=False)


def _print_how_to_order(url: str) -> None:
    from giftcards_local.supplier import SANDBOX_API_KEY

    say = output.console.print
    body = escape("""'{"productId": "507f1f77bcf86cd799439011", "typeId": "type_001", "quantity": 2}'""")
    say(f"\nThe supplier simulator listens at {url}. Place an order there:", highlight=False)
    say(
        f"  curl -s {url}/v3/gift-cards/placeOrder -H 'X-Access-Token: {SANDBOX_API_KEY}' "
        f"-H 'Content-Type: application/json' -d {body}",
        highlight=False,
        soft_wrap=True,
    )


def _read_api_key(file: Path) -> str:
    try:
        key = _decoded(file.read_bytes()).strip()
    except OSError as error:
        raise CommandError(
            f"the API key file {file} cannot be read ({error.strerror}): check its path and permissions", exit_code=2
        ) from None
    except UnicodeDecodeError:
        raise CommandError(
            f"the API key file {file} is not text in UTF-8 or UTF-16: save it as UTF-8", exit_code=2
        ) from None
    if not key:
        raise CommandError(f"the API key file {file} is empty: write the key into it", exit_code=2)
    if not re.fullmatch("[!-~]+", key):
        raise CommandError(
            f"the API key file {file} must contain one line of visible ASCII characters: the key", exit_code=2
        )
    return key


def _decoded(content: bytes) -> str:
    """Decode a text file in UTF-8, or with a byte order mark, as Windows writes it, in UTF-8 or UTF-16."""
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf_16 else "utf-8-sig")


def _short(path: Path) -> str:
    """Return a path quoted for a shell, relative to the current folder if it is inside."""
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
