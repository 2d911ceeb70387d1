"""The shared list: which checks it answers, who fetches it, and when a check asks for its own order."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from giftcards.adapters import aws
from giftcards.adapters.snapshot_table import SnapshotTable
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.workflow import Outcome, RetryState, StepResult
from giftcards.metrics import Metric
from giftcards.rules.snapshot import (
    LISTED_SECONDS,
    MAX_AGE_SECONDS,
    MAX_REFRESH_SECONDS,
    MIN_OPEN_ORDERS,
    MIN_PENDING_ORDERS,
    TICK_SECONDS,
    aligned_wait,
    tick_of,
)
from giftcards.use_cases.check_status import StatusCheck
from support.cloud import Cloud
from support.examples import NOW, step_request
from support.gate import Clock, Measures, status_check_of, supplier_on
from support.secrets import MARK, leaks
from support.supplier import SupplierDouble, answered, order_data, page_data, refused

LIST, ONE = "/v3/gift-cards/list", "/v3/gift-cards/checkOrder/"
ORDERS = [f"order-{number}" for number in range(8)]


class Checks:
    """Containers that check orders at the same supplier."""

    def __init__(self, cloud: Cloud, supplier: SupplierDouble) -> None:
        cloud.set_api_key()
        self.cloud, self.supplier, self.clock, self.measures = cloud, supplier, Clock(), Measures()
        self.snapshots = SnapshotTable(cloud.gate_table, aws.dynamodb())
        self.status_check: StatusCheck = status_check_of(
            supplier_on(cloud, supplier, self.clock, self.measures), cloud, self.clock, self.measures
        )

    def check(self, order_id: str, *, age: float = 60, **fields: Any) -> StepResult:
        claimed_at = self.clock() - timedelta(seconds=age)
        request = step_request(order_id=order_id, claimed_at=claimed_at, **{"retry_state": RetryState()} | fields)
        result = self.status_check.check(request, now=self.clock(), jitter=0)
        assert not leaks(repr(result))
        return result

    def check_directly(self, *orders: str) -> None:
        """Check orders that the supplier is still handling, each alone."""
        for order_id in orders:
            self.supplier.will(answered(order_data("HANDLING", _id=order_id)))
            assert self.check(order_id).outcome is Outcome.PENDING

    def list_once(self, *listed: Any) -> StepResult:
        """Have enough orders checked for one of them to fetch this page."""
        self.check_directly(*ORDERS[: MIN_OPEN_ORDERS - 1])
        self.supplier.will(answered(page_data(*(listed or pending(*ORDERS)))))
        result = self.check(ORDERS[MIN_OPEN_ORDERS - 1])
        assert self.calls[-1] == LIST
        return result

    @property
    def calls(self) -> list[str]:
        return [LIST if request.url.path == LIST else ONE for request in self.supplier.requests]


def pending(*orders: str) -> list[dict[str, Any]]:
    return [order_data("HANDLING", _id=order_id) for order_id in orders]


@pytest.fixture
def checks(cloud: Cloud, supplier: SupplierDouble) -> Checks:
    return Checks(cloud, supplier)


# ------------------------------------------------------------------ who asks


def test_few_orders_are_checked_each_alone(checks: Checks):
    for _ in range(5):
        checks.check_directly(*ORDERS[: MIN_OPEN_ORDERS - 1])
        checks.clock.advance(TICK_SECONDS)

    assert set(checks.calls) == {ONE}


def test_fifth_check_of_a_tick_fetches_the_page_for_all(checks: Checks):
    assert checks.list_once().outcome is Outcome.PENDING
    outcomes = {checks.check(order_id).outcome for order_id in ORDERS}

    assert outcomes == {Outcome.PENDING}
    assert checks.calls == [*[ONE] * (MIN_OPEN_ORDERS - 1), LIST]


def test_each_tick_has_one_page_while_many_orders_are_open(checks: Checks):
    checks.list_once()
    checks.supplier.requests.clear()

    for _ in range(3):
        checks.clock.advance(TICK_SECONDS)
        checks.supplier.will(answered(page_data(*pending(*ORDERS))))
        for order_id in ORDERS:
            assert checks.check(order_id).outcome is Outcome.PENDING

    assert checks.calls == [LIST] * 3


def test_checks_go_direct_again_when_few_orders_are_left(checks: Checks):
    left = MIN_PENDING_ORDERS - 1
    checks.list_once(*pending(*ORDERS[:left]), *[order_data("FULFILLED", _id=order_id) for order_id in ORDERS[left:]])
    checks.clock.advance(TICK_SECONDS)
    checks.supplier.requests.clear()

    checks.check_directly(*ORDERS[:2])

    assert checks.calls == [ONE, ONE]


def test_page_request_names_the_newest_orders_of_a_day(checks: Checks):
    checks.list_once()

    params = dict(checks.supplier.requests[-1].url.params)
    assert LISTED_SECONDS == 86_400
    assert params == {"page": "1", "pageSize": "100", "from": "2026-03-13T09:26:53.000Z"}


def test_settled_order_of_the_page_goes_to_its_delivery(checks: Checks):
    checks.list_once(order_data("FULFILLED", _id=ORDERS[6]), *pending(*ORDERS[:6]))

    assert checks.check(ORDERS[6]).outcome is Outcome.SETTLED
    assert checks.check(ORDERS[5]).outcome is Outcome.PENDING


# ------------------------------------------------------------- who does not


def test_order_that_is_not_on_the_page_is_checked_alone(checks: Checks):
    checks.list_once(*pending(*ORDERS[:6]))

    checks.check_directly("older", "just-placed")

    assert checks.calls[-2:] == [ONE, ONE]


def test_order_in_doubt_is_checked_alone(checks: Checks):
    checks.list_once()
    checks.supplier.will(refused(404, "NOT_FOUND"))

    result = checks.check(ORDERS[0], retry_state=step_request().retry_state)

    assert result.outcome is Outcome.ORDER_UNKNOWN


def test_order_that_is_due_before_the_next_tick_is_checked_alone(cloud: Cloud, supplier: SupplierDouble):
    checks = Checks(cloud, supplier)
    checks.list_once()
    fast = status_check_of(checks.status_check.supplier, cloud, checks.clock)
    object.__setattr__(fast, "policy", type(fast.policy)(type(fast.policy.schedule).parse("60:4,600:5"), 600))
    supplier.will(answered(order_data("HANDLING", _id=ORDERS[0])))

    request = step_request(order_id=ORDERS[0], claimed_at=NOW - timedelta(seconds=59), retry_state=RetryState())
    assert fast.check(request, now=NOW, jitter=0).outcome is Outcome.PENDING

    assert checks.calls[-1] == ONE


# ----------------------------------------------------------- irregular pages


IRREGULAR: dict[str, tuple[Any, ...]] = {
    "byte order mark": (httpx.Response(200, content=b"\xef\xbb\xbf" + answered(page_data(*pending(*ORDERS))).content),),
    "another page size": (answered(page_data(*pending(*ORDERS), page_size=20, results=500, pages=25)),),
    "no pagination": (answered({"items": pending(*ORDERS)}),),
    "unknown fields": (answered(page_data(*[item | {"cardss": MARK} for item in pending(*ORDERS)])),),
    "others' orders": (answered(page_data(*pending(*[f"other-{n}" for n in range(50)], *ORDERS))),),
    "another spelling": (answered(page_data(*[item | {"status": " handling "} for item in pending(*ORDERS)])),),
    "broken neighbours": (answered(page_data(5, {}, {"_id": MARK * 50}, *pending(*ORDERS))),),
    "cards of the wrong shape": (answered(page_data(*[item | {"cards": [MARK]} for item in pending(*ORDERS)])),),
}


@pytest.mark.parametrize("page", IRREGULAR.values(), ids=IRREGULAR)
def test_irregular_page_answers_what_can_be_read(checks: Checks, page: tuple[httpx.Response]):
    checks.check_directly(*ORDERS[: MIN_OPEN_ORDERS - 1])
    checks.supplier.will(*page)

    assert checks.check(ORDERS[4]).outcome is Outcome.PENDING
    assert checks.check(ORDERS[5]).outcome is Outcome.PENDING

    assert checks.calls == [*[ONE] * (MIN_OPEN_ORDERS - 1), LIST]
    assert not leaks(*map(repr, checks.cloud.rows(checks.cloud.gate_table)))


BROKEN = {
    "no list": answered({"items": None}),
    "no JSON": httpx.Response(200, content=b"<html>"),
    "server error": refused(500, "INTERNAL_ERROR"),
    "unknown path": refused(404, "NOT_FOUND"),
    "refused": refused(403, "LIST_FORBIDDEN"),
    "time-out": httpx.ReadTimeout("slow"),
    "an unknown status": answered(page_data(*[item | {"status": "LOST"} for item in pending(*ORDERS)])),
    "two statuses": answered(page_data(*pending(*ORDERS), *[order_data("REFUNDED", _id=name) for name in ORDERS])),
}


@pytest.mark.parametrize("page", BROKEN.values(), ids=BROKEN)
def test_order_is_checked_alone_if_the_page_is_broken(checks: Checks, page: httpx.Response | Exception):
    checks.check_directly(*ORDERS[: MIN_OPEN_ORDERS - 1])
    checks.supplier.will(page, *(answered(order_data("HANDLING", _id=order_id)) for order_id in ORDERS[4:7]))
    began = checks.clock()

    assert [checks.check(order_id).outcome for order_id in ORDERS[4:7]] == [Outcome.PENDING] * 3

    assert checks.calls == [*[ONE] * 4, LIST, *[ONE] * 3]
    assert (checks.clock() - began).total_seconds() <= 1, "a check waits for a page that has failed"


def test_check_makes_no_second_call_if_the_supplier_does_not_answer(checks: Checks):
    checks.check_directly(*ORDERS[: MIN_OPEN_ORDERS - 1])
    checks.supplier.will(httpx.ReadTimeout("slow"))
    real = checks.status_check.supplier.supplier.list_statuses

    def slowly(*call: Any) -> Any:
        checks.clock.advance(15)
        return real(*call)

    checks.status_check.supplier.supplier.list_statuses = slowly  # type: ignore[method-assign]

    assert checks.check(ORDERS[4]).outcome is Outcome.SUPPLIER_BUSY

    assert checks.calls[-1] == LIST


def test_page_that_is_refused_for_its_rate_blocks_all_calls(checks: Checks):
    checks.check_directly(*ORDERS[: MIN_OPEN_ORDERS - 1])
    checks.supplier.will(refused(429, "RATE_LIMIT_EXCEEDED", Retry_After="30"))

    results = [checks.check(order_id) for order_id in ORDERS[4:7]]

    assert [result.outcome for result in results] == [Outcome.SUPPLIER_BUSY, *[Outcome.GATE_CLOSED] * 2]
    assert checks.calls[-1] == LIST


# ----------------------------------------------------------------- refreshing


def test_check_waits_for_the_page_that_another_one_fetches(checks: Checks):
    # Given a page of the last tick, and another check that fetches the next one
    checks.list_once()
    checks.clock.advance(TICK_SECONDS)
    tick = tick_of(checks.clock())
    assert checks.snapshots.claim(tick)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        checks.clock.advance(seconds)
        pauses.append(seconds)
        if len(pauses) == 2:
            checks.snapshots.write(checks.clock(), {ORDERS[0]: OrderStatus.FULFILLED})

    object.__setattr__(checks.status_check.shared_list, "pause", pause)

    assert checks.check(ORDERS[0]).outcome is Outcome.SETTLED
    assert len(pauses) == 2


def test_check_uses_the_last_page_if_the_next_one_takes_too_long(checks: Checks):
    checks.list_once()
    checks.clock.advance(TICK_SECONDS)
    assert checks.snapshots.claim(tick_of(checks.clock()))
    before, calls = checks.clock(), len(checks.calls)

    assert checks.check(ORDERS[0]).outcome is Outcome.PENDING

    assert (checks.clock() - before).total_seconds() == MAX_REFRESH_SECONDS
    assert len(checks.calls) == calls


def test_page_that_is_too_old_answers_nothing(checks: Checks):
    checks.list_once()
    checks.clock.advance(MAX_AGE_SECONDS + 1)

    checks.check_directly(ORDERS[0])


def test_late_page_does_not_replace_a_newer_one(checks: Checks):
    checks.snapshots.write(NOW, {"order": OrderStatus.FULFILLED})
    for late in (NOW, NOW - timedelta(seconds=1)):
        checks.snapshots.write(late, {"order": OrderStatus.HANDLING})

    assert checks.snapshots.read().statuses == {"order": OrderStatus.FULFILLED}


def test_tick_is_counted_and_claimed_once(checks: Checks):
    assert [checks.snapshots.count(7) for _ in range(3)] == [1, 2, 3]
    assert checks.snapshots.count(8) == 1
    assert checks.snapshots.count(7) == 0
    assert [checks.snapshots.claim(tick) for tick in (7, 7, 6, 8, 8)] == [True, False, False, True, False]


def test_snapshot_keeps_statuses_and_no_card(checks: Checks):
    checks.list_once(order_data("FULFILLED", _id=ORDERS[0]), *pending(*ORDERS[1:]))

    (row,) = [row for row in checks.cloud.rows(checks.cloud.gate_table) if row["sk"] == "SNAPSHOT"]
    assert row["statuses"] == {ORDERS[0]: "FULFILLED"} | dict.fromkeys(ORDERS[1:], "HANDLING")
    assert row.keys() == {"pk", "sk", "fetchedAt", "statuses"}


def test_answers_of_the_page_and_its_age_are_measured(checks: Checks):
    checks.list_once()
    checks.clock.advance(1.5)
    checks.measures.taken.clear()

    checks.check(ORDERS[0])

    assert checks.measures.taken == [(Metric.SNAPSHOT_HIT, 1), (Metric.SNAPSHOT_AGE, 1.5)]


# ---------------------------------------------------------------------- waits


@given(wait=st.integers(5, 120), past=st.floats(0, TICK_SECONDS, exclude_max=True))
def test_wait_ends_in_the_first_second_of_a_tick_near_the_schedule(wait: int, past: float):
    now = NOW.replace(second=50, microsecond=0) + timedelta(seconds=past)

    aligned = aligned_wait(wait, now)

    lands = (past + aligned) % TICK_SECONDS
    assert min(lands, TICK_SECONDS - lands) < 1.001
    assert 1 <= aligned <= max(wait, TICK_SECONDS) + 1
    assert aligned > wait - TICK_SECONDS


def test_pending_order_of_the_page_comes_back_when_the_next_one_is_new(checks: Checks):
    checks.list_once()

    wait = checks.check(ORDERS[0]).wait_seconds

    assert (checks.clock() + timedelta(seconds=wait)).timestamp() % TICK_SECONDS < 1
