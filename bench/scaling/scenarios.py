"""What happens to a release: orders that arrive, a supplier that is slow or fails; and what is measured of it."""

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import time_machine

from scaling.clock import START, VirtualTime
from scaling.loop import Loop
from scaling.service import Service
from scaling.supplier import FIRST_KEY, SECOND_KEY, Outage, SimulatedOrder, Supplier, settlement_seconds

OUTAGE_FROM, OUTAGE_SECONDS = 60.0, 300.0
Variant = Literal["before", "now", "loop"]


@dataclass(frozen=True)
class Scenario:
    """What happens.

    Attributes
    ----------
    name
        Names it in the results.
    latency
        Seconds of the supplier's answer.
    per_hour, minutes
        Rate and duration of Poisson arrivals.
    burst
        Orders that arrive evenly within ``burst_seconds`` instead.
    settles
        When orders settle: as documented, when they are placed, or during the outage.
    """

    name: str
    latency: float = 0.3
    per_hour: float = 0.0
    minutes: float = 0.0
    burst: int = 0
    burst_seconds: float = 0.0
    settles: Literal["documented", "at once", "in outage"] = "documented"
    pending_answers: int = 0
    outage: Outage | None = None
    failing_share: float = 0.0
    concurrency: int = 1000
    seed: int = 1

    def arrivals(self, chance: random.Random) -> list[float]:
        """Return the seconds at which orders arrive."""
        if self.burst:
            return [self.burst_seconds * number / self.burst for number in range(self.burst)]
        arrivals, now, end = [], 0.0, self.minutes * 60
        while (now := now + chance.expovariate(self.per_hour / 3600)) < end:
            arrivals.append(now)
        return arrivals

    def orders(self) -> list[SimulatedOrder]:
        """Return the orders, in the sequence in which they arrive."""
        chance = random.Random(self.seed)
        arrivals = self.arrivals(chance)
        match self.settles:
            case "documented":
                settles = [at + s for at, s in zip(arrivals, settlement_seconds(len(arrivals), chance), strict=True)]
            case "at once":
                settles = list(arrivals)
            case "in outage":
                settles = [OUTAGE_FROM + chance.random() * OUTAGE_SECONDS for _ in arrivals]
        return [
            SimulatedOrder(f"{self.seed:08x}{number:016x}", at, settled, self.pending_answers)
            for number, (at, settled) in enumerate(zip(arrivals, settles, strict=True))
        ]


def run(scenario: Scenario, variant: Variant, code: Path, per_million: Mapping[str, float]) -> dict[str, Any]:
    """Run a scenario, and return what was measured, ready for JSON.

    Parameters
    ----------
    per_million
        USD for a million units of what AWS bills.
    """
    with time_machine.travel(START, tick=False) as traveller:
        clock = VirtualTime(traveller)
        supplier = Supplier(
            clock,
            scenario.latency,
            random.Random(scenario.seed + 1),
            failing_share=scenario.failing_share,
            outage=scenario.outage,
            outage_from=OUTAGE_FROM,
            outage_to=OUTAGE_FROM + OUTAGE_SECONDS,
        )
        orders = scenario.orders()
        if variant == "loop":
            _run(clock, orders, Loop(clock, supplier, FIRST_KEY).place)
            return {"scenario": asdict(scenario)} | _measured(scenario, orders, supplier)
        service = Service(code, clock, supplier, scenario.seed + 2, scenario.concurrency)
        replaced = supplier.outage_to if scenario.outage == "refused key" else math.inf
        service.key = lambda: SECOND_KEY if clock.seconds >= replaced else FIRST_KEY
        with service.installed():
            _run(clock, orders, service.place)
        measured = _measured(scenario, orders, supplier) | _measured_of(service, orders, per_million)
        return {"scenario": asdict(scenario)} | measured


def _run(clock: VirtualTime, orders: Sequence[SimulatedOrder], place: Callable[[SimulatedOrder], None]) -> None:
    for order in orders:
        clock.after(order.placed_at, partial(place, order))
    clock.run()


