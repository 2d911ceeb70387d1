"""Orders and ciphertexts in the table: closed once, all or nothing, and read back."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from giftcards.adapters import aws
from giftcards.adapters.order_table import (
    ORDER_ATTRIBUTES,
    CardsNotReadError,
    CardsTooLargeError,
    OrderNotOpenError,
    OrdersNotReadError,
    OrderTable,
    UnreadableOrder,
    UnreadableOrderError,
)
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.supplier import SettledOrder
from giftcards.rules.card_rows import grouped
from giftcards.rules.orders import Order, close, delivery_id_of, with_card_expiry
from support.cloud import Cloud, client_error
from support.examples import NOW, ORDER_ID, USER_ID
from support.supplier import order_data

CLAIMED = {"pk", "sk", "orderId", "userId", "status", "openStatus", "claimedAt", "executionArn"}
COUNTED = CLAIMED | {"quantity", "fulfilledQuantity", "fulfilledAmount", "pricePerCard", "checks"}
DELIVERED = COUNTED | {"deliveryId", "cardRows", "deliveredAt"}


@pytest.fixture
def orders(cloud: Cloud) -> OrderTable:
    return OrderTable(cloud.card_table, aws.dynamodb())


@pytest.fixture
def pauses() -> list[float]:
    return []


def ciphertexts(count: int, size: int = 16) -> dict[int, bytes]:
    """Return a ciphertext for each row of this number of cards."""
    firsts = [row.start + 1 for row in grouped([50] * count)]
    return {first: f"sealed-{first:04d}".encode().ljust(size) for first in firsts}


def read_cards(
    orders: OrderTable, order: Order | None = None, now: datetime = NOW, indexes: range = range(1, 10_000)
) -> dict[int, bytes]:
    return orders.get_ciphertexts(order_in(orders) if order is None else order, indexes, now=now)


def settled(count: int) -> SettledOrder:
    return SettledOrder.model_validate(order_data("FULFILLED", count) if count else order_data("REFUNDED"))


def close_with(
    orders: OrderTable,
    count: int,
    *,
    retention: timedelta | None = None,
    order_id: str = ORDER_ID,
    sealed: dict[int, bytes] | None = None,
) -> None:
    order = orders.get(order_id)
    assert order is not None
    closed = with_card_expiry(close(order, settled(count), NOW, checks=12), retention)
    orders.close(closed, ciphertexts(count) if sealed is None else sealed)


def order_in(orders: OrderTable, order_id: str = ORDER_ID) -> Order:
    order = orders.get(order_id)
    assert order is not None
    return order


# ------------------------------------------------------------------- reading


def test_claimed_order_is_read_as_the_workflow_wrote_it(cloud: Cloud, orders: OrderTable):
    cloud.claim(placedAt="2026-03-14T09:00:00.000Z", delayedAt="2026-03-14T09:10:00.000Z")

    order = orders.get(ORDER_ID)

    assert order is not None
    assert (order.order_id, order.user_id, order.status) == (ORDER_ID, USER_ID, OrderStatus.HANDLING)
    assert order.claimed_at == NOW - timedelta(seconds=60)
    assert (order.placed_at, order.delayed_at) == (NOW.replace(minute=0, second=0), NOW.replace(minute=10, second=0))


@pytest.mark.parametrize("placed_at", ["2026-03-14T09:00:00", "2026-13-99T99:99:99Z", "yesterday", 5])
def test_order_is_readable_with_any_placed_at(cloud: Cloud, orders: OrderTable, placed_at: Any):
    cloud.claim(placedAt=placed_at)

    order = orders.get(ORDER_ID)

    assert order is not None
    assert order.status is OrderStatus.HANDLING


def test_missing_order_is_none(orders: OrderTable):
    assert orders.get(ORDER_ID) is None


def test_unreadable_row_is_named_without_its_values(cloud: Cloud, orders: OrderTable):
    cloud.claim(claimedAt="yesterday", status="WONDERFUL")

    with pytest.raises(UnreadableOrderError) as caught:
        orders.get(ORDER_ID)

    assert caught.value.row == UnreadableOrder(ORDER_ID, ("claimedAt", "status"))
    assert str(caught.value).endswith("claimedAt, status")
    assert caught.value.__context__ is None


def test_order_is_read_as_it_is_now(cloud: Cloud, orders: OrderTable):
    orders.get(ORDER_ID)

    assert [params["ConsistentRead"] for params in cloud.sent("GetItem")] == [True]


# --------------------------------------------------------------- reading cards


@pytest.fixture
def conflict() -> Exception:
    """Return DynamoDB's error while a transaction writes one of the items."""
    code = "TransactionCanceledException"
    return aws.dynamodb().exceptions.TransactionCanceledException({"Error": {"Code": code}}, "TransactGetItems")


