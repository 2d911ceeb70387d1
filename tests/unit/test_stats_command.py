"""`giftcards stats`: counts, time to delivery and cost."""

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
from giftcards_cli.commands.stats import percentiles
from support.cloud import Cloud, template
from support.command_line import Giftcards
from support.examples import EXECUTION, NOW
from support.secrets import MARK

HOUR = timedelta(hours=1)


@pytest.fixture
def ago() -> Callable[[timedelta], str]:
    """Return a function that formats the time a given span before the test."""
    now = datetime.now(UTC)
    return lambda span: timestamp(now - span)


@pytest.fixture
def a_day(cloud: Cloud, ago: Callable[[timedelta], str]) -> None:
    """Given orders with every outcome, and one that was closed two days ago."""

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
    cloud.put(cloud.card_table, rows.cards("delivered-1", 1, b"x"))
    cloud.forget()


@pytest.mark.usefixtures("a_day")
def test_orders_are_counted_by_closing_time_or_as_open(giftcards: Giftcards):
    result = giftcards("stats", "--json")

    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    assert (document["delivered"], document["partiallyDelivered"], document["refunded"]) == (2, 1, 1)
    assert (document["waiting"], document["held"], document["heldByReason"]) == (1, 1, {"ORDER_UNKNOWN": 1})
    assert document["secondsToDelivery"] == pytest.approx({"p50": 20, "p95": 56, "max": 60}, abs=0.01)
    assert (document["checks"], document["supplierCalls"], document["ordersPriced"]) == (17, 21, 4)
    assert datetime.now(UTC) - datetime.fromisoformat(document["since"]) - 24 * HOUR < timedelta(minutes=1)


@pytest.mark.usefixtures("a_day")
@pytest.mark.parametrize(("since", "delivered"), [("30m", 0), ("90m", 2), ("24h", 2), ("3d", 3)])
def test_since_takes_minutes_hours_and_days(giftcards: Giftcards, since: str, delivered: int):
    assert json.loads(giftcards("stats", "--since", since, "--json").out)["delivered"] == delivered


@pytest.mark.parametrize(
    "since", ["24", "h", "1w", "-1h", "0h", "1.5h", "", " 24h", "24h\n", "٣h", "9" * 30 + "d", "999999d"]
)
def test_invalid_since_is_wrong_usage(giftcards: Giftcards, since: str):
    result = giftcards("stats", f"--since={since}")

    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "--since" in result.err


@pytest.mark.usefixtures("a_day")
def test_cost_is_the_usage_at_list_prices(giftcards: Giftcards):
    document = json.loads(giftcards("stats", "--json").out)

    assert document["usage"]["stepFunctionsStateTransitions"] == 4 * 6 + 17 * 3
    assert document["usage"]["kmsRequests"] == 3
    prices = costs.prices()
    by_hand = sum(prices.per_million[what] * count for what, count in document["usage"].items()) / 1_000_000
    assert document["usd"] == pytest.approx(by_hand)
    assert document["usdPerOrder"] == pytest.approx(by_hand / 4)
    assert (document["pricesAsOf"], document["pricesRegion"]) == (prices.as_of, prices.region)


@pytest.mark.usefixtures("a_day")
def test_summary_for_people(giftcards: Giftcards):
    result = giftcards("stats")

    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert {"delivered 2", "partially delivered 1", "refunded 1", "held 1 1 × ORDER_UNKNOWN"} <= set(lines)
    assert "waiting 1 oldest: 2d02h" in lines
    assert {"p50 20.0 50 % within", "max 60.0 longest"} <= set(lines)
    assert "supplier calls 21 5.2 per order: 17 checks, 4 deliveries" in lines


def test_stats_without_orders_is_success(giftcards: Giftcards):
    document = json.loads(giftcards("stats", "--json").out)

    assert (document["delivered"], document["secondsToDelivery"], document["usdPerOrder"]) == (0, None, None)
    assert giftcards("stats").code == 0


@pytest.mark.usefixtures("a_day")
def test_orders_without_a_check_count_are_not_priced(cloud: Cloud, giftcards: Giftcards):
    row = cloud.order_row("delivered-2")
    del row["checks"]
    cloud.put(cloud.card_table, row)

    document = json.loads(giftcards("stats", "--json").out)

    assert (document["delivered"], document["ordersPriced"], document["checks"]) == (2, 3, 9)
    assert "not included" in giftcards("stats").out


