"""What an order costs on AWS: its usage, computed from its row, at the list prices in prices.json.

The formula counts the direct path of an order from OrderPlaced to its outcome; a test compares it with a run of the
real workflow. Not included is what a row does not record: retries, repeated OrderPlaced events, nine state transitions
for each time that the order is held and resumed, deliveries that fail. Also not included: logs, traces, data transfer
and the scheduled functions.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from giftcards.rules.card_rows import grouped
from giftcards.rules.orders import Order

FUNCTION_GB = {"CheckStatus": 0.5, "DeliverCards": 1.0}
FUNCTION_SECONDS = 0.5
"""Duration of a function including the supplier's response: a generous estimate."""
CARD_BYTES = 80
"""Of a card in a ciphertext, with a code and a serial of some 20 characters."""
CARD_ROW_BYTES = 800
"""Of a card row without its cards: keys, attributes, and the header of the ciphertext."""
INDEXES = 2
"""Global secondary indexes; each holds a copy of the order row."""

_OPENING = 2  # ReadOrder, ClaimOrder
_CHECK = 3  # WaitBeforeCheck, CheckStatus, Route; as many for a delivery that waits and is repeated
_DELAY = 3  # PublishDelay, RecordDelay, Route
_CLOSING = 3  # DeliverCards, Route, OrderClosed


class Prices(BaseModel):
    """List prices in USD."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)

    as_of: str
    region: str
    per_million: Mapping[str, float]
    per_month: Mapping[str, float]

    def usd(self, usage: Mapping[str, float]) -> float:
        return sum(count * self.per_million[what] for what, count in usage.items()) / 1e6


@cache
def prices() -> Prices:
    return Prices.model_validate(json.loads(files("giftcards_cli").joinpath("prices.json").read_text(encoding="utf-8")))


def supplier_calls(order: Order) -> int:
    """Return the number of supplier calls for a closed order: its checks and one call for the delivery.

    An upper bound: a check makes no call while the supplier gate is blocked.
    """
    return (order.checks or 0) + 1


def usage(order: Order) -> dict[str, float]:
    """Return the billed usage of a closed order, by the names of the price list.

    Order rows are below 1 KB, so a write is one unit, two in a transaction, and one more per index. Card rows are
    billed as this release writes them, even if an earlier release wrote this order's. Each check is billed as if the
    shared list did not answer it. With many open orders the list answers most checks, which saves the two writes for a
    slot.
    """
    checks, cards = order.checks or 0, order.fulfilled_quantity or 0
    calls, delays = checks + 1, int(order.delayed_at is not None)
    claim = published = delay = 1 + INDEXES
    card_rows = sum(-(-(CARD_ROW_BYTES + len(row) * CARD_BYTES) // 1024) for row in grouped([CARD_BYTES] * cards))
    close = 2 * (card_rows + 1) + INDEXES
    return {
        "stepFunctionsStateTransitions": 1 + _OPENING + checks * _CHECK + delays * _DELAY + _CLOSING,  # 1 is the start
        "lambdaRequests": calls,
        "lambdaArmGbSeconds": (checks * FUNCTION_GB["CheckStatus"] + FUNCTION_GB["DeliverCards"]) * FUNCTION_SECONDS,
        "dynamodbWriteRequestUnits": claim
        + delays * delay
        + close
        + published
        + 2 * calls  # acquire and release a slot
        + 2 * checks,  # count the check for the shared list: the first of a tick fails a condition, then writes
        # The order row; for each check, the shared list: eventually consistent, half a unit.
        "dynamodbReadRequestUnits": 1 + checks / 2,
        "kmsRequests": int(cards > 0),
        "eventBridgeCustomEvents": 2 + delays,  # OrderPlaced and the outcome
    }
