"""Measure time, size, and calls to DynamoDB and KMS of the handlers.

Run with `make bench`. Everything is real: the artifacts that `sam build` makes for AWS, DynamoDB, KMS, EventBridge and
Secrets Manager of a local cloud, HTTP to the supplier simulator. The supplier's own time is measured and taken off.
Exits 1 if any limit is passed.
"""

import importlib.util
import io
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from giftcards.contracts.events import OrderPlaced
from giftcards_cli.stack import Stack
from giftcards_local import PROJECT, STACK_NAME
from giftcards_local.cloud import LocalCloud
from giftcards_local.processes import wait_for
from giftcards_local.pythons import find_python
from giftcards_local.supplier import SANDBOX_API_KEY, SupplierServer

WRITES = {"PutItem", "UpdateItem", "DeleteItem"}
CHECKS, DELIVERIES, IMPORTS, CARDS = 200, 30, 15, 10
RUNTIMES = ("3.13", "3.14", "3.12")
"""Python versions of AWS Lambda; the first is the default."""
CONTEXT = SimpleNamespace(
    function_name="bench",
    memory_limit_in_mb=512,
    invoked_function_arn="arn",
    aws_request_id="bench",
    function_version="1",
)
BUILDERS = {
    "CheckStatusFunction": "status_check",
    "DeliverCardsFunction": "card_delivery",
    "RevealCardsFunction": "card_reveal",
}
ENVIRONMENT = {
    "STAGE_NAME": "bench",
    "RELEASE_NAME": "bench",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "SUPPLIER_BASE_URL": "http://127.0.0.1:9",
    "SUPPLIER_API_KEY_SECRET_ARN": "arn",
    "GATE_TABLE_NAME": "gate",
    "POLL_SCHEDULE": "120:5",
    "DELAYED_AFTER_SECONDS": "600",
    "CARD_TABLE_NAME": "cards",
    "AUDIT_TABLE_NAME": "audit",
    "CARD_KEY_ARN": "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000",
    "ORDER_BUS_NAME": "bus",
    "CARD_RETENTION_DAYS": "0",
}
RUNTIME_HAS = ("boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six.py", "jmespath")
LAYERS = {
    "CheckStatusFunction": ["CoreLayer"],
    "DeliverCardsFunction": ["EncryptionLayer", "CoreLayer"],
    "RevealCardsFunction": ["EncryptionLayer", "CoreLayer"],
}


def main() -> int:
    """Measure everything, print it, and return the exit code."""
    table = Table(box=None, header_style="bold")
    for column in ("WHAT", "MEASURED", "LIMIT", ""):
        table.add_column(column, justify="left" if column == "WHAT" else "right")
    missed = 0
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):  # where handlers write metrics
        found = list(measurements(Path(folder)))
    for what, measured, limit, unit in found:
        is_met = limit is None or measured <= limit
        missed += not is_met
        verdict = "" if limit is None else "[green]✔[/]" if is_met else "[red]✗[/]"
        table.add_row(what, f"{measured:.4g} {unit}", "" if limit is None else f"{limit:g} {unit}", verdict)
    Console(width=110).print(table)
    return 1 if missed else 0


def measurements(folder: Path) -> Iterator[tuple[str, float, float | None, str]]:
    """Yield name, value, limit and unit of each measurement."""
    cloud = LocalCloud(folder)
    with SupplierServer() as supplier:
        cloud.start()
        try:
            # The first check is due after an hour: the workflow claims the orders, and this script does the rest.
            cloud.deploy({"SupplierBaseUrl": supplier.url, "PollSchedule": "86400:3600"})
            cloud.set_api_key(SANDBOX_API_KEY)
            os.environ |= cloud.environment
            stack = Stack(STACK_NAME, cloud.session, cloud.url)
            build, python = production_build(folder / "production")
            yield from sizes(build)
            yield from cold_imports(build, python)
            yield from warm_check(cloud, supplier)
            yield from warm_delivery(cloud, stack, supplier)
        finally:
            cloud.stop()


