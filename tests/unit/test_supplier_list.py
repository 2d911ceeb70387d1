"""The supplier's list is read page by page, each order separately and without its cards."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from giftcards.adapters.oneclickdz.supplier import Supplier
from giftcards.contracts.statuses import SUPPLIER_STATUSES, OrderStatus
from giftcards.contracts.supplier import BrokenOrder, ListedOrder, OrderPage
from giftcards.rules.supplier_failure import FailureKind
from support.examples import NOW, ORDER_ID
from support.secrets import API_KEY, MARK, card_data, leaks
from support.supplier import BASE_URL, SupplierDouble, answered, order_data, page_data, refused

pytestmark = pytest.mark.usefixtures("no_leak")

FROM, TO = datetime(2026, 3, 13, tzinfo=UTC), NOW


def ask(supplier: SupplierDouble, answer: httpx.Response | Exception, page: int = 1) -> Any:
    supplier.will(answer)
    listed = Supplier(BASE_URL, supplier.client()).list_orders(page, FROM, TO, SecretStr(API_KEY))
    assert not leaks(repr(listed), str(listed)), "the result contains a card or the key"
    return listed


def items(supplier: SupplierDouble, *listed: Any) -> tuple[ListedOrder | BrokenOrder, ...]:
    page = ask(supplier, answered(page_data(*listed)))
    assert isinstance(page, OrderPage)
    assert not leaks(*(json.dumps(item.__dict__, default=str) for item in page.items))
    return page.items


# -------------------------------------------------------------- what is sent


def test_page_request_has_its_span_and_the_key_header(supplier: SupplierDouble):
    ask(supplier, answered(page_data(page=3)), page=3)

    (request,) = supplier.requests
    assert (request.method, request.url.path) == ("GET", "/v3/gift-cards/list")
    assert dict(request.url.params) == {
        "page": "3",
        "pageSize": "100",
        "from": "2026-03-13T00:00:00.000Z",
        "to": "2026-03-14T09:26:53.000Z",
    }
    assert request.headers["X-Access-Token"] == API_KEY


# -------------------------------------------------------------------- orders


@pytest.mark.parametrize("status", SUPPLIER_STATUSES)
def test_listed_order_is_read_in_every_status(supplier: SupplierDouble, status: OrderStatus):
    (order,) = items(supplier, order_data(status, 4))

    assert isinstance(order, ListedOrder)
    assert (order.order_id, order.status, order.quantity) == (ORDER_ID, status, 4)
    assert order.placed_at == datetime(2026, 3, 14, 9, 26, tzinfo=UTC)


def test_listed_order_has_counts_and_exact_amounts(supplier: SupplierDouble):
    (order,) = items(supplier, order_data("PARTIALLY_FILLED", 4, fulfilled_amount=981.1))

    assert isinstance(order, ListedOrder)
    assert (order.fulfilled_quantity, str(order.fulfilled_amount), str(order.price_per_card)) == (2, "981.1", "490.5")


def test_list_contains_no_cards(supplier: SupplierDouble):
    (order,) = items(supplier, order_data(cards=[MARK, {"value": MARK}, [MARK]], note=MARK))

    assert set(type(order).model_fields) == {
        "order_id",
        "status",
        "quantity",
        "placed_at",
        "fulfilled_quantity",
        "fulfilled_amount",
        "price_per_card",
    }
    assert order.model_extra is None


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"status": "LOST"}, ("status",)),
        ({"status": "HELD"}, ("status",)),  # this service's, not the supplier's
        ({"status": card_data(1)[0]["value"]}, ("status",)),
        ({"quantity": None}, ("quantity",)),
        ({"quantity": "two", "time": MARK}, ("quantity", "time")),
        ({"time": None}, ("time",)),
        ({"time": "2026-03-14T09:26:00"}, ("time",)),
        ({"fulfilled_quantity": 1}, ("fulfilled_quantity", "status")),
        ({"fulfilled_quantity": "all"}, ("fulfilled_quantity",)),
        ({"status": "PARTIALLY_FILLED", "fulfilled_quantity": None}, ("fulfilled_quantity", "status")),
    ],
)
def test_broken_order_is_named_by_its_id_and_fields(
    supplier: SupplierDouble, changes: dict[str, Any], fields: tuple[str, ...]
):
    data = {name: value for name, value in (order_data() | changes).items() if value is not None}

    assert items(supplier, data) == (BrokenOrder(ORDER_ID, fields),)


@pytest.mark.parametrize(
    "changes",
    [
        {"fulfilled_quantity": None},
        {"fulfilled_amount": None},
        {"fulfilled_amount": -1},
        {"fulfilled_amount": "490 DZD"},
        {"price_per_card": card_data(1)},
        {"fulfilled_quantity": "2", "quantity": 2.0, "status": "fulfilled"},
    ],
)
def test_irregular_order_of_the_list_is_read(supplier: SupplierDouble, changes: dict[str, Any]):
    data = {name: value for name, value in (order_data() | changes).items() if value is not None}

    (order,) = items(supplier, data)

    assert isinstance(order, ListedOrder)
    assert (order.order_id, order.status, order.quantity, order.cards_due) == (ORDER_ID, "FULFILLED", 2, 2)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_page_behind_a_byte_order_mark_is_read(supplier: SupplierDouble, encoding: str):
    body = answered(page_data(order_data())).content.decode().encode(encoding)

    assert isinstance(ask(supplier, httpx.Response(200, content=body)), OrderPage)


@pytest.mark.parametrize("order_id", [None, 5.5, "", "a b", "ä", "x" * 129, card_data(1)[0]["value"], card_data(1)])
def test_broken_order_may_have_no_readable_id(supplier: SupplierDouble, order_id: Any):
    assert items(supplier, order_data(_id=order_id)) == (BrokenOrder(None, ("_id",)),)


@pytest.mark.parametrize("item", [None, 5, card_data(1)[0]["value"], card_data(2)])
def test_listed_item_that_is_no_object_is_a_broken_order(supplier: SupplierDouble, item: Any):
    assert items(supplier, item) == (BrokenOrder(None, ()),)


def test_broken_order_does_not_hide_the_others(supplier: SupplierDouble):
    listed = items(supplier, order_data(_id="one"), order_data(_id="two", quantity=-1), MARK, order_data(_id="four"))

    assert [item.order_id for item in listed] == ["one", "two", None, "four"]
    assert [isinstance(item, ListedOrder) for item in listed] == [True, False, False, True]


@pytest.mark.parametrize("text", [b"\xff", b"\\ud800", b"\t", b"\x00"], ids=["no utf-8", "half a pair", "tab", "null"])
def test_order_with_invalid_json_text_hides_no_other(supplier: SupplierDouble, text: bytes):
    page = answered(page_data(order_data(_id="one"), order_data(_id="two", note="here"), order_data(_id="three")))

    read = ask(supplier, httpx.Response(200, content=page.content.replace(b"here", text)))

    assert isinstance(read, OrderPage)
    assert [item.order_id for item in read.items] == ["one", "two", "three"]


# -------------------------------------------------------------------- pages


@pytest.mark.parametrize(
    "data",
    [
        page_data(),
        page_data(pages=0),
        page_data(order_data(), page_size=1, pages=3, results=3),
        page_data(order_data(), order_data(), page_size=50),
    ],
)
def test_consistent_page_is_read(supplier: SupplierDouble, data: Any):
    assert isinstance(ask(supplier, answered(data)), OrderPage)


def test_page_after_the_last_is_empty(supplier: SupplierDouble):
    assert ask(supplier, answered(page_data(page=2, results=40)), page=2).items == ()


def without(name: str) -> dict[str, Any]:
    data = page_data(order_data())
    return data | {"pagination": {key: value for key, value in data["pagination"].items() if key != name}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"items": [order_data()]}, "data.pagination"),
        ({"pagination": page_data()["pagination"]}, "data.items"),
        ({"items": card_data(1)[0], "pagination": page_data()["pagination"]}, "data.items"),
        ([order_data()], "data"),
        (without("page"), "data.pagination.page"),
        (without("totalPages"), "data.pagination.totalPages"),
        (without("totalResults"), "data.pagination.totalResults"),
        (without("pageSize"), "data.pagination.pageSize"),
        (page_data(order_data(), pages="one"), "data.pagination.totalPages"),
        (page_data(order_data(), results=250), "totalPages .* totalResults"),
        (page_data(order_data(), pages=2), "totalPages .* totalResults"),
        (page_data(order_data(), results=2), "items .* pagination"),
        (page_data(order_data(), pages=2, results=150), "items .* pagination"),
        (page_data(order_data(), order_data(), results=1), "items .* pagination"),
    ],
)
def test_page_that_could_miss_orders_breaks_the_contract(supplier: SupplierDouble, data: Any, message: str):
    failure = ask(supplier, answered(data))

    assert failure.kind is FailureKind.CONTRACT_BROKEN
    assert re.search(message, failure.message)


def test_page_other_than_requested_breaks_the_contract(supplier: SupplierDouble):
    failure = ask(supplier, answered(page_data(order_data(), results=1)), page=2)

    assert failure.kind is FailureKind.CONTRACT_BROKEN
    assert "pagination.page" in failure.message


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(401, "INVALID_ACCESS_TOKEN"), FailureKind.KEY_REFUSED),
        (refused(403, "IP_BLOCKED"), FailureKind.ADDRESS_BLOCKED),
        (refused(429, "RATE_LIMIT_EXCEEDED"), FailureKind.RATE_LIMITED),
        (refused(500, "INTERNAL_ERROR"), FailureKind.BUSY),
        (httpx.Response(200, html=API_KEY), FailureKind.BUSY),
        (httpx.Response(200, content=answered(page_data(order_data())).content[:-20]), FailureKind.BUSY),
        (httpx.ReadTimeout(f"{card_data(1)}"), FailureKind.BUSY),
    ],
)
def test_failure_of_the_list_means_the_same_as_of_an_order(
    supplier: SupplierDouble, answer: httpx.Response | Exception, kind: FailureKind
):
    assert ask(supplier, answer).kind is kind
