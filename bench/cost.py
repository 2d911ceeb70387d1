"""Compute what an order costs on AWS, from an order that ran on a local cloud and the list prices in prices.json.

Run with `make cost`. Counted from the run: state transitions and function calls. Derived from what the code writes:
DynamoDB units, in which a transaction and each index count extra. Logs, traces and data transfer are left out.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from giftcards.events import OrderPlaced
from giftcards_cli.stack import Stack
from giftcards_local.cloud import STACK, LocalCloud
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY, SupplierServer

CARDS, PENDING_CHECKS = 2, 3
FUNCTION_GB, FUNCTION_SECONDS = {"CheckStatus": 0.5, "DeliverCards": 1.0}, 0.5  # with the supplier's time, generously


def main() -> None:
    """Run one order and print its bill."""
    prices: dict[str, Any] = json.loads(Path(__file__).with_name("prices.json").read_text(encoding="utf-8"))
    ran = run_one_order()
    units = usage(ran)
    table = Table(box=None, header_style="bold", title=f"{CARDS} cards, settled at the {PENDING_CHECKS + 1}th check")
    for column in ("WHAT", "UNITS", "USD FOR A MILLION ORDERS"):
        table.add_column(column, justify="left" if column == "WHAT" else "right")
    total = 0.0
    for what, count in units.items():
        million = count * prices["perMillion"][what]
        total += million
        table.add_row(what, f"{count:g}", f"{million:.2f}")
    seconds = sum(ran[name] * gb * FUNCTION_SECONDS for name, gb in FUNCTION_GB.items())
    compute = seconds * prices["lambdaArmGbSecond"] * 1e6
    table.add_row("lambda GB-seconds (at most)", f"{seconds:g}", f"{compute:.2f}")
    table.add_row("[bold]one order[/]", "", f"[bold]{total + compute:.2f}[/]")
    monthly = 2 * prices["perMonth"]["kmsKey"] + prices["perMonth"]["secret"]
    console = Console(width=100)
    console.print(table)
    console.print(
        f"List prices of {prices['region']}, {prices['asOf']}. Two keys and one secret: {monthly:.2f} USD a month."
    )


def run_one_order() -> Counter[str]:
    """Run one order to its end and count how often the workflow entered each state."""
    with tempfile.TemporaryDirectory() as folder, SupplierServer() as supplier:
        cloud = LocalCloud(Path(folder))
        cloud.start()
        try:
            cloud.deploy({"SupplierBaseUrl": supplier.url, "PollSchedule": "600:1"})
            cloud.set_api_key(SANDBOX_API_KEY)
            stack = Stack(STACK, cloud.session, cloud.url)
            order_id = supplier.control.add_order(CARDS, fulfil_after=0)
            supplier.control.add_fault(order_id=order_id, merge={"status": "HANDLING"}, times=PENDING_CHECKS)
            stack.bus.publish(OrderPlaced(order_id=order_id, user_id="bench"), source="bench")

            def is_announced() -> bool:
                order = stack.orders.get(order_id)
                return order is not None and order.announced_at is not None

            if not wait_for(is_announced, within_seconds=60):
                raise SystemExit("the order did not end")
            order = stack.orders.get(order_id)
            history = cloud.client("stepfunctions").get_execution_history(
                executionArn=order.execution_arn if order else "", maxResults=1000
            )
            entered = (event.get("stateEnteredEventDetails") for event in history["events"])
            return Counter(details["name"] for details in entered if details)
        finally:
            cloud.stop()


def usage(entered: Counter[str]) -> dict[str, float]:
    """Turn states into what AWS bills. Items are below 1 KB, so one write is one unit, twice that in a transaction."""
    checks, deliveries, indexes = entered["CheckStatus"], entered["DeliverCards"], 2
    claim = 1 + indexes
    close = 2 * (CARDS + 1) + indexes
    announced = 1 + indexes
    calls = checks + deliveries
    return {
        "stepFunctionsStateTransitions": sum(entered.values()) + 1,  # and the start
        "lambdaRequests": calls,
        "dynamodbWriteRequestUnits": claim + close + announced + 2 * calls,  # a place at the gate, taken and given back
        "dynamodbReadRequestUnits": calls + 1,  # the gate and the order row, consistently
        "kmsRequests": 1,
        "eventBridgeCustomEvents": 2,  # OrderPlaced and CardsDelivered
    }


if __name__ == "__main__":
    main()