def production_build(folder: Path) -> tuple[Path, str]:
    """Build for AWS, for this machine's processor and an installed Python; return the artifacts and that Python."""
    for version in RUNTIMES:
        if python := find_python(version):
            break
    else:
        raise SystemExit(f"make bench needs a Python version of AWS Lambda: install one of {', '.join(RUNTIMES)}")
    architecture = "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"
    bin_folder = Path(sys.executable).parent
    subprocess.run(
        [str(bin_folder / "sam"), "build", "--build-dir", str(folder), "--parameter-overrides",
         f"PythonRuntime=python{version}", f"Architecture={architecture}"],
        cwd=PROJECT, env=os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, check=True,
    )  # fmt: skip
    return folder, python


def cold_imports(build: Path, python: str) -> Iterator[tuple[str, float, float | None, str]]:
    """Import each handler as a cold start does, with compiled layers and with layers that are not compiled."""
    site_packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    runtime = build.with_name("runtime")  # separately: pydantic looks for plugins in every package on the path
    runtime.mkdir()
    for name in RUNTIME_HAS:
        (runtime / name).symlink_to(site_packages / name)
    subprocess.run([python, "-m", "compileall", "-q", *(runtime / name for name in RUNTIME_HAS)], check=True)
    yield from cold_imports_of(build, runtime, python, "cold import", limit=350)
    for compiled in list(build.rglob("__pycache__")):
        shutil.rmtree(compiled)
    yield from cold_imports_of(build, runtime, python, "cold import where layers are not compiled", limit=None)


def cold_imports_of(
    build: Path, runtime: Path, python: str, what: str, limit: float | None
) -> Iterator[tuple[str, float, float | None, str]]:
    """Import each handler in a fresh interpreter that has the built artifact, its layers and boto3."""
    for function, layers in LAYERS.items():
        path = [str(build / function), *(str(build / layer / "python") for layer in layers), str(runtime)]
        program = (
            f"import sys, time; sys.path[:0] = {path!r}; began = time.perf_counter(); import app; "
            "imported = time.perf_counter(); from giftcards import composition_root; "
            f"composition_root.{BUILDERS[function]}(); built = time.perf_counter(); "
            "print((imported - began) * 1000, (built - imported) * 1000)"
        )
        command = [python, "-I", "-S", "-B", "-c", program]  # -B: Lambda cannot write compiled files either
        environment = os.environ | ENVIRONMENT
        runs = [
            subprocess.run(command, env=environment, capture_output=True, check=True).stdout.split()
            for _ in range(IMPORTS + 1)
        ][1:]
        imports, builds = ([float(run[i]) for run in runs] for i in (0, 1))
        name = function.removesuffix("Function")
        its_limit = limit if function == "CheckStatusFunction" else None
        yield f"{name}: {what}, median of {IMPORTS}", statistics.median(imports), its_limit, "ms"
        if limit is not None:
            yield f"{name}: then, on the first call, boto3 and clients", statistics.median(builds), None, "ms"


def sizes(build: Path) -> Iterator[tuple[str, float, float | None, str]]:
    """Weigh the layers, unzipped."""
    for layer, limit in (("CoreLayer", 15), ("EncryptionLayer", None)):
        files = (file for file in (build / layer).rglob("*") if file.is_file())
        yield f"{layer}: unzipped", sum(file.stat().st_size for file in files) / 1e6, limit, "MB"


def warm_check(cloud: LocalCloud, supplier: SupplierServer) -> Iterator[tuple[str, float, float | None, str]]:
    """Check one order again and again."""
    handler = load("check_status", cloud, "CheckStatusFunction")
    order_id = supplier.control.add_order(1, fulfil_after=3600)
    with without_the_supplier() as measure:
        times = [measure(lambda: handler(request(order_id), CONTEXT)) for _ in range(CHECKS + 10)][10:]
    yield f"CheckStatus: warm, without the supplier, median of {CHECKS}", statistics.median(times), 10, "ms"
    yield "CheckStatus: warm, without the supplier, 95th percentile", statistics.quantiles(times, n=20)[-1], None, "ms"


