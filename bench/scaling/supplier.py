"""The supplier in virtual time: orders that settle, answer times, outages, and every call that it received.

Settlement times follow the documentation: most orders settle in 3 to 45 seconds, a few need hours
(https://docs.oneclickdz.com/en/polling-strategies).
"""

import json
import math
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import httpx

from scaling.clock import START, VirtualTime

BASE_URL = "http://supplier.test"
FIRST_KEY, SECOND_KEY = "key-one", "key-two"
CARDS = 2
_TAIL_SHARE = 0.008
_TAIL_SECONDS = (45.0, 4 * 3600.0)
_USUAL_SECONDS, _USUAL_SHARE = (3.0, 45.0), 0.85
"""Of the orders without the tail, this share settles in between."""

Outage = Literal["no answer", "5xx", "429", "refused key"]


def settlement_seconds(count: int, chance: random.Random) -> list[float]:
    """Draw settlement times: one from each of as many equally likely classes, so that small runs are comparable."""
    drawn = [_quantile((number + chance.random()) / count) for number in range(count)]
    chance.shuffle(drawn)
    return drawn


def _quantile(share: float) -> float:
    """Return the time within which this share of all orders settles: log-normal with a log-uniform tail."""
    if share >= 1 - _TAIL_SHARE:
        least, most = _TAIL_SECONDS
        return float(least * (most / least) ** ((share - 1 + _TAIL_SHARE) / _TAIL_SHARE))
    least, most = (math.log(seconds) for seconds in _USUAL_SECONDS)
    sigma = (most - least) / (2 * NormalDist().inv_cdf((1 + _USUAL_SHARE) / 2))
    return math.exp(NormalDist((least + most) / 2, sigma).inv_cdf(share / (1 - _TAIL_SHARE)))


@dataclass
class SimulatedOrder:
    """An order at the supplier, and how the service handled it. Times are seconds of the simulation.

    Attributes
    ----------
    pending_answers
        How often the supplier still says that it is pending, whatever the time.
    detected_at
        End of the first call of the service that returned the order as settled.
    ended
        How its execution ended, by the last state's name; None while it runs.
    """

    order_id: str
    placed_at: float
    settles_at: float
    pending_answers: int = 0
    detected_at: float | None = None
    delivered_at: float | None = None
    ended: str | None = None
    transitions: int = 0

    def document(self, now: float) -> dict[str, Any]:
        """Return the order as the supplier shows it."""
        fields = {
            "_id": self.order_id,
            "quantity": CARDS,
            "product": "507f1f77bcf86cd799439011",
            "type": "type_001",
            "time": moment(self.placed_at),
        }
        if now < self.settles_at:
            return fields | {"status": "HANDLING"}
        cards = [{"value": f"{self.order_id}-{number}", "serial": f"{number:09d}"} for number in range(CARDS)]
        amounts = {"fulfilled_quantity": CARDS, "fulfilled_amount": 490 * CARDS, "price_per_card": 490}
        return fields | {"status": "FULFILLED", "cards": cards} | amounts


def moment(seconds: float) -> str:
    """Format a time of the simulation as AWS and the supplier do."""
    at = START + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Answer:
    """What the supplier sends."""

    status: int
    document: Mapping[str, Any] | str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.status == 200

    @property
    def is_settled(self) -> bool:
        """Whether this is an order that is settled."""
        document = self.document
        return self.is_good and not isinstance(document, str) and document["data"]["status"] != "HANDLING"

    @property
    def body(self) -> bytes:
        document = self.document
        return (document if isinstance(document, str) else json.dumps(document)).encode()


@dataclass(frozen=True)
class Received:
    """A call that the supplier received.

    Attributes
    ----------
    kind
        The function that made it; ``list`` for a call of the list.
    """

    began: float
    ended: float
    kind: str
    key: str
    is_good: bool


@dataclass
class Open:
    """A call that the supplier has not answered yet."""

    answer: Answer | None = None


