"""What is sent to the supplier for an order."""

from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from giftcards.adapters.oneclickdz.supplier import (
    new_client,
)
from giftcards.contracts.supplier import SettledOrder
from giftcards.rules.supplier_failure import FailureKind
from support.examples import ORDER_ID
from support.secrets import API_KEY
from support.supplier import BASE_URL, SupplierDouble, answered, order_data, refused
from support.supplier_calls import ask, ask_and_get

pytestmark = pytest.mark.usefixtures("no_leak")

visible_ascii = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)


@pytest.mark.parametrize("base_url", [BASE_URL, f"{BASE_URL}/"])
def test_order_request_has_its_path_and_the_key_header(supplier: SupplierDouble, base_url: str):
    supplier.will(answered())

    ask(supplier, base_url=base_url)

    (request,) = supplier.requests
    assert (request.method, str(request.url)) == ("GET", f"{BASE_URL}/v3/gift-cards/checkOrder/{ORDER_ID}")
    assert request.headers["X-Access-Token"] == API_KEY
    assert "Authorization" not in request.headers
    assert request.headers["User-Agent"].startswith("giftcards/")
    assert request.content == b""


def test_call_has_connect_read_write_and_pool_timeouts(supplier: SupplierDouble):
    supplier.will(answered())

    ask(supplier)

    limits = supplier.requests[0].extensions["timeout"]
    assert set(limits) == {"connect", "read", "write", "pool"}
    assert all(limit is not None and 0 < limit <= 10 for limit in limits.values())
    assert limits["connect"] < limits["read"]
    assert new_client().timeout.as_dict() == limits


def test_redirect_is_not_followed(supplier: SupplierDouble):
    elsewhere = httpx.Response(302, headers={"Location": "https://elsewhere.test/"})

    assert ask_and_get(supplier, elsewhere).kind is FailureKind.BUSY
    assert len(supplier.requests) == 1


@pytest.mark.parametrize(
    "order_id", ["a/b", "../validate", "a?b=c", "a#b", "a%2Fb", "%2e%2e", "..;", "a\\b", "...", "~"]
)
def test_any_order_id_is_one_segment_of_the_path(supplier: SupplierDouble, order_id: str):
    supplier.will(answered(order_data(_id=order_id)))

    assert isinstance(ask(supplier, order_id=order_id), SettledOrder)

    prefix, _, segment = supplier.requests[0].url.raw_path.decode().rpartition("/")
    assert prefix == "/v3/gift-cards/checkOrder"
    assert unquote(segment) == order_id
    assert not set(segment) & set("?#\\")


@given(order_id=visible_ascii)
def test_no_order_id_reaches_another_route(order_id: str):
    supplier = SupplierDouble()
    supplier.will(refused(404, "NOT_FOUND"))

    assert ask(supplier, order_id=order_id).kind is FailureKind.ORDER_UNKNOWN

    for request in supplier.requests:
        prefix, _, segment = request.url.raw_path.decode().rpartition("/")
        assert (request.url.host, prefix, unquote(segment)) == ("supplier.test", "/v3/gift-cards/checkOrder", order_id)


@pytest.mark.parametrize("order_id", [".", ".."])
def test_order_id_that_cannot_be_a_segment_of_a_path_is_not_sent(supplier: SupplierDouble, order_id: str):
    assert ask(supplier, order_id=order_id).kind is FailureKind.ORDER_UNKNOWN
    assert supplier.requests == []
