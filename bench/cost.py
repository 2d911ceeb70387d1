"""Compute the AWS cost of an order, from an order that runs on a local cloud.

Run with `make cost`. Usage and prices are in giftcards_cli/costs.py. This script runs the order and compares the
billed state transitions with those of the execution.
"""

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from samtranslator.yaml_helper import yaml_parse

from giftcards.contracts.events import OrderPlaced
from giftcards.metrics import Metric
from giftcards.rules.orders import Order
from giftcards_cli import costs
from giftcards_cli.stack import Stack
from giftcards_local import PROJECT, STACK_NAME
from giftcards_local.cloud import LocalCloud
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY, SupplierServer

CARDS, PENDING_CHECKS = 2, 3


def main() -> None:
    """Run one order and print its bill."""
    order, transitions = run_one_order()
    prices, usage = costs.prices(), costs.usage(order)
    if usage["stepFunctionsStateTransitions"] != transitions:
        raise SystemExit(f"the workflow made {transitions} state transitions; billed are {usage}")
    table = Table(box=None, header_style="bold", title=f"{CARDS} cards, settled at the {order.checks}th check")
    for column in ("WHAT", "UNITS", "USD FOR A MILLION ORDERS"):
        table.add_column(column, justify="left" if column == "WHAT" else "right")
    for what, count in usage.items():
        table.add_row(what, f"{count:g}", f"{count * prices.per_million[what]:.2f}")
    table.add_row("[bold]one order[/]", "", f"[bold]{prices.usd(usage) * 1e6:.2f}[/]")
    standing = monthly_usage()
    monthly = sum(count * prices.per_month[what] for what, count in standing.items())
    console = Console(width=100)
    console.print(table)
    held = ", ".join(f"{count} {what}" for what, count in standing.items())
    console.print(f"Each month at most {monthly:.2f} USD: {held}.")
    console.print(f"List prices of {prices.region}, {prices.as_of}, without free tiers.")


def monthly_usage() -> dict[str, int]:
    """Count what AWS bills each month independently of orders."""
    template, included = (
        yaml_parse((PROJECT / name).read_text(encoding="utf-8")) for name in ("template.yaml", "wiring.yaml")
    )
    resources = [resource for resource in [*template["Resources"].values(), *included.values()] if "Type" in resource]
    keys = [resource["Properties"] for resource in resources if resource["Type"] == "AWS::KMS::Key"]
    alarms = [resource["Properties"] for resource in resources if resource["Type"] == "AWS::CloudWatch::Alarm"]
    return {
        "kmsKey": len(keys),
        "kmsKeyRotation": 2
        * sum(key.get("EnableKeyRotation", False) for key in keys),  # the first two of a key are billed
        "secret": sum(resource["Type"] == "AWS::SecretsManager::Secret" for resource in resources),
        "customMetric": len(Metric),  # at most: those with a value within the month
        "alarmMetric": sum(sum("MetricStat" in query for query in alarm.get("Metrics", [])) or 1 for alarm in alarms),
        "dashboard": sum(resource["Type"] == "AWS::CloudWatch::Dashboard" for resource in resources),
    }


def run_one_order() -> tuple[Order, int]:
    """Run one order to its end and count the state transitions."""
    with tempfile.TemporaryDirectory() as folder, SupplierServer() as supplier:
        cloud = LocalCloud(Path(folder))
        cloud.start()
        try:
            cloud.deploy({"SupplierBaseUrl": supplier.url, "PollSchedule": "600:1"})
            cloud.set_api_key(SANDBOX_API_KEY)
            stack = Stack(STACK_NAME, cloud.session, cloud.url)
            order_id = supplier.control.add_order(CARDS, fulfil_after=0)
            supplier.control.add_fault(order_id=order_id, merge={"status": "HANDLING"}, times=PENDING_CHECKS)
            stack.bus.publish(OrderPlaced(order_id=order_id, user_id="bench"), source="bench")

            def is_announced() -> bool:
                order = stack.orders.get(order_id)
                return order is not None and order.announced_at is not None

            if not wait_for(is_announced, within_seconds=60):
                raise SystemExit("the order did not end")
            order = stack.orders.get(order_id)
            if order is None:
                raise SystemExit("the order does not exist")
            history = cloud.client("stepfunctions").get_execution_history(
                executionArn=order.execution_arn, maxResults=1000
            )
            return order, 1 + sum("stateEnteredEventDetails" in event for event in history["events"])  # 1: the start
        finally:
            cloud.stop()


if __name__ == "__main__":
    main()
