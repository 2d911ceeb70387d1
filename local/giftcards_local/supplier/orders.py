"""Orders, the supplier's view of them at a given time, and their cards."""

import base64
import hashlib
import hmac
import math
import random
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from giftcards_local.supplier.wire import Seconds, WireModel, iso_time

FinalStatus = Literal["FULFILLED", "PARTIALLY_FILLED", "REFUNDED"]
OrderId = Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]
# The supplier publishes no limit; this one bounds the time and memory of a mistyped quantity.
Quantity = Annotated[int, Field(ge=1, le=10_000, strict=True)]

_SANDBOX_STATUSES: dict[str, FinalStatus] = {"TEST_REFUND": "REFUNDED", "TEST_PARTIAL": "PARTIALLY_FILLED"}


class Lognormal(WireModel):
    """Seconds to fulfilment, as the supplier describes them: mostly short, with a long tail.

    https://docs.oneclickdz.com/en/polling-strategies
    """

    distribution: Literal["lognormal"]
    median: Annotated[float, Field(gt=0)]
    sigma: Annotated[float, Field(ge=0, le=10)]
    seed: int = 0


class Uniform(WireModel):
    """Seconds to fulfilment, uniform between two bounds."""

    distribution: Literal["uniform"]
    low: Seconds
    high: Seconds
    seed: int = 0


FulfilAfter = Seconds | Annotated[Lognormal | Uniform, Field(discriminator="distribution")]


class Order(WireModel):
    """An order in the simulator; its cards are derived, never stored."""

    order_id: OrderId
    product_id: str
    type_id: str
    quantity: Quantity
    fulfilled_quantity: Annotated[int, Field(ge=0)]
    price_per_card: Annotated[float, Field(ge=0)]
    placed_at: datetime
    fulfil_after: Seconds

    @property
    def final_status(self) -> FinalStatus:
        """The final status, which the number of fulfilled cards determines.

        https://docs.oneclickdz.com/en/api-reference/gift-cards/check-order
        """
        if self.fulfilled_quantity == 0:
            return "REFUNDED"
        return "FULFILLED" if self.fulfilled_quantity == self.quantity else "PARTIALLY_FILLED"

    def is_final(self, now: datetime) -> bool:
        return (now - self.placed_at).total_seconds() >= self.fulfil_after


def seconds_to_fulfil(fulfil_after: FulfilAfter, order_id: str) -> float:
    """Return the seconds until an order is final.

    They depend only on the seed and the order id: a run is reproducible even if concurrent requests arrive in another
    order.
    """
    if isinstance(fulfil_after, float | int):
        return float(fulfil_after)
    rng = random.Random(f"{fulfil_after.seed}:{order_id}")  # noqa: S311 - repeatable timing, not a secret
    if isinstance(fulfil_after, Lognormal):
        return rng.lognormvariate(math.log(fulfil_after.median), fulfil_after.sigma)
    return rng.uniform(fulfil_after.low, fulfil_after.high)


def outcome(quantity: int, type_id: str, status: FinalStatus | None = None, fulfilled: int | None = None) -> int:
    """Return the number of cards that an order delivers.

    Parameters
    ----------
    type_id
        The sandbox's ``TEST_REFUND`` and ``TEST_PARTIAL`` determine the number if nothing else does.
    status, fulfilled
        The final status and number of cards; None: not specified.

    Raises
    ------
    ValueError
        If status, count and quantity contradict each other.
    """
    final_status = status or _SANDBOX_STATUSES.get(type_id, "FULFILLED")
    count = {"FULFILLED": quantity, "PARTIALLY_FILLED": quantity // 2, "REFUNDED": 0}[final_status]
    if fulfilled is not None:
        count = fulfilled
    if count > quantity:
        raise ValueError(f"fulfilledQuantity {count} is more than the quantity {quantity}")
    fits = {"FULFILLED": count == quantity, "PARTIALLY_FILLED": 0 < count < quantity, "REFUNDED": count == 0}
    if status is not None and not fits[status]:
        raise ValueError(f"an order of {quantity} with {count} delivered cannot end {status}")
    return count


def cards_of(order_id: str, count: int) -> list[dict[str, str]]:
    """Return the first ``count`` cards of an order.

    They are derived from order id and index: unique, recognisable by their prefix, and known to a test without being
    stored in the state file or a fixture.
    """
    cards = []
    for index in range(1, count + 1):
        digest = hmac.digest(b"supplier simulator", f"{order_id}#{index}".encode(), hashlib.sha256)
        code = base64.b32encode(digest[:20]).decode()
        groups = "-".join(code[at : at + 4] for at in range(0, 16, 4))
        # The serial contains letters too: digits alone occur by chance in any log.
        cards.append({"value": f"SANDBOX-CARD-{groups}", "serial": f"SANDBOX-{code[16:28]}"})
    return cards


def order_document(order: Order, now: datetime) -> dict[str, JsonValue]:
    """Return an order as ``checkOrder`` does at a given time; pending and final orders have different fields.

    https://docs.oneclickdz.com/en/api-reference/gift-cards/check-order
    """
    placed = iso_time(order.placed_at)
    if not order.is_final(now):
        return {
            "_id": order.order_id,
            "status": "HANDLING",
            "quantity": order.quantity,
            "product": order.product_id,
            "type": order.type_id,
            "time": placed,
        }
    return {
        "_id": order.order_id,
        "status": order.final_status,
        "quantity": order.quantity,
        "fulfilled_quantity": order.fulfilled_quantity,
        "fulfilled_amount": _number(order.price_per_card * order.fulfilled_quantity),
        "price_per_card": _number(order.price_per_card),
        "cards": [dict(card) for card in cards_of(order.order_id, order.fulfilled_quantity)],
        "time": placed,
    }


def _number(amount: float) -> float:
    # The supplier writes 980, not 980.0, and decimals only if there are any.
    rounded = round(amount, 2)
    return int(rounded) if rounded.is_integer() else rounded