@pytest.mark.parametrize("count", [1, 100, 101, 2_500])  # moto allows 25 items, DynamoDB 100
def test_cards_are_read_in_one_transaction(cloud: Cloud, orders: OrderTable, count: int):
    cloud.claim()
    close_with(orders, count)
    order = order_in(orders)
    cloud.forget()

    assert read_cards(orders, order) == ciphertexts(count)
    assert [operation for operation, _ in cloud.calls] == ["TransactGetItems"]


@pytest.mark.parametrize(
    ("indexes", "firsts"),
    [
        (range(1, 201), [1, 101]),
        (range(201, 251), [201]),
        (range(100, 102), [1, 101]),
        (range(250, 251), [201]),
        (range(251, 251), []),
    ],
)
def test_only_rows_with_the_requested_cards_are_read(
    cloud: Cloud, orders: OrderTable, indexes: range, firsts: list[int]
):
    cloud.claim()
    close_with(orders, 250)

    assert list(read_cards(orders, indexes=indexes)) == firsts
    assert len(cloud.sent("TransactGetItems")) == (1 if firsts else 0)


def test_cards_being_written_are_read_when_stored(cloud: Cloud, pauses: list[float], conflict: Exception):
    orders = OrderTable(cloud.card_table, aws.dynamodb(), pause=pauses.append)
    cloud.claim()
    close_with(orders, 101)
    cloud.at_next("TransactGetItems", conflict, times=4)

    assert sorted(read_cards(orders)) == [1, 101]
    assert pauses == [0.1, 0.2, 0.4, 0.8]


def test_cards_that_are_written_for_too_long_are_not_read(cloud: Cloud, pauses: list[float], conflict: Exception):
    orders = OrderTable(cloud.card_table, aws.dynamodb(), pause=pauses.append)
    cloud.claim()
    close_with(orders, 2)
    cloud.at_next("TransactGetItems", conflict, times=5)

    with pytest.raises(CardsNotReadError):
        read_cards(orders)


def test_missing_or_expired_rows_stay_missing(cloud: Cloud, orders: OrderTable):
    cloud.claim()
    close_with(orders, 250, retention=timedelta(days=30))
    cloud.delete(cloud.card_table, cloud.card_rows()[1])

    assert sorted(read_cards(orders)) == [1, 201]
    assert read_cards(orders, now=NOW + timedelta(days=31)) == {}


@pytest.mark.parametrize(
    "row", [{}, {"ciphertext": None}, {"ciphertext": "text"}, {"ciphertext": b"x", "expiresAt": "soon"}]
)
def test_row_that_no_delivery_has_written_is_not_a_card_row(cloud: Cloud, orders: OrderTable, row: dict[str, Any]):
    cloud.claim()
    close_with(orders, 101)
    cloud.put(cloud.card_table, {"pk": f"ORDER#{ORDER_ID}", "sk": "CARDS#00101"} | row)

    assert sorted(read_cards(orders)) == [1]


# ------------------------------------------------------------- reading many


def test_batch_read_leaves_out_missing_orders(cloud: Cloud, orders: OrderTable):
    for number in range(150):
        cloud.claim(f"order-{number}")
    requested = [f"order-{number}" for number in range(0, 300, 2)]
    cloud.forget()

    found = orders.get_many(requested)

    assert sorted(found) == sorted(f"order-{number}" for number in range(0, 150, 2))
    assert all(isinstance(order, Order) and order.order_id == order_id for order_id, order in found.items())
    batches = [params["RequestItems"][cloud.card_table] for params in cloud.sent("BatchGetItem")]
    assert [len(batch["Keys"]) for batch in batches] == [100, 50]
    assert all(batch["ConsistentRead"] for batch in batches)
    assert [operation for operation, _ in cloud.calls] == ["BatchGetItem"] * 2


def test_no_order_is_read_for_no_ids(cloud: Cloud, orders: OrderTable):
    cloud.forget()

    assert orders.get_many([]) == {}
    assert cloud.calls == []


