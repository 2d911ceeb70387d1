"""The simulation behind ``make bench-scale``: what its figures rely on."""

import random
from pathlib import Path
from typing import Any

import pytest
import time_machine

from giftcards.rules.orders import Order
from giftcards_cli.costs import prices, usage
from giftcards_local import PROJECT
from scaling.clock import START, VirtualTime
from scaling.cloud import Tables
from scaling.plots import Chart
from scaling.releases import release_before
from scaling.releases import run as run_releases
from scaling.scenarios import Scenario, overtaking, run
from scaling.supplier import SimulatedOrder, settlement_seconds


def simulate(variant: Any = "now", **scenario: Any) -> dict[str, Any]:
    return run(Scenario("test", **scenario), variant, PROJECT, prices().per_million)


def test_sleeping_bodies_wake_in_the_order_of_their_times():
    with time_machine.travel(START, tick=False) as traveller:
        clock, seen = VirtualTime(traveller), []

        def body(name: str, pauses: tuple[int, ...]) -> None:
            for pause in pauses:
                clock.sleep(pause)
                seen.append((name, clock.seconds))

        for name, pauses in (("a", (3, 3)), ("b", (2, 5))):
            clock.after(0, lambda name=name, pauses=pauses: clock.spawn(lambda: body(name, pauses), lambda _: None))
        clock.run()
    assert seen == [("b", 2), ("a", 3), ("a", 6), ("b", 7)]


def test_error_in_a_body_ends_the_simulation():
    with time_machine.travel(START, tick=False) as traveller:
        clock = VirtualTime(traveller)
        clock.after(0, lambda: clock.spawn(lambda: 1 / 0, lambda _: None))
        with pytest.raises(ZeroDivisionError):
            clock.run()


def test_transitions_of_the_definition_are_those_that_the_costs_name():
    measured = simulate(burst=1, settles="at once", pending_answers=3)
    row = {
        "orderId": "o",
        "userId": "u",
        "claimedAt": START,
        "status": "FULFILLED",
        "checks": 4,
        "fulfilledQuantity": 2,
    }
    assert measured["transitions"] == usage(Order.model_validate(row))["stepFunctionsStateTransitions"]


def test_run_repeats_exactly():
    first, second = (simulate(burst=10, burst_seconds=10, failing_share=0.3) for _ in range(2))
    assert first == second


def test_no_call_leaves_while_a_429_asks_to_wait():
    measured = simulate(burst=5, burst_seconds=5, settles="in outage", outage="429")
    assert measured["delivered"] == 5
    assert measured["callsDuringOutage"] <= 300 / 30 + 3


def test_refused_key_is_presented_at_most_three_times():
    measured = simulate(burst=20, burst_seconds=20, settles="in outage", outage="refused key")
    assert measured["delivered"] == 20
    assert 1 <= measured["refusedKeyPresented"] <= 3


def test_throttled_function_is_retried_by_the_definition():
    measured = simulate(burst=20, burst_seconds=1, settles="at once", concurrency=2)
    assert measured["throttled"] > 0
    assert measured["mostFunctionsAtOnce"] == 2
    assert measured["delivered"] == 20


def test_loop_gives_up_after_ten_minutes():
    measured = simulate("loop", burst=1, pending_answers=120)
    assert measured["ended"] == {"given up": 1}
    assert measured["callsAnOrder"] == 120


def test_most_orders_settle_as_documented():
    seconds = sorted(settlement_seconds(1_000, random.Random(1)))
    within = sum(3 <= second <= 45 for second in seconds) / 1_000
    assert 0.8 < within < 0.9
    assert 3_600 < seconds[-1] < 86_400


def test_overtaking_counts_pairs_in_the_wrong_sequence():
    def order(settled: float, delivered: float) -> SimulatedOrder:
        return SimulatedOrder("o", 0, settled, delivered_at=delivered)

    assert overtaking([order(1, 10), order(2, 20), order(3, 30)]) == 0
    assert overtaking([order(1, 30), order(2, 20), order(3, 10)]) == 1
    assert overtaking([order(1, 20), order(2, 10), order(3, 30)]) == pytest.approx(1 / 3)


def test_write_units_follow_size_transactions_and_failed_conditions():
    tables = Tables()
    tables.execute("put_item", {"TableName": "t", "Item": {"pk": "a", "sk": "b", "text": "x" * 1_500}})
    assert tables.write_units == 2
    put = {"Put": {"TableName": "t", "Item": {"pk": "a", "sk": "c"}}}
    tables.execute("transact_write_items", {"TransactItems": [put]})
    assert tables.write_units == 4
    again = {"TableName": "t", "Item": {"pk": "a", "sk": "b"}, "ConditionExpression": "attribute_not_exists(pk)"}
    with pytest.raises(Exception, match="conditional request failed"):
        tables.execute("put_item", again)
    assert tables.write_units == 5


def test_release_before_needs_nothing_of_today(tmp_path: Path):
    code = release_before(tmp_path)
    if code is None:
        pytest.skip("needs the whole history: git fetch --unshallow")
    results = run_releases({"before": [Scenario("one", burst=1, settles="at once")]}, {"before": code})
    assert results["before"]["one"]["delivered"] == 1


def test_release_before_is_skipped_without_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scaling.releases.BEFORE", "0" * 40)
    assert release_before(tmp_path) is None


def test_chart_has_a_point_for_each_figure():
    drawn = Chart("title", "x", "y", {"one": [(1, 10), (10, 20)]}, (1, 10), (1, 100)).svg()
    assert drawn.count("<circle") == 2
