"""Open orders without a running execution are resumed, each at most once an hour."""

from datetime import datetime, timedelta
from typing import Any

import pytest

import rows
from giftcards.adapters import aws
from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.executions import Executions
from giftcards.adapters.order_table import OrderTable
from giftcards.adapters.timestamps import timestamp
from giftcards.use_cases.sweep_orders import OrderSweep, SweepIncompleteError, Swept
from support.cloud import Cloud, client_error
from support.examples import EXECUTION, NOW, ORDER_ID, USER_ID
from support.secrets import MARK, leaks

HOUR = timedelta(hours=1)
CLOSED = rows.closed({}, cards=1, closed_at=NOW - HOUR)
NOT_TAKEN = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException", "ErrorMessage": ORDER_ID}]}


@pytest.fixture
def sweep(cloud: Cloud) -> OrderSweep:
    return sweep_every(cloud, HOUR)


def sweep_every(cloud: Cloud, once_in: timedelta) -> OrderSweep:
    return OrderSweep(
        orders=OrderTable(cloud.card_table, aws.dynamodb()),
        executions=Executions(aws.step_functions()),
        bus=EventBus(cloud.bus, aws.event_bridge()),
        once_in=once_in,
    )


def again(cloud: Cloud) -> list[str]:
    return [detail["orderId"] for detail in cloud.events_to_resume("giftcards.sweeper")]


def swept(checked: int, resumed: int) -> Swept:
    return Swept(checked, resumed, unreadable={}, failures={})


# -------------------------------------------------------------------- finding


def test_order_without_an_execution_is_released_and_resumed(cloud: Cloud, sweep: OrderSweep):
    cloud.claim(placedAt="2026-03-14T09:00:00.000Z")

    assert sweep.sweep(now=NOW) == swept(checked=1, resumed=1)

    row = cloud.order_row()
    assert "executionArn" not in row
    assert (row["sweptAt"], row["status"], row["openStatus"]) == (timestamp(NOW), "HANDLING", "HANDLING")
    detail = {"orderId": ORDER_ID, "userId": USER_ID, "placedAt": "2026-03-14T09:00:00Z"}
    assert cloud.events_to_resume("giftcards.sweeper") == [detail]


def test_order_with_an_aborted_execution_is_resumed(cloud: Cloud, sweep: OrderSweep):
    execution = cloud.execute()
    cloud.claim(executionArn=execution)
    cloud.abort(execution)

    assert sweep.sweep(now=NOW).resumed == 1

    assert cloud.events_to_resume("giftcards.sweeper") == [{"orderId": ORDER_ID, "userId": USER_ID}]


def test_order_with_a_running_execution_is_not_resumed(cloud: Cloud, sweep: OrderSweep):
    cloud.claim(executionArn=cloud.execute())

    assert sweep.sweep(now=NOW) == swept(checked=1, resumed=0)

    assert cloud.writes() == []


@pytest.mark.parametrize(
    ("status", "resumed"),
    [
        ("RUNNING", 0),
        ("PENDING_REDRIVE", 0),
        ("SUCCEEDED", 1),
        ("FAILED", 1),
        ("TIMED_OUT", 1),
        ("ABORTED", 1),
    ],
)
def test_running_execution_keeps_its_order(cloud: Cloud, sweep: OrderSweep, status: str, resumed: int):
    cloud.claim()
    cloud.at_next("DescribeExecution", {"status": status})

    assert sweep.sweep(now=NOW).resumed == resumed


def test_execution_is_described_without_its_data(cloud: Cloud, sweep: OrderSweep):
    cloud.claim()

    sweep.sweep(now=NOW)

    assert cloud.sent("DescribeExecution") == [{"executionArn": EXECUTION, "includedData": "METADATA_ONLY"}]


def test_held_and_closed_orders_are_not_swept(cloud: Cloud, sweep: OrderSweep):
    cloud.claim("held")
    cloud.hold("held")
    cloud.put(cloud.card_table, rows.published(rows.closed(rows.claimed("done"), cards=1)))

    assert sweep.sweep(now=NOW) == swept(checked=0, resumed=0)


