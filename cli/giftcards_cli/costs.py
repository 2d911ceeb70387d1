"""What an order costs on AWS: what it makes AWS do, from its row, times the list prices in prices.json.

Counted is the plain way of an order to its closing; a test runs it through the real workflow and compares. Left out are
what a row does not know (retries, repeated announcements, ten transitions for each time that it was held and taken up
again, deliveries that came to nothing, the pieces of an order of more than 99 cards), and logs, traces, data transfer
and the scheduled functions.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from giftcards.rules.orders import Order

FUNCTION_GB = {"CheckStatus": 0.5, "DeliverCards": 1.0}
FUNCTION_SECONDS = 0.5
"""How long a function runs, with the supplier's time, generously."""
INDEXES = 2
"""Each holds a copy of the order row."""

_OPENING = 3  # ReadOrder, ValidateOrder, ClaimOrder
_CHECK = 3  # WaitBeforeCheck, CheckStatus, RouteOrder
_DELAY = 2  # PublishDelay, RecordDelay
_CLOSING = 3  # DeliverCards, RouteDelivery, OrderClosed


class Prices(BaseModel):
    """List prices in USD of one region on one day."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)

    as_of: str
    region: str
    per_million: Mapping[str, float]
    per_month: Mapping[str, float]

    def usd(self, usage: Mapping[str, float]) -> float:
        """Price what AWS did."""
        return sum(count * self.per_million[what] for what, count in usage.items()) / 1e6


@cache
def prices() -> Prices:
    """Read the list prices."""
    return Prices.model_validate(json.loads(files("giftcards_cli").joinpath("prices.json").read_text(encoding="utf-8")))


def supplier_calls(order: Order) -> int:
    """Count the calls that a closed order made to the supplier: its checks, and the delivery's own.

    At most: a check that found the gate closed made none.
    """
    return (order.checks or 0) + 1


def usage(order: Order) -> dict[str, float]:
    """Say what AWS bills for a closed order, by the names of the price list.

    Rows are below 1 KB, so one write is one unit, twice that in a transaction, and one more for each index.
    """
    checks, cards = order.checks or 0, order.fulfilled_quantity or 0
    calls, delays = checks + 1, int(order.delayed_at is not None)
    claim = announced = delay = 1 + INDEXES
    close = 2 * (cards + 1) + INDEXES
    return {
        "stepFunctionsStateTransitions": 1 + _OPENING + checks * _CHECK + delays * _DELAY + _CLOSING,  # 1 is the start
        "lambdaRequests": calls,
        "lambdaArmGbSeconds": (checks * FUNCTION_GB["CheckStatus"] + FUNCTION_GB["DeliverCards"]) * FUNCTION_SECONDS,
        "dynamodbWriteRequestUnits": claim + delays * delay + close + announced + 2 * calls,  # 2: a place at the gate
        "dynamodbReadRequestUnits": calls + 1,  # the gate each time and the order row, consistently
        "kmsRequests": int(cards > 0),
        "eventBridgeCustomEvents": 2 + delays,  # OrderPlaced and the closing
    }
