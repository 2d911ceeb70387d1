"""Make up a day of the service, from its own rules and a seed: from 18:00 to 18:00, with trouble in the afternoon.

At 14:00 the supplier begins to fail, at 14:25 it blocks our address and the gate closes, at 15:15 all is well again.
"""

import bisect
import math
import random
from collections import defaultdict
from collections.abc import Iterator

MINUTE, HOUR = 60, 3600
BEGINS, DAY = 18 * HOUR, 24 * HOUR
FAILS, BLOCKED, WELL = (hour * HOUR + minute * MINUTE - BEGINS + DAY for hour, minute in ((14, 0), (14, 25), (15, 15)))
SCHEDULE = ((120, 5), (300, 15), (3600, 60), (86400, 120))
CUSTOMERS = (9, 5, 3, 3, 4, 7, 14, 24, 34, 42, 46, 50, 54, 52, 48, 46, 50, 58, 64, 66, 60, 46, 30, 16)
"""Orders an hour, from midnight on."""
PENDING_FOR = (28, 0.8)
"""Seconds in which the supplier settles an order: the median, and how they spread."""
HELD = {  # at which order: why, and after how many minutes somebody has dealt with it
    210: ("OrderUnknown", 45),
    560: ("InvalidOrder", 30),
    733: ("SupplierContractBroken", 55),
    735: ("SupplierContractBroken", 52),
    738: ("UnexpectedError", 40),
    856: ("OrderUnknown", 60),
}
HELD_BY = {  # what the call came to
    "OrderUnknown": "OrderUnknown",
    "SupplierContractBroken": "ContractBroken",
    "InvalidOrder": "OrderRejected",
    "UnexpectedError": "Answered",
}
FUNCTIONS = {  # how long a call takes: milliseconds
    "CheckStatus": 60,
    "DeliverCards": 260,
    "RevealCards": 190,
    "SweepOrders": 340,
    "ReconcileOrders": 4200,
    "CountEvents": 9,
    "MeasureOrders": 45,
}
RINGING = ("orders-held", "executions-failed")
"""How the names of the alarms end that an order rings which was just held."""

Samples = dict[str, list[tuple[float, float]]]
"""By metric: when, in seconds since the day began, and how much."""