def _measured(scenario: Scenario, orders: list[SimulatedOrder], supplier: Supplier) -> dict[str, Any]:
    """Measure what every variant has. Times are seconds after an order was settled; None if there are none."""
    delivered = [order for order in orders if order.delivered_at is not None]
    waits = [(order.delivered_at or 0.0) - order.settles_at for order in delivered]
    lags = [order.detected_at - order.settles_at for order in orders if order.detected_at is not None]
    calls = Counter(call.kind for call in supplier.calls)
    return {
        "orders": len(orders),
        "delivered": len(delivered),
        "ended": Counter(order.ended for order in orders),
        "calls": {kind: count / len(orders) for kind, count in calls.items()},
        "callsAnOrder": len(supplier.calls) / len(orders),
        "mostCallsAtOnce": supplier.most_at_once,
        "lagP95": quantile(lags, 0.95),
        "lagMean": sum(lags) / len(lags) if lags else None,
        "deliveryP95": quantile(waits, 0.95),
        "deliveryP99": quantile(waits, 0.99),
        "deliveryMax": max(waits, default=None),
        "overtaking": overtaking(delivered),
        "placedToDeliveredP95": quantile([(o.delivered_at or 0.0) - o.placed_at for o in delivered], 0.95),
        **(_after_outage(supplier, orders) if scenario.outage else {}),
        **({"servedPerHour": _served(scenario, delivered)} if scenario.per_hour else {}),
    }


def _measured_of(service: Service, orders: list[SimulatedOrder], per_million: Mapping[str, float]) -> dict[str, Any]:
    """Measure what a release has in addition. Numbers are per order where nothing else is said."""
    count, tables = len(orders), service.cloud.tables
    functions = {name: invocations.count for name, invocations in service.invocations.items()}
    usage = {
        "stepFunctionsStateTransitions": sum(order.transitions for order in orders),
        "lambdaRequests": sum(functions.values()),
        "lambdaArmGbSeconds": sum(ran.seconds * service.memory_gb[name] for name, ran in service.invocations.items()),
        "dynamodbWriteRequestUnits": tables.write_units + 2 * 3 * count,  # 2 indexes: at claim, close and publication
        "dynamodbReadRequestUnits": tables.read_units,
        "kmsRequests": count,
        "eventBridgeCustomEvents": 2 * count,
    }
    queued = sum(ran.results["GATE_CLOSED"] for ran in service.invocations.values())
    return {
        "transitions": usage["stepFunctionsStateTransitions"] / count,
        "usdPerMillion": sum(used * per_million[what] for what, used in usage.items()) / count,
        "checks": functions["CheckStatus"] / count,
        "deliveries": functions["DeliverCards"] / count,
        "queued": queued / count,
        "functionSeconds": sum(ran.seconds for ran in service.invocations.values()) / count,
        "mostFunctionsAtOnce": service.most_running,
        "throttled": service.throttled,
        "gateReads": tables.reads["GATE"] / count,
        "gateWrites": tables.writes["GATE"] / count,
        "held": sum(order.ended == "OrderHeld" for order in orders),
    }


def _after_outage(supplier: Supplier, orders: list[SimulatedOrder]) -> dict[str, Any]:
    """Measure the recovery: from the first good answer after the outage, for orders that settled meanwhile."""
    good = [call.ended for call in supplier.calls if call.is_good and call.began >= supplier.outage_to]
    first = min(good, default=math.inf)
    waits = [
        (order.delivered_at or math.inf) - first
        for order in orders
        if order.settles_at >= supplier.outage_from and (order.delivered_at or math.inf) >= first
    ]
    during = [call for call in supplier.calls if supplier.outage_from <= call.began < supplier.outage_to]
    presented = sum(call.key == FIRST_KEY for call in supplier.calls if call.began >= supplier.outage_from)
    return {
        "recoveryP95": quantile(waits, 0.95),
        "recoveryMax": max(waits, default=None),
        "recoveryOrders": len(waits),
        "firstGoodAnswer": first - supplier.outage_to,
        "callsDuringOutage": len(during),
        **({"refusedKeyPresented": presented} if supplier.outage == "refused key" else {}),
    }


def _served(scenario: Scenario, delivered: list[SimulatedOrder]) -> float:
    """Return how many orders an hour are delivered in the second half of the arrivals."""
    end = scenario.minutes * 60
    return sum(end / 2 <= (order.delivered_at or 0.0) < end for order in delivered) / (end / 2) * 3600


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value that this share of all values does not exceed; None if there are none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else None


def overtaking(orders: list[SimulatedOrder]) -> float:
    """Return the share of pairs of orders that were not delivered in the sequence in which they settled."""
    ranks = [order.delivered_at or 0.0 for order in sorted(orders, key=lambda order: order.settles_at)]
    pairs = len(ranks) * (len(ranks) - 1) / 2
    return _inversions(ranks)[0] / pairs if pairs else 0.0


def _inversions(values: list[float]) -> tuple[int, list[float]]:
    if len(values) < 2:
        return 0, values
    middle = len(values) // 2
    (left_count, left), (right_count, right) = _inversions(values[:middle]), _inversions(values[middle:])
    merged, count, at = [], left_count + right_count, 0
    for value in right:
        while at < len(left) and left[at] <= value:
            merged.append(left[at])
            at += 1
        count += len(left) - at
        merged.append(value)
    return count, merged + left[at:]