@pytest.mark.usefixtures("a_day")
def test_invalid_row_is_named_and_the_others_are_counted(cloud: Cloud, giftcards: Giftcards):
    cloud.put(cloud.card_table, cloud.order_row("partial") | {"quantity": MARK})

    result = giftcards("stats", "--json")

    assert result.code == 1
    assert result.err.endswith(": 1 (partial: quantity)\n")
    document = json.loads(result.out)
    assert (document["delivered"], document["partiallyDelivered"], document["unreadable"]) == (2, 0, ["partial"])


@pytest.mark.usefixtures("a_day")
def test_all_pages_of_the_table_are_read(cloud: Cloud, giftcards: Giftcards):
    for number in range(4):
        cloud.claim(f"heavy-{number}", ballast="x" * 390_000)  # DynamoDB's pages end at 1 MB

    assert json.loads(giftcards("stats", "--json").out)["waiting"] == 5


# ------------------------------------------------------------------- percentiles and cost


@pytest.mark.parametrize(
    ("seconds", "document"),
    [
        ([], None),
        ([7.0], {"p50": 7, "p95": 7, "max": 7}),
        ([3.0, 1.0], {"p50": 2, "p95": 2.9, "max": 3}),
        (range(101), {"p50": 50, "p95": 95, "max": 100}),
    ],
)
def test_percentiles(seconds: list[float], document: dict[str, float] | None):
    assert percentiles(seconds) == (None if document is None else pytest.approx(document))


@given(st.lists(st.floats(0, 1e7), min_size=1))
def test_percentiles_are_ordered_and_within_the_values(seconds: list[float]):
    document = percentiles(seconds)

    assert document is not None
    slack = math.ulp(1e7)
    assert min(seconds) - slack <= document["p50"] <= document["p95"] + slack <= document["max"] + 2 * slack
    assert document["max"] == max(seconds)


def closed_order(**changes: Any) -> Order:
    attributes = {"order_id": "o", "user_id": "u", "status": "FULFILLED", "claimed_at": NOW, "execution_arn": EXECUTION}
    return Order.model_validate(attributes | {"checks": 4, "fulfilled_quantity": 2, "delivered_at": NOW} | changes)


def test_every_kind_of_usage_has_a_price():
    assert set(costs.usage(closed_order())) == set(costs.prices().per_million)


def test_usage_of_an_order_with_two_cards_and_four_checks():
    assert costs.usage(closed_order()) == {
        "stepFunctionsStateTransitions": 18,
        "lambdaRequests": 5,
        "lambdaArmGbSeconds": 1.5,
        "dynamodbWriteRequestUnits": 30,
        "dynamodbReadRequestUnits": 3,
        "kmsRequests": 1,
        "eventBridgeCustomEvents": 2,
    }
    assert costs.supplier_calls(closed_order()) == 5


@pytest.mark.parametrize(("cards", "units"), [(1, 30), (10, 32), (100, 46), (5_000, 928)])
def test_writes_of_an_order_follow_the_size_of_its_card_rows(cards: int, units: int):
    order = closed_order(quantity=cards, fulfilled_quantity=cards)

    assert costs.usage(order)["dynamodbWriteRequestUnits"] == units


def test_refund_uses_no_key_and_delay_adds_an_event():
    refund = costs.usage(closed_order(status="REFUNDED", fulfilled_quantity=0, delayed_at=NOW))

    assert (refund["kmsRequests"], refund["eventBridgeCustomEvents"]) == (0, 3)


def test_billed_memory_is_that_of_the_template():
    globally = template()["Globals"]["Function"]["MemorySize"]
    for function, gigabytes in costs.FUNCTION_GB.items():
        properties = template()["Resources"][f"{function}Function"]["Properties"]
        assert properties.get("MemorySize", globally) == gigabytes * 1024


def test_indexes_are_those_of_the_template():
    assert len(template()["Resources"]["CardTable"]["Properties"]["GlobalSecondaryIndexes"]) == costs.INDEXES
