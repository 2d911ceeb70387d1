"""`giftcards stats`: what is counted, how long orders took, what they cost."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rows
from giftcards.adapters.timestamps import timestamp
from giftcards.rules.orders import Order
from giftcards_cli import costs
from giftcards_cli.stats import percentiles
from support.cloud import Cloud, template
from support.command_line import CommandResult, Giftcards
from support.examples import EXECUTION, NOW
from support.secrets import MARK

HOUR = timedelta(hours=1)


@pytest.fixture
def ago() -> Callable[[timedelta], str]:
    """Write a moment so long before the test began."""
    now = datetime.now(UTC)
    return lambda span: timestamp(now - span)


@pytest.fixture
def a_day(cloud: Cloud, ago: Callable[[timedelta], str]) -> None:
    """Given orders of all ends, and one that was closed two days ago."""

    def closed(order_id: str, took: int, cards: int, *, back: timedelta = HOUR, **more: Any) -> None:
        second = timedelta(seconds=1)
        row = rows.claimed(order_id, placedAt=ago(back + took * second))
        row = rows.closed(row, cards, datetime.fromisoformat(ago(back)), quantity=2, checks=3) | more
        cloud.put(cloud.card_table, row | {"announcedAt": ago(back)})

    closed("delivered-1", 10, 2)
    closed("delivered-2", 20, 2, checks=8)
    closed("partial", 60, 1)
    closed("refunded", 500, 0)
    closed("long-ago", 9000, 2, back=48 * HOUR)
    cloud.claim("waiting", claimed_at=datetime.now(UTC) - 50 * HOUR)
    cloud.claim("held")
    cloud.hold("held", "ORDER_UNKNOWN")
    for card in (1, 2):
        cloud.put(cloud.card_table, rows.card("delivered-1", card, b"x"))
    cloud.forget()


@pytest.mark.usefixtures("a_day")
def test_closed_orders_are_counted_by_when_they_were_closed_and_open_ones_whatever_their_age(giftcards: Giftcards):
    said = giftcards("stats", "--json")

    assert (said.code, said.err) == (0, "")
    told = json.loads(said.out)
    assert (told["delivered"], told["partiallyDelivered"], told["refunded"]) == (2, 1, 1)
    assert (told["waiting"], told["held"], told["heldByReason"]) == (1, 1, {"ORDER_UNKNOWN": 1})
    assert told["secondsToDelivery"] == pytest.approx({"p50": 20, "p95": 56, "max": 60}, abs=0.01)
    assert (told["checks"], told["supplierCalls"], told["ordersPriced"]) == (17, 21, 4)
    assert datetime.now(UTC) - datetime.fromisoformat(told["since"]) - 24 * HOUR < timedelta(minutes=1)


@pytest.mark.usefixtures("a_day")
@pytest.mark.parametrize(("since", "delivered"), [("30m", 0), ("90m", 2), ("24h", 2), ("3d", 3)])
def test_since_takes_minutes_hours_and_days(giftcards: Giftcards, since: str, delivered: int):
    assert json.loads(giftcards("stats", "--since", since, "--json").out)["delivered"] == delivered


@pytest.mark.parametrize(
    "since", ["24", "h", "1w", "-1h", "0h", "1.5h", "", " 24h", "24h\n", "٣h", "9" * 30 + "d", "999999d"]
)
def test_another_since_is_one_line(giftcards: Giftcards, since: str):
    said = giftcards("stats", f"--since={since}")

    line = "giftcards: --since must be a number of minutes, hours or days of this era: 90m, 24h, 7d\n"
    assert said == CommandResult(2, "", line)


@pytest.mark.usefixtures("a_day")
def test_cost_is_what_the_orders_used_at_list_prices(giftcards: Giftcards):
    told = json.loads(giftcards("stats", "--json").out)

    assert told["usage"]["stepFunctionsStateTransitions"] == 4 * 7 + 17 * 3
    assert told["usage"]["kmsRequests"] == 3
    prices = costs.prices()
    by_hand = sum(prices.per_million[what] * count for what, count in told["usage"].items()) / 1_000_000
    assert told["usd"] == pytest.approx(by_hand)
    assert told["usdPerOrder"] == pytest.approx(by_hand / 4)
    assert (told["pricesAsOf"], told["pricesRegion"]) == (prices.as_of, prices.region)


@pytest.mark.usefixtures("a_day")
def test_a_person_reads_all_of_it_in_a_few_lines(giftcards: Giftcards):
    said = giftcards("stats")

    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert {"delivered 2", "partially delivered 1", "refunded 1", "held 1 1 × ORDER_UNKNOWN"} <= set(lines)
    assert "waiting 1 the oldest for 2d02h" in lines
    assert {"p50 20.0 half of them within", "max 60.0 longest"} <= set(lines)
    assert "supplier calls 21 5.2 an order: 17 checks, 4 deliveries" in lines


def test_no_orders_are_no_failure(giftcards: Giftcards):
    told = json.loads(giftcards("stats", "--json").out)

    assert (told["delivered"], told["secondsToDelivery"], told["usdPerOrder"]) == (0, None, None)
    assert giftcards("stats").code == 0


@pytest.mark.usefixtures("a_day")
def test_orders_closed_before_rows_held_their_checks_are_counted_and_left_out_of_the_cost(
    cloud: Cloud, giftcards: Giftcards
):
    row = cloud.order_row("delivered-2")
    del row["checks"]
    cloud.put(cloud.card_table, row)

    told = json.loads(giftcards("stats", "--json").out)

    assert (told["delivered"], told["ordersPriced"], told["checks"]) == (2, 3, 9)
    assert "1 closed by an earlier version" in giftcards("stats").out


@pytest.mark.usefixtures("a_day")
def test_a_row_that_cannot_be_read_is_named_and_the_others_are_counted(cloud: Cloud, giftcards: Giftcards):
    cloud.put(cloud.card_table, cloud.order_row("partial") | {"quantity": MARK})

    said = giftcards("stats", "--json")

    assert (said.code, said.err) == (1, "giftcards: orders whose rows cannot be read: 1 (partial: quantity)\n")
    told = json.loads(said.out)
    assert (told["delivered"], told["partiallyDelivered"], told["unreadable"]) == (2, 0, ["partial"])


@pytest.mark.usefixtures("a_day")
def test_a_table_of_several_pages_is_read_to_its_end(cloud: Cloud, giftcards: Giftcards):
    for number in range(4):
        cloud.claim(f"heavy-{number}", ballast="x" * 390_000)  # DynamoDB's pages end at 1 MB

    assert json.loads(giftcards("stats", "--json").out)["waiting"] == 5


# -------------------------------------------------------------------- the rules


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        ([], None),
        ([7.0], {"p50": 7, "p95": 7, "max": 7}),
        ([3.0, 1.0], {"p50": 2, "p95": 2.9, "max": 3}),
        (range(101), {"p50": 50, "p95": 95, "max": 100}),
    ],
)
def test_percentiles(seconds: list[float], told: dict[str, float] | None):
    assert percentiles(seconds) == (None if told is None else pytest.approx(told))


@given(st.lists(st.floats(0, 1e7), min_size=1))
def test_percentiles_lie_within_the_times_and_in_order(seconds: list[float]):
    told = percentiles(seconds)

    assert told is not None
    slack = math.ulp(1e7)
    assert min(seconds) - slack <= told["p50"] <= told["p95"] + slack <= told["max"] + 2 * slack
    assert told["max"] == max(seconds)


def closed_order(**changes: Any) -> Order:
    known = {"order_id": "o", "user_id": "u", "status": "FULFILLED", "claimed_at": NOW, "execution_arn": EXECUTION}
    return Order.model_validate(known | {"checks": 4, "fulfilled_quantity": 2, "delivered_at": NOW} | changes)


def test_everything_that_is_used_has_a_price():
    assert set(costs.usage(closed_order())) == set(costs.prices().per_million)


def test_an_order_of_two_cards_that_settles_at_the_fourth_check():
    assert costs.usage(closed_order()) == {
        "stepFunctionsStateTransitions": 19,
        "lambdaRequests": 5,
        "lambdaArmGbSeconds": 1.5,
        "dynamodbWriteRequestUnits": 24,
        "dynamodbReadRequestUnits": 6,
        "kmsRequests": 1,
        "eventBridgeCustomEvents": 2,
    }
    assert costs.supplier_calls(closed_order()) == 5


def test_a_refund_needs_no_key_and_a_delay_is_one_more_event():
    refund = costs.usage(closed_order(status="REFUNDED", fulfilled_quantity=0, delayed_at=NOW))

    assert (refund["kmsRequests"], refund["eventBridgeCustomEvents"]) == (0, 3)


def test_functions_are_billed_the_memory_that_they_have():
    globally = template()["Globals"]["Function"]["MemorySize"]
    for function, gigabytes in costs.FUNCTION_GB.items():
        properties = template()["Resources"][f"{function}Function"]["Properties"]
        assert properties.get("MemorySize", globally) == gigabytes * 1024


def test_an_order_row_is_copied_to_each_index():
    assert len(template()["Resources"]["CardTable"]["Properties"]["GlobalSecondaryIndexes"]) == costs.INDEXES