def test_order_with_a_repeated_id_is_read_once(cloud: Cloud, orders: OrderTable):
    cloud.claim()

    assert list(orders.get_many([ORDER_ID, ORDER_ID])) == [ORDER_ID]


def test_batch_read_has_whole_orders_and_no_cards(cloud: Cloud, orders: OrderTable):
    cloud.claim()
    close_with(orders, 2)
    orders.mark_published(order_in(orders), NOW)
    cloud.put(cloud.card_table, cloud.order_row() | {"ciphertext": b"misplaced"})
    cloud.forget()

    found = orders.get_many([ORDER_ID])

    assert found == {ORDER_ID: orders.get(ORDER_ID)}
    (params,) = cloud.sent("BatchGetItem")
    requested = params["RequestItems"][cloud.card_table]
    assert requested["Keys"] == [{"pk": f"ORDER#{ORDER_ID}", "sk": "ORDER"}]
    assert set(requested["ExpressionAttributeNames"].values()) == {"pk", *ORDER_ATTRIBUTES}
    assert "ciphertext" not in ORDER_ATTRIBUTES


def test_batch_read_names_the_fields_of_unreadable_rows(cloud: Cloud, orders: OrderTable):
    cloud.claim("wrong", claimedAt="yesterday", orderId="a b")
    cloud.claim("right")

    found = orders.get_many(["wrong", "right"])

    assert found["wrong"] == UnreadableOrder("wrong", ("claimedAt", "orderId"))
    assert isinstance(found["right"], Order)


def test_unprocessed_keys_are_read_again(cloud: Cloud, pauses: list[float]):
    orders = OrderTable(cloud.card_table, aws.dynamodb(), pause=pauses.append)
    for name in ("one", "two"):
        cloud.claim(name)
    keys = [{"pk": "ORDER#two", "sk": "ORDER"}]
    names = {"#pk": "pk", "#status": "status"}
    unprocessed = {
        cloud.card_table: {"Keys": keys, "ProjectionExpression": "#pk, #status", "ExpressionAttributeNames": names}
    }
    partial = {"Responses": {cloud.card_table: [cloud.order_row("one")]}, "UnprocessedKeys": unprocessed}
    cloud.at_next("BatchGetItem", partial)

    found = orders.get_many(["one", "two"])

    assert sorted(found) == ["one", "two"]
    assert [params["RequestItems"] for params in cloud.sent("BatchGetItem")][1] == unprocessed
    assert pauses == [0.1]


def test_persistently_unprocessed_keys_are_an_error(cloud: Cloud, pauses: list[float]):
    orders = OrderTable(cloud.card_table, aws.dynamodb(), pause=pauses.append)
    unprocessed = {cloud.card_table: {"Keys": [{"pk": "ORDER#two", "sk": "ORDER"}]}}
    cloud.at_next("BatchGetItem", {"Responses": {}, "UnprocessedKeys": unprocessed}, times=99)

    with pytest.raises(OrdersNotReadError, match="1 of 2 orders"):
        orders.get_many(["one", "two"])

    assert pauses == [0.1, 0.2, 0.4, 0.8]


# ------------------------------------------------------------------- closing


@pytest.mark.parametrize(("count", "items"), [(0, 1), (1, 2), (10, 2), (100, 2), (101, 3), (5_000, 51), (8_000, 81)])
def test_order_is_closed_in_one_transaction(cloud: Cloud, orders: OrderTable, count: int, items: int):
    cloud.claim()
    cloud.forget()

    close_with(orders, count)
    orders.mark_published(order_in(orders), NOW)

    assert [len(params["TransactItems"]) for params in cloud.sent("TransactWriteItems")] == [items]
    assert cloud.writes() == ["TransactWriteItems", "UpdateItem"]
    assert [row["ciphertext"].value for row in cloud.card_rows()] == [*ciphertexts(count).values()]


LARGEST = {1: b"x" * 390_000} | dict.fromkeys(range(2, 12), b"x" * 361_000)
"""Eleven rows, one card each: 4 MB."""


