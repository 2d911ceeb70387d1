"""A deployment for tests of irregular answers, with good orders."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from giftcards.contracts.statuses import OrderStatus
from giftcards_local.supplier import cards_of, error_body
from support.service import Service, deployed

DEADLINE_SECONDS = 120
"""Longer than the minute of a doubt; a refused order is held at the deadline."""
PARAMETERS = {"PollSchedule": f"{DEADLINE_SECONDS}:4", "DelayedAfterSeconds": "600", "LogRetentionDays": "1"}
GOOD_ORDERS = 12
USER = "alice"


def refused(status: int, code: str, **more: Any) -> dict[str, Any]:
    """Return a fault in which the supplier refuses a call."""
    return {"status": status, "body": error_body(code, "m")} | more


@dataclass
class Running:
    """The deployment, and the irregular orders by the name of their irregularity."""

    service: Service
    orders: dict[str, str] = field(default_factory=dict)

    def place_good_orders(self) -> list[str]:
        """Buy and place orders without a fault."""
        placed = [self.service.order(2) for _ in range(GOOD_ORDERS)]
        for order_id in placed:
            self.service.publish({"orderId": order_id, "userId": USER})
        return placed

    def assert_delivered(self, orders: list[str]) -> None:
        for order_id in orders:
            assert self.service.until_published(order_id).status is OrderStatus.FULFILLED
        assert self.revealed(orders[0]) == cards_of(orders[0], 2)

    def revealed(self, order_id: str) -> list[dict[str, str | None]]:
        shown = self.service.giftcards("reveal", order_id, "--user", USER, "--json")
        assert shown.returncode == 0, shown.stderr
        return [{name: card[name] for name in ("value", "serial")} for card in json.loads(shown.stdout)["cards"]]

    def call_count(self, order_id: str) -> int:
        return sum(call.order_id == order_id for call in self.service.supplier.control.calls())

    def gate(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.service.giftcards("gate", "--json").stdout)
        return document

    def put_secret(self, value: str) -> None:
        self.service.cloud.client("secretsmanager").put_secret_value(
            SecretId=self.service.stack.outputs["SupplierApiKeySecretArn"], SecretString=value
        )


@contextmanager
def irregular_deployment(folder: Path) -> Iterator[Running]:
    with deployed(folder, PARAMETERS) as service:
        yield Running(service)
