"""Time warm calls of a release's CheckStatus, in a process that imports that release.

Arguments: the folder of the release's code, and the id of a pending order. Prints milliseconds as JSON.
"""

import importlib.util
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

CHECKS = 200
CONTEXT = SimpleNamespace(
    function_name="bench",
    memory_limit_in_mb=512,
    invoked_function_arn="arn",
    aws_request_id="bench",
    function_version="1",
    get_remaining_time_in_millis=lambda: 60_000,
)


def main() -> None:
    """Check the order again and again."""
    code, order_id = Path(sys.argv[1]), sys.argv[2]
    spec = importlib.util.spec_from_file_location("bench_check_status", code / "functions" / "check_status" / "app.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{code} has no functions/check_status/app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.logger.setLevel("CRITICAL")
    with redirect_stdout(io.StringIO()), without_the_supplier() as measure:  # the handler prints its metrics
        times = [measure(lambda: module.handler(request(order_id), CONTEXT)) for _ in range(CHECKS + 10)][10:]
    print(json.dumps({"median": statistics.median(times), "p95": statistics.quantiles(times, n=20)[-1]}))


def request(order_id: str) -> dict[str, Any]:
    """Return the request with which the workflow calls a function."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {
        "orderId": order_id, "userId": "bench", "execution": "bench", "claimedAt": now, "checks": 0, "failures": 0,
        "unansweredSince": now, "delayAnnounced": False,
    }  # fmt: skip


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


if __name__ == "__main__":
    main()
