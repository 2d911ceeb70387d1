"""Measure time, size, and calls to DynamoDB and KMS of the handlers.

Run with `make bench`. Everything is real: the artifacts that `sam build` makes for AWS, DynamoDB, KMS, EventBridge and
Secrets Manager of a local cloud, HTTP to the supplier simulator. The supplier's own time is measured and subtracted.
Exits 1 if any limit is exceeded.
"""

import importlib.util
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from samtranslator.yaml_helper import yaml_parse

from giftcards.contracts.events import OrderPlaced
from giftcards_cli.stack import Stack
from giftcards_local import PROJECT, STACK_NAME
from giftcards_local.cloud import LocalCloud
from giftcards_local.processes import wait_for
from giftcards_local.pythons import find_python
from giftcards_local.supplier import SANDBOX_API_KEY, SupplierServer
from scaling.parameters import parameter_variables
from scaling.releases import release_before
from warm_check import CHECKS, CONTEXT, request, without_the_supplier

WRITES = {"PutItem", "UpdateItem", "DeleteItem"}
DELIVERIES, IMPORTS, CARDS, VIEWS, ROUNDS = 30, 7, 10, 30, 3
ALONE = "4000:4"
"""A schedule with intervals below a tick of the shared list, which then answers no check."""
RUNTIMES = ("3.13", "3.14", "3.12")
"""Python versions of AWS Lambda; the first is the default."""
BUILDERS = {
    "CheckStatusFunction": "composition_root.status_check",
    "DeliverCardsFunction": "composition_root.card_delivery",
    "RevealCardsFunction": "composition_root.card_reveal",
    "RedeemLinkFunction": "buyer_root.link_redemption",
    "ServePageFunction": "buyer_root.link_page",
}
"""What each function builds on its first call."""
ENVIRONMENT = parameter_variables(yaml_parse((PROJECT / "template.yaml").read_text(encoding="utf-8"))) | {
    "STAGE_NAME": "bench",
    "RELEASE_NAME": "bench",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "SUPPLIER_BASE_URL": "http://127.0.0.1:9",
    "SUPPLIER_API_KEY_SECRET_ARN": "arn",
    "GATE_TABLE_NAME": "gate",
    "CARD_TABLE_NAME": "cards",
    "AUDIT_TABLE_NAME": "audit",
    "CARD_KEY_ARN": "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000",
    "ORDER_BUS_NAME": "bus",
    "LINK_TABLE_NAME": "links",
    "LINK_KEY_ARN": "arn",
    "REDEEM_LINK_FUNCTION_ARN": "arn",
    "SHOP_NAME": "Bench",
    "SHOP_CONTACT": "shop@mail.example",
    "PAGE_LANGUAGE": "en",
}
RUNTIME_HAS = ("boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six.py", "jmespath")
LAYERS = {
    "CheckStatusFunction": ["CoreLayer"],
    "DeliverCardsFunction": ["EncryptionLayer", "CoreLayer"],
    "RevealCardsFunction": ["EncryptionLayer", "CoreLayer"],
    "RedeemLinkFunction": ["EncryptionLayer", "CoreLayer"],
    "ServePageFunction": ["PageLayer", "CoreLayer"],
}
IMPORT_LIMITS = {"CheckStatusFunction": 210, "ServePageFunction": 150, "RedeemLinkFunction": 600}
Measurement = tuple[str, float, float | None, str]
"""Name, value, limit (None for none) and unit."""


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


def measurements(folder: Path) -> Iterator[Measurement]:
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
            yield from warm_check(cloud, supplier, folder / "before")
            yield from warm_delivery(cloud, stack, supplier)
            yield from page(stack, supplier)
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


def cold_imports(build: Path, python: str) -> Iterator[Measurement]:
    """Import each handler as a cold start does, with compiled layers and with layers that are not compiled."""
    site_packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    runtime = build.with_name("runtime")  # separately: pydantic looks for plugins in every package on the path
    runtime.mkdir()
    for name in RUNTIME_HAS:
        (runtime / name).symlink_to(site_packages / name)
    subprocess.run([python, "-m", "compileall", "-q", *(runtime / name for name in RUNTIME_HAS)], check=True)
    yield from cold_imports_of(build, runtime, python, "cold import", is_compiled=True)
    for compiled in list(build.rglob("__pycache__")):
        shutil.rmtree(compiled)
    yield from cold_imports_of(build, runtime, python, "cold import, layers not compiled", is_compiled=False)


