"""Calls of the supplier's adapter, without a gate."""

from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from giftcards.adapters.oneclickdz.supplier import (
    Supplier,
)
from giftcards.contracts.supplier import OrderProgress, SettledOrder
from giftcards.rules.supplier_failure import FailureKind
from support.examples import ORDER_ID
from support.secrets import API_KEY, card_data, leaks
from support.supplier import BASE_URL, SupplierDouble

HTML = f"<html><title>502 Bad Gateway</title>{API_KEY}</html>"
each_view = pytest.mark.parametrize("view", [OrderProgress, SettledOrder])


def ask(
    supplier: SupplierDouble, view: type[Any] = SettledOrder, order_id: str = ORDER_ID, base_url: str = BASE_URL
) -> Any:
    return Supplier(base_url, supplier.client()).check_order(order_id, SecretStr(API_KEY), view)


def ask_and_get(supplier: SupplierDouble, answer: httpx.Response | Exception, view: type[Any] = SettledOrder) -> Any:
    supplier.will(answer)
    result = ask(supplier, view)
    assert not leaks(repr(result), str(result)), "the result shows a card or the key"
    return result


BUSY, KEY_REFUSED, REFUSED = FailureKind.BUSY, FailureKind.KEY_REFUSED, FailureKind.ORDER_REFUSED
FIRST, SECOND = card_data(2)