def test_closed_unpublished_order_is_resumed(cloud: Cloud, sweep: OrderSweep):
    cloud.claim(**CLOSED)

    assert sweep.sweep(now=NOW).resumed == 1

    row = cloud.order_row()
    assert (row["status"], row["executionArn"], row["sweptAt"]) == ("FULFILLED", EXECUTION, timestamp(NOW))
    assert again(cloud) == [ORDER_ID]


def test_closed_order_with_a_running_execution_is_kept(cloud: Cloud, sweep: OrderSweep):
    cloud.claim(executionArn=cloud.execute(), **CLOSED)

    assert sweep.sweep(now=NOW).resumed == 0


# -------------------------------------------------------------- once an hour


@pytest.mark.parametrize("attributes", [{}, CLOSED], ids=["open", "closed"])
@pytest.mark.parametrize(("since", "resumed"), [(timedelta(minutes=59, seconds=59), 0), (HOUR, 1)])
def test_order_is_resumed_at_most_once_an_hour(
    cloud: Cloud, sweep: OrderSweep, attributes: dict[str, Any], since: timedelta, resumed: int
):
    cloud.claim(sweptAt=timestamp(NOW - since), **attributes)

    assert sweep.sweep(now=NOW).resumed == resumed

    assert len(again(cloud)) == resumed


def test_order_that_was_swept_within_the_hour_costs_no_call(cloud: Cloud, sweep: OrderSweep):
    cloud.claim(sweptAt=timestamp(NOW - timedelta(minutes=15)))

    sweep.sweep(now=NOW)

    assert [operation for operation, _ in cloud.calls] == ["Query"]


def ends() -> None:
    raise SystemExit  # like a killed container: no error handler sees it


def test_order_lost_by_a_crashed_sweep_is_resumed_later(cloud: Cloud, sweep: OrderSweep):
    # Given a sweep that ends between release and publishing
    cloud.claim()
    cloud.at_next("PutEvents", ends)
    with pytest.raises(SystemExit):
        sweep.sweep(now=NOW)
    assert "executionArn" not in cloud.order_row()
    cloud.forget()

    # Then the sweeps of the next hour skip the order, and the one after publishes it
    minutes = [15, 30, 45, 60, 75]
    announced = [sweep.sweep(now=NOW + timedelta(minutes=minute)).resumed for minute in minutes]
    assert announced == [0, 0, 0, 1, 0]
    assert again(cloud) == [ORDER_ID]


def test_zero_interval_resumes_a_just_swept_order(cloud: Cloud):
    cloud.claim(sweptAt=timestamp(NOW))

    assert sweep_every(cloud, timedelta(0)).sweep(now=NOW).resumed == 1


# ------------------------------------------------------------------- rivals


def rival(cloud: Cloud, **changes: Any) -> Any:
    def change() -> None:
        cloud.put(cloud.card_table, {k: v for k, v in (cloud.order_row() | changes).items() if v is not None})

    return change


RIVALS = {
    "resumed by an execution": {"executionArn": "arn:another", "claimedAt": timestamp(NOW)},
    "swept": {"executionArn": None, "sweptAt": timestamp(NOW)},
    "swept and resumed": {"executionArn": "arn:another", "sweptAt": timestamp(NOW)},
    "closed": CLOSED,
    "held": {"status": "HELD", "openStatus": "HELD"},
}


@pytest.mark.parametrize("meanwhile", RIVALS)
def test_order_that_changes_during_the_sweep_is_kept(cloud: Cloud, sweep: OrderSweep, meanwhile: str):
    cloud.claim()
    cloud.at_next("UpdateItem", rival(cloud, **RIVALS[meanwhile]))

    assert sweep.sweep(now=NOW) == swept(checked=1, resumed=0)

    row = cloud.order_row()
    assert {name: row.get(name) for name in RIVALS[meanwhile]} == RIVALS[meanwhile]
    assert again(cloud) == []