def cold_imports_of(build: Path, runtime: Path, python: str, what: str, *, is_compiled: bool) -> Iterator[Measurement]:
    """Import each handler in a fresh interpreter that has the built artifact, its layers and boto3.

    Only the processor's time counts, and the least of several runs, so that a busy machine measures the same.
    """
    for function, layers in LAYERS.items():
        if not is_compiled and function != "CheckStatusFunction":
            continue
        path = [str(build / function), *(str(build / layer / "python") for layer in layers), str(runtime)]
        program = (
            f"import sys, time; sys.path[:0] = {path!r}; began = time.process_time(); import app; "
            f"imported = time.process_time(); from giftcards import {BUILDERS[function].partition('.')[0]}; "
            f"{BUILDERS[function]}(); built = time.process_time(); "
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
        limit = IMPORT_LIMITS.get(function) if is_compiled else None
        yield f"{name}: {what}, least of {IMPORTS}", min(imports), limit, "ms"
        if is_compiled:
            yield f"{name}: then, on the first call, boto3 and clients", min(builds), None, "ms"


def sizes(build: Path) -> Iterator[Measurement]:
    """Weigh the layers, unzipped."""
    for layer, limit in (("CoreLayer", 15), ("EncryptionLayer", None)):
        files = (file for file in (build / layer).rglob("*") if file.is_file())
        yield f"{layer}: unzipped", sum(file.stat().st_size for file in files) / 1e6, limit, "MB"


def warm_check(cloud: LocalCloud, supplier: SupplierServer, before: Path) -> Iterator[Measurement]:
    """Check one order again and again, alone and from the shared list; alone with the release before too, in turns."""
    order_id = supplier.control.add_order(1, fulfil_after=3600)
    set_variables(cloud, "CheckStatusFunction")
    runs = {"alone": (PROJECT, ALONE), "from the shared list": (PROJECT, os.environ["POLL_SCHEDULE"])}
    if release_before(before):
        runs["before"] = (before, ALONE)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, (code, schedule) in runs.items():
            paths = os.pathsep.join(map(str, (code / "layers" / "core", PROJECT / "bench")))
            command = [sys.executable, "-m", "warm_check", str(code), order_id]
            environment = os.environ | {"PYTHONPATH": paths, "POLL_SCHEDULE": schedule}
            finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found[name].append(json.loads(finished.stdout.splitlines()[-1]))
    medians = {name: min(run["median"] for run in measured) for name, measured in found.items()}
    p95 = min(run["p95"] for run in found["alone"])
    yield f"CheckStatus: warm, alone, without the supplier, median of {CHECKS}", medians["alone"], 10, "ms"
    yield "CheckStatus: the same, 95th percentile", p95, None, "ms"
    yield "CheckStatus: warm, from the shared list", medians["from the shared list"], None, "ms"
    if "before" in medians:
        yield "CheckStatus: alone, ratio to the release before", medians["alone"] / medians["before"], 0.8, ""


def warm_delivery(cloud: LocalCloud, stack: Stack, supplier: SupplierServer) -> Iterator[Measurement]:
    """Deliver orders of ten cards, and reveal one."""
    order_ids = placed(stack, supplier, [CARDS] * (DELIVERIES + 2))
    handler = load("deliver_cards", cloud, "DeliverCardsFunction")
    with without_the_supplier() as measure:
        times = [measure(lambda o=o: handler(request(o), CONTEXT)) for o in order_ids[:-1]][1:]  # type: ignore[misc]
    yield (
        f"DeliverCards: {CARDS} cards, warm, without the supplier, median of {DELIVERIES}",
        statistics.median(times),
        120,
        "ms",
    )

    reveal = load("reveal_cards", cloud, "RevealCardsFunction")
    with counted_calls() as calls:
        handler(request(order_ids[-1]), CONTEXT)
    yield f"DeliverCards: writes for {CARDS} cards", calls["writes"], 3, ""
    yield "DeliverCards: GenerateDataKey", calls["GenerateDataKey"], 1, ""
    with counted_calls() as calls:
        answer = reveal({"orderId": order_ids[-1], "userId": "bench"}, CONTEXT)
    if len(answer["cards"]) != CARDS:
        raise SystemExit("the cards were not revealed")
    yield f"RevealCards: Decrypt for {CARDS} cards", calls["Decrypt"], 1, ""


def page(stack: Stack, supplier: SupplierServer) -> Iterator[Measurement]:
    """Open the page of ten cards over HTTP, with warm functions, and press its button."""
    (order_id,) = placed(stack, supplier, [CARDS])
    detail = {"orderId": order_id, "userId": "bench", "channel": "bench", "uses": 100}
    stack.invoke("DeliverCards", request(order_id))
    url = stack.invoke("CreateLink", detail)["url"]
    for method, limit in (("GET", 150), ("POST", 200)):
        times, size = [], 0
        for _ in range(VIEWS + 3):
            began = time.perf_counter()
            answer = httpx.request(method, url)
            times.append((time.perf_counter() - began) * 1000)
            size = len(answer.content)
            if answer.status_code != httpx.codes.OK:
                raise SystemExit(f"the page answered {answer.status_code}")
        yield f"Page: {method}, {CARDS} cards, warm, median of {VIEWS}", statistics.median(times[3:]), limit, "ms"
    yield f"Page: size with {CARDS} cards", size / 1000, 20, "KB"


def placed(stack: Stack, supplier: SupplierServer, sizes: Sequence[int]) -> list[str]:
    """Place orders of these numbers of cards, which are settled, and wait until they are claimed."""
    order_ids = [supplier.control.add_order(cards, fulfil_after=0) for cards in sizes]
    for order_id in order_ids:
        stack.bus.publish(OrderPlaced(order_id=order_id, user_id="bench"), source="bench")
    if not wait_for(lambda: all(stack.orders.get(order_id) for order_id in order_ids), within_seconds=60):
        raise SystemExit("the orders were not claimed")
    return order_ids


def load(folder: str, cloud: LocalCloud, logical_id: str) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """Import a handler with the environment of its function on the local cloud. Its log is discarded."""
    set_variables(cloud, logical_id)
    spec = importlib.util.spec_from_file_location(f"bench_{folder}", PROJECT / "functions" / folder / "app.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"functions/{folder}/app.py does not exist")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.logger.setLevel("CRITICAL")
    handler: Callable[[dict[str, Any], Any], dict[str, Any]] = module.handler
    return handler


def set_variables(cloud: LocalCloud, logical_id: str) -> None:
    """Set the environment of a function on the local cloud."""
    name = cloud.client("cloudformation").describe_stack_resource(StackName=STACK_NAME, LogicalResourceId=logical_id)
    physical_id = name["StackResourceDetail"]["PhysicalResourceId"]
    configured = cloud.client("lambda").get_function_configuration(FunctionName=physical_id)
    os.environ |= configured["Environment"]["Variables"]


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