@pytest.mark.parametrize(
    "sealed",
    [LARGEST | {11: b"x" * 361_001}, dict.fromkeys(range(1, 101), b"x")],
    ids=["a byte too much", "a row too much"],
)
def test_cards_beyond_a_transaction_are_refused(cloud: Cloud, orders: OrderTable, sealed: dict[int, bytes]):
    cloud.claim()
    before = cloud.rows(cloud.card_table)
    cloud.forget()

    with pytest.raises(CardsTooLargeError, match=r"in (11|100) rows"):
        close_with(orders, 100, sealed=sealed)

    assert cloud.writes() == []
    assert cloud.rows(cloud.card_table) == before


def test_largest_order_is_closed(cloud: Cloud, orders: OrderTable):
    cloud.claim()

    close_with(orders, 11, sealed=LARGEST)

    assert read_cards(orders) == LARGEST


def test_delivered_order_has_the_attributes_of_the_design(cloud: Cloud, orders: OrderTable):
    cloud.claim()

    close_with(orders, 2)

    row = cloud.order_row()
    assert set(row) == DELIVERED
    assert (row["status"], row["quantity"], row["fulfilledQuantity"]) == ("FULFILLED", 2, 2)
    assert (row["fulfilledAmount"], row["pricePerCard"]) == (Decimal(981), Decimal("490.5"))
    assert (row["deliveryId"], row["deliveredAt"]) == (delivery_id_of(ORDER_ID), "2026-03-14T09:26:53.000Z")


def test_refunded_order_has_the_attributes_of_the_design(cloud: Cloud, orders: OrderTable):
    cloud.claim()

    close_with(orders, 0)

    row = cloud.order_row()
    assert set(row) == COUNTED | {"refundedAt"}
    assert (row["status"], row["fulfilledQuantity"]) == ("REFUNDED", 0)


def test_card_row_has_the_attributes_of_the_design(cloud: Cloud, orders: OrderTable):
    cloud.claim()

    close_with(orders, 212)

    rows = cloud.card_rows()
    assert [row["sk"] for row in rows] == ["CARDS#00001", "CARDS#00101", "CARDS#00201"]
    assert cloud.order_row()["cardRows"] == [1, 101, 201]
    assert {frozenset(row) for row in rows} == {frozenset({"pk", "sk", "ciphertext", "userId", "deliveredAt"})}
    assert {(row["userId"], row["deliveredAt"]) for row in rows} == {(USER_ID, "2026-03-14T09:26:53.000Z")}


def test_expired_cards_are_hidden_before_they_are_deleted(cloud: Cloud, orders: OrderTable):
    cloud.claim()
    close_with(orders, 2, retention=timedelta(days=30))

    before = read_cards(orders, now=NOW + timedelta(days=29))
    after = read_cards(orders, now=NOW + timedelta(days=30, seconds=1))

    assert (len(before), after) == (1, {})
    assert len(cloud.card_rows()) == 1


def test_cards_expire_and_the_order_keeps_the_time(cloud: Cloud, orders: OrderTable):
    cloud.claim()

    close_with(orders, 2, retention=timedelta(days=30))

    assert {row["expiresAt"] for row in cloud.card_rows()} == {int((NOW + timedelta(days=30)).timestamp())}
    assert "expiresAt" not in cloud.order_row()
    assert cloud.order_row()["cardsExpireAt"] == timestamp(NOW + timedelta(days=30))


@pytest.mark.parametrize("retention", [None, timedelta(days=30)])
def test_closed_order_is_read_as_it_was_closed(cloud: Cloud, orders: OrderTable, retention: timedelta | None):
    cloud.claim()
    order = orders.get(ORDER_ID)
    assert order is not None
    closed = with_card_expiry(close(order, settled(2), NOW, checks=12), retention)

    orders.close(closed, ciphertexts(2))

    assert orders.get(ORDER_ID) == closed.model_copy(update={"card_rows": (1,)}), (
        "rules/orders.py, CLOSING_FIELDS: list every field that close() sets, or the closing does not write it"
    )


# -------------------------------------------------------------- lost closings


def assert_not_open(cloud: Cloud, orders: OrderTable, order: Order, count: int) -> None:
    before = cloud.rows(cloud.card_table)
    with pytest.raises(OrderNotOpenError) as refusal:
        orders.close(order, {1: b"other"} if count else {})
    assert refusal.value.__cause__ is None
    assert cloud.rows(cloud.card_table) == before, "a refused closing changed something"


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_second_closing_changes_nothing(cloud: Cloud, orders: OrderTable, count: int):
    cloud.claim()
    close_with(orders, count)
    order = orders.get(ORDER_ID)
    assert order is not None

    assert_not_open(cloud, orders, order, count)