def test_order_published_meanwhile_is_not_resumed(cloud: Cloud, sweep: OrderSweep):
    cloud.claim(**CLOSED)
    cloud.at_next("UpdateItem", rival(cloud, announcedAt=timestamp(NOW), openStatus=None))

    assert sweep.sweep(now=NOW).resumed == 0

    assert again(cloud) == []


def test_held_row_is_not_released_despite_the_index(cloud: Cloud, sweep: OrderSweep):
    cloud.claim(status="HELD")

    assert sweep.sweep(now=NOW).resumed == 0

    assert cloud.order_row()["executionArn"] == EXECUTION


# ------------------------------------------------------------------ failures


def claim_three(cloud: Cloud) -> None:
    for age, order_id in enumerate(["third", "second", "first"]):
        cloud.claim(order_id, claimed_at=NOW - timedelta(minutes=age))


@pytest.mark.parametrize(
    ("operation", "outcome", "error"),
    [
        ("PutEvents", NOT_TAKEN, "EventNotPublishedError"),
        ("PutEvents", client_error("PutEvents"), "ClientError"),
        ("UpdateItem", client_error("UpdateItem"), "ClientError"),
        ("DescribeExecution", client_error("DescribeExecution", "ThrottlingException"), "ClientError"),
    ],
)
def test_failure_of_one_order_fails_the_sweep_at_its_end(
    cloud: Cloud, sweep: OrderSweep, operation: str, outcome: Any, error: str
):
    claim_three(cloud)
    cloud.at_next(operation, outcome)

    result = sweep.sweep(now=NOW)

    assert (result.checked, result.resumed, result.failures) == (3, 2, {error: 1})
    assert again(cloud)[-2:] == ["second", "third"]
    with pytest.raises(SweepIncompleteError, match=rf"{{'{error}': 1}}"):
        result.raise_for_failures()


def test_rejected_event_is_published_by_a_sweep_an_hour_later(cloud: Cloud, sweep: OrderSweep):
    cloud.claim()
    cloud.at_next("PutEvents", NOT_TAKEN)
    assert sweep.sweep(now=NOW).resumed == 0
    cloud.forget()

    assert sweep.sweep(now=NOW + timedelta(minutes=15)).resumed == 0
    assert sweep.sweep(now=NOW + HOUR).resumed == 1

    assert again(cloud) == [ORDER_ID]


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"userId": f"{MARK} {MARK}"}, ("userId",)),
        ({"status": MARK, "executionArn": 5}, ("executionArn", "status")),
        ({"deliveredAt": MARK}, ("deliveredAt",)),
    ],
)
def test_unreadable_row_fails_the_sweep_at_its_end(
    cloud: Cloud, sweep: OrderSweep, wrong: dict[str, Any], fields: tuple[str, ...]
):
    claim_three(cloud)
    cloud.put(cloud.card_table, cloud.order_row("second") | wrong)

    result = sweep.sweep(now=NOW)

    assert (result.checked, result.resumed, result.unreadable) == (3, 2, {"second": fields})
    assert again(cloud) == ["first", "third"]
    with pytest.raises(SweepIncompleteError, match=r"{'UnreadableOrder': 1}") as caught:
        result.raise_for_failures()
    assert not leaks(result, caught.value)


def test_sweep_without_failures_succeeds(sweep: OrderSweep):
    sweep.sweep(now=NOW).raise_for_failures()


def test_every_page_of_open_orders_is_swept(cloud: Cloud, sweep: OrderSweep):
    for number in range(4):
        cloud.claim(f"order-{number}", ballast="x" * 390_000)  # DynamoDB's pages end at 1 MB

    assert sweep.sweep(now=NOW) == swept(checked=4, resumed=4)
    assert [params["IndexName"] for params in cloud.sent("Query")] == ["open-orders"] * 2


@pytest.mark.parametrize("at", [NOW, NOW.replace(microsecond=999_999)])
def test_sweep_counts_the_hour_from_its_own_timestamp(cloud: Cloud, sweep: OrderSweep, at: datetime):
    cloud.claim()

    assert [sweep.sweep(now=at + since).resumed for since in (timedelta(0), timedelta(0), HOUR)] == [1, 0, 1]