def warm_delivery(
    cloud: LocalCloud, stack: Stack, supplier: SupplierServer
) -> Iterator[tuple[str, float, float | None, str]]:
    """Deliver orders of ten cards, and reveal one."""
    order_ids = [supplier.control.add_order(CARDS, fulfil_after=0) for _ in range(DELIVERIES + 2)]
    for order_id in order_ids:
        stack.bus.publish(OrderPlaced(order_id=order_id, user_id="bench"), source="bench")
    if not wait_for(lambda: all(stack.orders.get(order_id) for order_id in order_ids), within_seconds=60):
        raise SystemExit("the orders were not claimed")
    handler = load("deliver_cards", cloud, "DeliverCardsFunction")
    with without_the_supplier() as measure:
        times = [measure(lambda o=o: handler(request(o), CONTEXT)) for o in order_ids[:-1]][1:]  # type: ignore[misc]
    yield (
        f"DeliverCards: {CARDS} cards, warm, without the supplier, median of {DELIVERIES}",
        statistics.median(times),
        120,
        "ms",
    )

    with counted_calls() as calls:
        handler(request(order_ids[-1]), CONTEXT)
    yield f"DeliverCards: writes for {CARDS} cards", calls["writes"], 3, ""
    yield "DeliverCards: GenerateDataKey", calls["GenerateDataKey"], 1, ""
    reveal = load("reveal_cards", cloud, "RevealCardsFunction")
    with counted_calls() as calls:
        answer = reveal({"orderId": order_ids[-1], "userId": "bench"}, CONTEXT)
    if len(answer["cards"]) != CARDS:
        raise SystemExit("the cards were not revealed")
    yield f"RevealCards: Decrypt for {CARDS} cards", calls["Decrypt"], 1, ""


def request(order_id: str) -> dict[str, Any]:
    """Return the request with which the workflow calls a function."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {
        "orderId": order_id, "userId": "bench", "execution": "bench", "claimedAt": now, "checks": 0, "failures": 0,
        "unansweredSince": now, "delayAnnounced": False,
    }  # fmt: skip


def load(folder: str, cloud: LocalCloud, logical_id: str) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """Import a handler with the environment of its function on the local cloud. Its log is discarded."""
    name = cloud.client("cloudformation").describe_stack_resource(StackName=STACK_NAME, LogicalResourceId=logical_id)
    physical_id = name["StackResourceDetail"]["PhysicalResourceId"]
    configured = cloud.client("lambda").get_function_configuration(FunctionName=physical_id)
    os.environ |= configured["Environment"]["Variables"]
    spec = importlib.util.spec_from_file_location(f"bench_{folder}", PROJECT / "functions" / folder / "app.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"functions/{folder}/app.py does not exist")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.logger.setLevel("CRITICAL")
    handler: Callable[[dict[str, Any], Any], dict[str, Any]] = module.handler
    return handler


@contextmanager
def without_the_supplier() -> Iterator[Callable[[Callable[[], Any]], float]]:
    """Time calls in milliseconds, without the time spent waiting for the supplier."""
    spent = [0.0]
    send = httpx.AsyncHTTPTransport.handle_async_request

    async def timed(self: httpx.AsyncHTTPTransport, outgoing: httpx.Request) -> httpx.Response:
        began = time.perf_counter()
        try:
            return await send(self, outgoing)
        finally:
            spent[0] += time.perf_counter() - began

    def measure(call: Callable[[], Any]) -> float:
        spent[0], began = 0.0, time.perf_counter()
        call()
        return (time.perf_counter() - began - spent[0]) * 1000

    httpx.AsyncHTTPTransport.handle_async_request = timed  # type: ignore[method-assign, assignment]
    try:
        yield measure
    finally:
        httpx.AsyncHTTPTransport.handle_async_request = send  # type: ignore[method-assign]


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """Count calls to DynamoDB and KMS, and writes to DynamoDB except to the gate."""
    import botocore.client  # noqa: PLC0415 - only needed here

    client: Any = botocore.client.BaseClient
    calls: Counter[str] = Counter()
    call = client._make_api_call  # noqa: SLF001 - botocore has no event that fires for every call

    def counted(self: Any, operation: str, arguments: dict[str, Any]) -> Any:
        calls[operation] += 1
        if operation == "TransactWriteItems":
            calls["writes"] += len(arguments["TransactItems"])
        elif operation in WRITES and arguments["TableName"] != os.environ["GATE_TABLE_NAME"]:
            calls["writes"] += 1
        return call(self, operation, arguments)

    client._make_api_call = counted  # noqa: SLF001
    try:
        yield calls
    finally:
        client._make_api_call = call  # noqa: SLF001


if __name__ == "__main__":
    sys.exit(main())