@dataclass
class Supplier:
    """The supplier.

    Attributes
    ----------
    latency
        Seconds of an answer. The answer is the state of half of this time.
    failing_share
        Share of calls that fail, with a mix of kinds.
    outage
        Kind of failure of all calls from ``outage_from`` to ``outage_to``. A refused key is refused for ever; from
        ``outage_to`` on, the supplier accepts the second key.
    """

    clock: VirtualTime
    latency: float
    chance: random.Random
    failing_share: float = 0.0
    outage: Outage | None = None
    outage_from: float = 0.0
    outage_to: float = 0.0
    orders: dict[str, SimulatedOrder] = field(default_factory=dict)
    calls: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    _placed: list[SimulatedOrder] = field(default_factory=list)

    def add(self, order: SimulatedOrder) -> None:
        """Accept an order that is placed now."""
        self.orders[order.order_id] = order
        self._placed.append(order)

    @contextmanager
    def received(self, key: str, kind: str) -> Iterator["Open"]:
        """Count a call while it lasts."""
        began, call = self.clock.seconds, Open()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield call
        finally:
            self.at_once -= 1
            is_good = call.answer is not None and call.answer.is_good
            self.calls.append(Received(began, self.clock.seconds, kind, key, is_good))

    def call(self, target: str, key: str, kind: str, read_timeout: float) -> Answer:
        """Receive a call of a function and answer it.

        Raises
        ------
        httpx.TransportError
            If there is no answer.
        """
        with self.received(key, kind) as call:
            failure = self.failure(key)
            if isinstance(failure, httpx.TransportError):
                self.clock.sleep(read_timeout if isinstance(failure, httpx.ReadTimeout) else self.latency)
                raise failure
            self.clock.sleep(self.latency / 2)
            call.answer = failure or self.answer(target)
            self.clock.sleep(self.latency / 2)
            return call.answer

    def failure(self, key: str) -> Answer | httpx.TransportError | None:
        """Return how a call that arrives now fails, or None."""
        now = self.clock.seconds
        if self.outage == "refused key":
            accepted = FIRST_KEY if now < self.outage_from else SECOND_KEY if now >= self.outage_to else None
            return None if key == accepted else _error(401, "INVALID_ACCESS_TOKEN")
        if self.outage is not None and self.outage_from <= now < self.outage_to:
            failures: dict[Outage, Answer | httpx.TransportError] = {
                "no answer": httpx.ReadTimeout("no answer"),
                "5xx": _error(503, "SERVICE_UNAVAILABLE"),
                "429": _error(429, "RATE_LIMIT_EXCEEDED", retry_after=30),
            }
            return failures[self.outage]
        if self.chance.random() < self.failing_share:
            return self.chance.choice(
                (
                    _error(500, "INTERNAL_ERROR"),
                    _error(503, "SERVICE_UNAVAILABLE"),
                    _error(429, "RATE_LIMIT_EXCEEDED", retry_after=1),
                    Answer(502, "<html>Bad Gateway</html>"),
                    httpx.RemoteProtocolError("closed"),
                    httpx.ReadTimeout("no answer"),
                )
            )
        return None

    def answer(self, target: str) -> Answer:
        """Answer a good call."""
        url, now = urlsplit(target), self.clock.seconds
        if url.path == "/v3/gift-cards/list":
            return self._page(parse_qs(url.query), now)
        order = self.orders.get(unquote(url.path.rpartition("/")[2]))
        if order is None:
            return _error(404, "NOT_FOUND")
        if order.pending_answers:
            order.pending_answers -= 1
            now = -math.inf
        return Answer(
            200, {"success": True, "data": order.document(now), "meta": {"timestamp": moment(self.clock.seconds)}}
        )

    def _page(self, query: Mapping[str, Sequence[str]], now: float) -> Answer:
        page, size = int(query["page"][0]), int(query["pageSize"][0])
        placed_from, placed_to = (
            (datetime.fromisoformat(query[name][0]) - START).total_seconds() if name in query else default
            for name, default in (("from", -math.inf), ("to", math.inf))
        )
        first = bisect_left(self._placed, placed_from, key=_placed_at)
        last = bisect_right(self._placed, placed_to, key=_placed_at) - (page - 1) * size
        total = last + (page - 1) * size - first
        numbers = {"page": page, "pageSize": size, "totalPages": math.ceil(total / size), "totalResults": total}
        items = [order.document(now) for order in reversed(self._placed[max(first, last - size) : max(first, last)])]
        return Answer(200, {"success": True, "data": {"items": items, "pagination": numbers}})


def _placed_at(order: SimulatedOrder) -> float:
    return order.placed_at


def _error(status: int, code: str, retry_after: int | None = None) -> Answer:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Answer(status, {"success": False, "error": {"code": code, "message": code}}, headers)


class Transport(httpx.AsyncBaseTransport):
    """Carries a client's calls to the simulated supplier.

    Parameters
    ----------
    caller
        Name of the function that calls.
    """

    def __init__(self, supplier: Supplier, caller: str) -> None:
        self._supplier = supplier
        self._caller = caller

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode()
        kind = "list" if re.match(r"/v3/gift-cards/list\b", target) else self._caller
        read_timeout = request.extensions["timeout"]["read"]
        key = request.headers["X-Access-Token"]
        answer = self._supplier.call(target, key, kind, read_timeout)
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)