@pytest.mark.parametrize("count", [1, 3])
def test_held_order_is_not_closed(cloud: Cloud, orders: OrderTable, count: int):
    cloud.claim()
    order = orders.get(ORDER_ID)
    assert order is not None
    cloud.hold()

    assert_not_open(cloud, orders, close(order, settled(count), NOW, checks=12), count)


@pytest.mark.parametrize("count", [1, 3])
def test_order_of_another_user_is_not_closed(cloud: Cloud, orders: OrderTable, count: int):
    cloud.claim(user_id="another")
    order = orders.get(ORDER_ID)
    assert order is not None
    mine = close(order.model_copy(update={"user_id": USER_ID}), settled(count), NOW, checks=12)

    assert_not_open(cloud, orders, mine, count)


def test_order_that_was_never_claimed_is_not_closed(cloud: Cloud, orders: OrderTable):
    cloud.claim("another")
    order = orders.get("another")
    assert order is not None

    assert_not_open(
        cloud, orders, close(order.model_copy(update={"order_id": ORDER_ID}), settled(1), NOW, checks=12), 1
    )


@pytest.mark.parametrize("count", [0, 1, 250])
def test_closing_with_a_lost_answer_is_not_repeated(cloud: Cloud, orders: OrderTable, count: int):
    cloud.claim()
    order = order_in(orders)
    cloud.at_next("TransactWriteItems", client_error("TransactWriteItems"), carried_out=True)
    with pytest.raises(ClientError):
        close_with(orders, count)
    assert order_in(orders).status.is_final

    for others in (count, 150):
        assert_not_open(cloud, orders, close(order, settled(others), NOW, checks=12), others)
    assert read_cards(orders) == ciphertexts(count)


def test_closing_leaves_no_name_of_an_unfinished_attempt(cloud: Cloud, orders: OrderTable):
    cloud.claim(deliveryAttempt="of the previous release")

    close_with(orders, 2)

    assert set(cloud.order_row()) == DELIVERED


def test_transaction_conflict_is_raised_as_it_is(cloud: Cloud, orders: OrderTable):
    cloud.claim()
    canceled = aws.dynamodb().exceptions.TransactionCanceledException
    conflict: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": "m"},
        "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],
    }
    cloud.at_next("TransactWriteItems", canceled(conflict, "TransactWriteItems"))

    with pytest.raises(canceled):
        close_with(orders, 1)


# ------------------------------------------------------------ open and listed


def test_order_stays_in_the_open_index_until_published(cloud: Cloud, orders: OrderTable):
    cloud.claim()
    assert cloud.open_orders() == [ORDER_ID]

    close_with(orders, 2)
    assert cloud.open_orders() == [ORDER_ID]

    orders.mark_published(order_in(orders), NOW + timedelta(seconds=1))
    assert cloud.open_orders() == []
    row = cloud.order_row()
    assert set(row) == DELIVERED - {"openStatus"} | {"announcedAt"}
    assert row["announcedAt"] == "2026-03-14T09:26:54.000Z"


def test_held_order_is_among_the_open_ones(cloud: Cloud, orders: OrderTable):
    cloud.claim()
    cloud.hold()

    assert cloud.open_orders() == [ORDER_ID]
    assert [order.status for order in orders.list(status=OrderStatus.HELD)] == [OrderStatus.HELD]


@pytest.mark.parametrize("lost", [None, {}, {"status": "HELD"}])
def test_order_with_a_lost_row_is_not_marked_as_published(
    cloud: Cloud, orders: OrderTable, lost: dict[str, str] | None
):
    cloud.claim()
    close_with(orders, 0)
    closed = order_in(orders)
    cloud.delete(cloud.card_table, cloud.order_row())
    if lost is not None:
        cloud.claim(**lost)
    before = cloud.rows(cloud.card_table)

    with pytest.raises(ClientError):
        orders.mark_published(closed, NOW)

    assert cloud.rows(cloud.card_table) == before


@pytest.fixture
def several(cloud: Cloud, orders: OrderTable) -> None:
    """Write four orders of two users: open, held, delivered and published, delivered and unpublished."""
    for age, (order_id, user_id) in enumerate([("open", "u1"), ("held", "u1"), ("done", "u1"), ("untold", "u2")]):
        cloud.claim(order_id, user_id, claimed_at=NOW - timedelta(minutes=age))
    cloud.hold("held")
    for order_id in ("done", "untold"):
        close_with(orders, 2, order_id=order_id)
    orders.mark_published(order_in(orders, "done"), NOW)
    cloud.forget()


