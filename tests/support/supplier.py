"""A double of the supplier, and the responses that it gives."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
from pydantic import SecretStr

from giftcards.adapters.api_key import ApiKey
from giftcards.adapters.oneclickdz.supplier import new_client
from support.examples import ORDER_ID
from support.secrets import API_KEY, card_data

BASE_URL = "https://supplier.test"


def order_data(status: str = "FULFILLED", quantity: int = 2, **changes: Any) -> dict[str, Any]:
    """Return an order as the supplier answers it. A change to None leaves the field out."""
    data: dict[str, Any] = {
        "_id": ORDER_ID,
        "status": status,
        "quantity": quantity,
        "product": "507f1f77bcf86cd799439011",
        "type": "type_001",
        "time": "2026-03-14T09:26:00.000Z",
    }
    delivered = {"FULFILLED": quantity, "PARTIALLY_FILLED": quantity // 2, "REFUNDED": 0}.get(status)
    if delivered is not None:
        data |= {"fulfilled_quantity": delivered, "fulfilled_amount": delivered * 490.5, "price_per_card": 490.5}
        data |= {"cards": card_data(delivered)}
    return {name: value for name, value in (data | changes).items() if value is not None}


def page_data(
    *items: Any, page: int = 1, page_size: int = 100, pages: int = 1, results: int | None = None
) -> dict[str, Any]:
    """Return a page of orders as the supplier lists them; the only page by default."""
    numbers = {"page": page, "pageSize": page_size, "totalPages": pages}
    return {"items": list(items), "pagination": {**numbers, "totalResults": len(items) if results is None else results}}


def answered(data: Any = None, **envelope: Any) -> httpx.Response:
    body = {"success": True, "data": order_data() if data is None else data} | envelope
    return httpx.Response(200, content=json.dumps(body))


def refused(status: int, code: str, **headers: str) -> httpx.Response:
    """Return a response in the error envelope, with the key and a card in its texts and details."""
    error = {"code": code, "message": f"{API_KEY} {card_data(1)}", "details": {"attemptsLeft": 4, "key": API_KEY}}
    body = {"success": False, "error": error, "requestId": "req_1"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=named)


@cache
def _client() -> httpx.AsyncClient:
    return new_client()  # 40 ms, for the certificates


class SupplierDouble:
    """Returns the given responses, each once, and records the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: list[httpx.Response | Exception] = []

    def will(self, *answers: httpx.Response | Exception) -> None:
        """Add responses, or errors to raise."""
        self._answers.extend(answers)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        assert self._answers, "more calls of the supplier than responses"
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self) -> httpx.AsyncClient:
        """Return the functions' client with this double instead of a network."""
        real = _client()
        return httpx.AsyncClient(
            transport=httpx.MockTransport(self._handle),
            timeout=real.timeout,
            headers=real.headers,
            follow_redirects=real.follow_redirects,
        )


@dataclass
class KeyRing:
    """The secret with the supplier's key."""

    value: str | None = API_KEY
    version: str | None = "version-1"

    def read(self, **_: object) -> ApiKey:
        return ApiKey(None if self.value is None else SecretStr(self.value), self.version)

    def rotate(self, version: str, value: str = API_KEY) -> None:
        self.value, self.version = value, version


class Meanwhile:
    """A supplier whose answers come from callables, in which other things can happen during a call."""

    def __init__(self, *calls: Callable[[], Any]) -> None:
        self.presented: list[str] = []
        self._calls = iter(calls)

    def check_order(self, _order_id: str, api_key: SecretStr, _view: type[Any]) -> Any:
        self.presented.append(api_key.get_secret_value())
        return next(self._calls)()