class Day:
    """Everything that was measured.

    A metric is called by its name and the values of its dimensions; those of the service itself by their name alone.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - sample data
        self.samples: Samples = defaultdict(list)
        self._running: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._orders()
        self._schedules()
        self._concurrency()

    def _measure(self, name: str, when: float, value: float = 1) -> None:
        if when < DAY:
            self.samples[name].append((when, value))

    def _about(self, median: float, spread: float = 0.25) -> float:
        return median * math.exp(self.random.gauss(0, spread))

    def _orders(self) -> None:
        waiting: list[tuple[float, float]] = []
        held: list[tuple[float, float]] = []
        for number, placed in enumerate(self._arrivals()):
            claimed = placed + self._about(1.2)
            self._measure("OrderClaimed", claimed)
            self._measure("ExecutionsStarted FulfilOrderStateMachine", claimed)
            self._write("CardTable", claimed, 1)
            ends = self._hold(number, claimed) if number in HELD else self._follow(placed, claimed)
            if number in HELD:
                held.append((ends, ends + HELD[number][1] * MINUTE))
            waiting.append((claimed, ends))
            if self.random.random() < 0.012:
                self._call("CountEvents", claimed + 30)
                self._measure("OrderRepeated", claimed + 30)
        for minute in range(0, DAY, MINUTE):
            ages = [minute - since for since, until in waiting if since <= minute < until]
            self._measure("OrdersWaiting", minute, len(ages))
            self._measure("OldestOrderWaiting", minute, round(max(ages, default=0)))
            self._measure("OrdersHeld", minute, sum(since <= minute < until for since, until in held))
            self._measure("GateClosedSeconds", minute, MINUTE if BLOCKED <= minute < WELL else 0)

    def _arrivals(self) -> Iterator[float]:
        now = 0.0
        while (now := now + self.random.expovariate(CUSTOMERS[int((now + BEGINS) / HOUR) % 24] / HOUR)) < DAY:
            yield now

    def _hold(self, number: int, claimed: float) -> float:
        reason, now = HELD[number][0], claimed + self._about(40)
        self._call("CheckStatus", now, self._ask(HELD_BY[reason], now))
        for name in ("OrderHeld", f"OrderHeld{reason}", "ExecutionsFailed FulfilOrderStateMachine"):
            self._measure(name, now)
        self._write("CardTable", now, 1)
        self._call("CountEvents", now)
        return now

    def _follow(self, placed: float, claimed: float) -> float:
        """Ask about an order until it is delivered, and say when that was."""
        slow = self.random.random() < 0.02
        settled = claimed + (self._about(900, 0.5) if slow else self._about(*PENDING_FOR))
        if FAILS <= settled < WELL and self.random.random() < 0.6:  # the others settle unseen
            settled = WELL + self._about(60)
        now, seen, delayed = claimed, 0.0, False
        while True:
            age = now - claimed
            now += next(interval for until, interval in SCHEDULE if age < until) + self._about(1, 0.2)
            if settled <= now:
                seen = seen or now
            if age > 600 and not delayed:
                delayed = True
                self._call("CountEvents", now)
                self._measure("OrderDelayed", now)
            if not self._check(now):
                now += 30
            elif settled <= now:
                break
        self._measure("DetectionLag", now, now - seen)
        self._deliver(now)
        self._measure("TimeToDelivery", now, now - placed)
        self._measure("ExecutionTime FulfilOrderStateMachine", now, (now - claimed) * 1000)
        self._measure("ExecutionsSucceeded FulfilOrderStateMachine", now)
        return now

    def _check(self, now: float) -> bool:
        """Ask once and say whether there was an answer."""
        if BLOCKED <= now < WELL:  # the gate is closed: one call in a while finds that it still is
            took = self._ask("AddressBlocked", now) if self.random.random() < 0.004 else 0
            self._call("CheckStatus", now, took)
            return False
        busy = FAILS <= now < BLOCKED and self.random.random() < 0.85
        result = "Busy" if busy or self.random.random() < 0.003 else "Answered"
        if result == "Busy" and BLOCKED - 3 * MINUTE < now < BLOCKED and self.random.random() < 0.5:
            result = "RateLimited"
        self._call("CheckStatus", now, self._ask(result, now))
        return result == "Answered"

    def _ask(self, result: str, now: float) -> float:
        took = self._about(2600, 0.9) if FAILS <= now < BLOCKED else self._about(170, 0.35)
        self._measure(f"Supplier{result}", now)
        self._measure("SupplierLatency", now, min(took, 10_000))
        return min(took, 10_000)

    def _deliver(self, now: float) -> None:
        self._call("DeliverCards", now, self._ask("Answered", now))
        chance = self.random.random()
        kind = "OrderRefunded" if chance < 0.02 else "OrderPartiallyDelivered" if chance < 0.05 else "OrderDelivered"
        cards = 0 if kind == "OrderRefunded" else self.random.choice((1, 1, 1, 2, 2, 3, 5))
        self._measure(kind, now)
        self._measure("CardsDelivered", now, cards)
        self._write("CardTable", now, 2 * cards + 3)
        self._read("CardTable", now)
        if cards and self.random.random() < 0.9:
            later = now + self._about(90, 1)
            refused = self.random.random() < 0.01
            self._call("RevealCards", later)
            self._measure("RevealRefused" if refused else "CardsRevealed", later)
            self._write("AuditTable", later, 1, indexes=False)

    def _schedules(self) -> None:
        for hour in range(0, DAY, HOUR):
            unseen = BLOCKED <= hour + 600 < WELL
            self._call("ReconcileOrders", hour + 600)
            self._read("DifferenceTable", hour + 600, 0)
            self._write("DifferenceTable", hour + 600, 0, indexes=False)
            self._read("CardTable orders-by-user", hour + 600, self.random.randrange(4))
            self._read("AuditTable", hour + 600, 0)
            self._measure("ReconciliationIncomplete", hour + 600, int(unseen))
            self._measure("OrdersReconciled", hour + 600, 0 if unseen else self._about(900, 0.1))
        self._measure("OrderOverdue", WELL + 17 * MINUTE, 2)
        self._measure("OrderUnclaimed", 4 * HOUR, 1)
        self._measure("OrderSwept", WELL + 4 * MINUTE, 1)
        for minute in range(0, DAY, MINUTE):
            self._call("MeasureOrders", minute)
            self._read("CardTable open-orders", minute, 0.5)
            if minute % (15 * MINUTE) == 0:
                self._call("SweepOrders", minute)
                self._read("CardTable open-orders", minute, 0.5)
            for queue in ("OrderPlacedDeadLetterQueue.QueueName", "FunctionsDeadLetterQueue.QueueName"):
                failed = queue.startswith("Functions") and FAILS + 10 * MINUTE <= minute < WELL + 40 * MINUTE
                self._measure(f"ApproximateNumberOfMessagesVisible {queue}", minute, int(failed))
            for ended in ("Failed", "Aborted", "TimedOut"):
                self._measure(f"Executions{ended} FulfilOrderStateMachine", minute, 0)

    def _call(self, function: str, now: float, more_milliseconds: float = 0) -> None:
        took = self._about(FUNCTIONS[function]) + more_milliseconds
        fails = FAILS <= now < BLOCKED and function == "ReconcileOrders"
        for name, value in (("Duration", took), ("Invocations", 1), ("Errors", int(fails)), ("Throttles", 0)):
            self._measure(f"{name} {function}Function", now, value)
        self._running[function].append((now, now + took / 1000))
        if function in ("CheckStatus", "DeliverCards", "MeasureOrders"):
            self._read("GateTable", now)
        if function in ("CheckStatus", "DeliverCards"):
            self._write("GateTable", now, 2, indexes=False)

    def _concurrency(self) -> None:
        for function, calls in self._running.items():
            calls.sort()
            for start, _ in calls:
                near = calls[bisect.bisect_left(calls, (start - 15, 0)) : bisect.bisect_right(calls, (start, DAY))]
                running = sum(end > start for _, end in near)
                self._measure(f"ConcurrentExecutions {function}Function", start, running)

    def _write(self, table: str, now: float, units: float, *, indexes: bool = True) -> None:
        self._measure(f"ConsumedWriteCapacityUnits {table}", now, units)
        for index in ("orders-by-user", "open-orders") if indexes else ():
            self._measure(f"ConsumedWriteCapacityUnits {table} {index}", now, 1)

    def _read(self, table: str, now: float, units: float = 1) -> None:
        self._measure(f"ConsumedReadCapacityUnits {table}", now, units)