def listed(orders: OrderTable, **wanted: Any) -> list[str]:
    return [order.order_id for order in orders.list(**wanted)]


@pytest.mark.usefixtures("several")
def test_orders_of_a_user_are_listed_newest_first(cloud: Cloud, orders: OrderTable):
    assert listed(orders, user_id="u1") == ["open", "held", "done"]
    assert listed(orders, user_id="u2") == ["untold"]
    assert listed(orders, user_id="nobody") == []
    assert {params["IndexName"] for params in cloud.sent("Query")} == {"orders-by-user"}
    assert cloud.sent("Scan") == []


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(("status", "found"), [(OrderStatus.HANDLING, ["open"]), (OrderStatus.HELD, ["held"])])
def test_open_and_held_orders_are_listed_without_a_scan(
    cloud: Cloud, orders: OrderTable, status: OrderStatus, found: list[str]
):
    assert listed(orders, status=status) == found
    assert {params["IndexName"] for params in cloud.sent("Query")} == {"open-orders"}
    assert cloud.sent("Scan") == []


@pytest.mark.usefixtures("several")
def test_closed_orders_are_listed_by_scan(orders: OrderTable):
    assert sorted(listed(orders, status=OrderStatus.FULFILLED)) == ["done", "untold"]
    assert listed(orders, status=OrderStatus.REFUNDED) == []


@pytest.mark.usefixtures("several")
def test_orders_are_listed_by_user_and_status_together(orders: OrderTable):
    assert listed(orders, user_id="u1", status=OrderStatus.FULFILLED) == ["done"]
    assert listed(orders, user_id="u2", status=OrderStatus.HELD) == []


@pytest.mark.usefixtures("several")
def test_all_orders_are_listed_and_no_cards(orders: OrderTable):
    assert sorted(listed(orders)) == ["done", "held", "open", "untold"]


@pytest.mark.parametrize("wanted", [{}, {"user_id": "u1"}, {"status": OrderStatus.HELD}])
@pytest.mark.usefixtures("several")
def test_row_that_cannot_be_read_is_listed_with_the_others(cloud: Cloud, orders: OrderTable, wanted: dict[str, Any]):
    cloud.put(cloud.card_table, cloud.order_row("held") | {"heldReason": "WHIM", "quantity": "two"})

    found = list(orders.list(**wanted))

    assert UnreadableOrder("held", ("heldReason", "quantity")) in found
    assert len(found) == len(set(listed(orders, **wanted)))


@pytest.mark.usefixtures("several")
def test_open_and_recently_closed_orders_are_listed(cloud: Cloud, orders: OrderTable):
    def since(moment: datetime) -> list[str]:
        return sorted(row.order_id for row in orders.list_since(moment))

    cloud.claim("refunded")
    close_with(orders, 0, order_id="refunded")
    cloud.forget()

    assert since(NOW) == ["done", "held", "open", "refunded", "untold"]
    assert since(NOW + timedelta(milliseconds=1)) == ["held", "open"]
    (requested, _) = cloud.sent("Scan")
    assert set(requested["ExpressionAttributeNames"].values()) == {"pk", *ORDER_ATTRIBUTES}
    assert requested["ProjectionExpression"].count("#") == len(requested["ExpressionAttributeNames"])


@pytest.mark.parametrize("wanted", [{}, {"user_id": USER_ID}, {"status": OrderStatus.HANDLING}])
def test_lists_continue_after_their_first_page(cloud: Cloud, orders: OrderTable, wanted: dict[str, Any]):
    for number in range(4):
        cloud.claim(f"order-{number}", ballast="x" * 390_000)  # DynamoDB's pages end at 1 MB

    assert len(listed(orders, **wanted)) == 4


# ---------------------------------------------------------------- timestamps


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (NOW, "2026-03-14T09:26:53.000Z"),
        (NOW.replace(microsecond=999_999), "2026-03-14T09:26:53.999Z"),
        (NOW.astimezone(timezone(timedelta(hours=1))), "2026-03-14T09:26:53.000Z"),
    ],
)
def test_times_are_written_as_the_workflow_writes_them(at: datetime, text: str):
    assert timestamp(at) == text
