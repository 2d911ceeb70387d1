"""Measure what an order of many cards takes: to encrypt, to store and close, and to reveal.

Part of `make bench`. The adapters are those of DeliverCards and RevealCards; KMS and DynamoDB are a local cloud's. It
counts write units as DynamoDB does. Exits 1 if a goal is missed.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from samtranslator.yaml_helper import yaml_parse

from giftcards.adapters.card_cipher import CardCipher
from giftcards.adapters.order_table import OrderTable, order_key
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.supplier import SettledOrder
from giftcards.rules.orders import Order, close
from giftcards_local import PROJECT
from giftcards_local.cloud import LocalCloud
from giftcards_local.supplier import cards_of

COUNTS, RUNS = (1, 10, 100, 1_000, 5_000), 7
GOAL_CARDS, GOAL_MILLISECONDS, GOAL_UNITS = 5_000, 150, 1_000
TABLE = "cards"


@dataclass(frozen=True)
class Measured:
    """Medians for one number of cards, in milliseconds.

    Attributes
    ----------
    units
        Write units on the table of the transaction that closes the order, without its indexes.
    """

    cards: int
    rows: int
    encrypt: float
    store: float
    reveal: float
    units: float

    @property
    def meets_goals(self) -> bool:
        return self.cards != GOAL_CARDS or (self.encrypt + self.store <= GOAL_MILLISECONDS and self.units <= GOAL_UNITS)


def main() -> int:
    """Measure, print the table, and return the exit code."""
    table = Table(box=None, header_style="bold")
    for column in ("CARDS", "ROWS", "ENCRYPT", "STORE", "REVEAL", "WRITE UNITS", ""):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        found = list(measurements(LocalCloud(Path(folder))))
    for measured in found:
        verdict = "" if measured.cards != GOAL_CARDS else "[green]✔[/]" if measured.meets_goals else "[red]✗[/]"
        times = (f"{value:.1f} ms" for value in (measured.encrypt, measured.store, measured.reveal))
        table.add_row(f"{measured.cards:,}", str(measured.rows), *times, f"{measured.units:,.0f}", verdict)
    console = Console(width=110)
    console.print(table)
    console.print(
        f"Medians of {RUNS}. Goal for {GOAL_CARDS:,} cards: encrypted and stored in {GOAL_MILLISECONDS} ms, "
        f"with {GOAL_UNITS:,} write units."
    )
    return 0 if all(measured.meets_goals for measured in found) else 1


def measurements(cloud: LocalCloud) -> Iterator[Measured]:
    """Measure each number of cards on a cloud that runs meanwhile."""
    cloud.start()
    try:
        os.environ |= cloud.environment
        dynamodb = cloud.dynamodb()
        units: list[float] = []
        dynamodb.meta.events.register("provide-client-params.dynamodb.TransactWriteItems", _ask_for_units)
        dynamodb.meta.events.register(
            "after-call.dynamodb.TransactWriteItems",
            lambda parsed, **_: units.append(parsed["ConsumedCapacity"][0]["WriteCapacityUnits"]),
        )
        properties = yaml_parse((PROJECT / "template.yaml").read_text(encoding="utf-8"))["Resources"]["CardTable"]
        names = ("KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "BillingMode")
        dynamodb.create_table(TableName=TABLE, **{name: properties["Properties"][name] for name in names})
        cipher = CardCipher(cloud.client("kms").create_key()["KeyMetadata"]["Arn"])
        orders = OrderTable(TABLE, dynamodb)
        for count in COUNTS:
            runs = [_run(f"order-{count}-{number}", count, orders, cipher, dynamodb) for number in range(RUNS + 1)][1:]
            encrypt, store, reveal = (
                statistics.median(times) for times in zip(*(run[:3] for run in runs), strict=True)
            )
            yield Measured(count, runs[0][3], encrypt, store, reveal, units[-1])
    finally:
        cloud.stop()


def _run(
    order_id: str, count: int, orders: OrderTable, cipher: CardCipher, dynamodb: Any
) -> tuple[float, float, float, int]:
    """Deliver and reveal one order; return the milliseconds of each part, and the number of card rows."""
    now = datetime.now(UTC)
    row = {"orderId": order_id, "userId": "bench", "status": "HANDLING", "openStatus": "HANDLING"}
    dynamodb.put_item(TableName=TABLE, Item=order_key(order_id) | row | {"claimedAt": timestamp(now)})
    counts = {"quantity": count, "fulfilled_quantity": count, "fulfilled_amount": 490 * count, "price_per_card": 490}
    answer = {"_id": order_id, "status": "FULFILLED", "cards": cards_of(order_id, count)} | counts
    settled = SettledOrder.model_validate(answer)
    order = orders.get(order_id)
    if order is None:
        raise SystemExit("the order was not stored")
    closed = close(order, settled, now, checks=1)
    encrypt, ciphertexts = _timed(lambda: cipher.encrypt(closed, settled.cards))
    store, _ = _timed(lambda: orders.close(closed, ciphertexts))
    reveal, shown = _timed(lambda: _revealed(order_id, orders, cipher, now))
    if shown != count:
        raise SystemExit(f"{shown} of {count} cards were revealed")
    return encrypt, store, reveal, len(ciphertexts)


def _revealed(order_id: str, orders: OrderTable, cipher: CardCipher, now: datetime) -> int:
    order: Order | None = orders.get(order_id)
    if order is None or order.fulfilled_quantity is None:
        return 0
    indexes = range(1, order.fulfilled_quantity + 1)
    return len(cipher.decrypt(order, orders.get_ciphertexts(order, indexes, now=now)))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call()
    return (time.perf_counter() - began) * 1000, result


def _ask_for_units(params: dict[str, Any], **_: Any) -> dict[str, Any]:
    return params | {"ReturnConsumedCapacity": "TOTAL"}


if __name__ == "__main__":
    sys.exit(main())
