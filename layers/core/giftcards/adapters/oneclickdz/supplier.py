"""The supplier's HTTP API, and what its answers mean (https://docs.oneclickdz.com/en/error-handling)."""

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError

from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.base import invalid_fields
from giftcards.contracts.supplier import OrderPage, OrderProgress, StatusPage
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure, names_access
from giftcards.rules.supplier_values import text_of

USER_AGENT = "giftcards/1 (+gift-card fulfilment)"
CONNECT_TIMEOUT_SECONDS = 3.0
READ_TIMEOUT_SECONDS = 5.0
TOTAL_TIMEOUT_SECONDS = 15.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""An order of 5,000 cards is about 0.5 MB. A parsed answer of only numbers takes 70 times its size, and a function has
512 MB."""
MAX_RETRY_AFTER_SECONDS = 30 * 86_400.0
"""A longer wait is a mistake, such as a date in seconds, and is ignored."""
MAX_NAMED_FIELDS = 10
"""Limit for a message, which goes into the row and into the workflow's state (256 KB)."""
PAGE_SIZE = 100
"""The maximum (https://docs.oneclickdz.com/en/api-reference/gift-cards/list-orders)."""

View = TypeVar("View", bound=OrderProgress)
Data = TypeVar("Data", bound=BaseModel)


def _as_success(value: Any) -> Any:
    """Parse ``success``. If it is missing, data without an error means true."""
    return True if value is None else _truth(value)


def _truth(value: Any) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())


class _Answered(BaseModel, Generic[Data]):
    model_config = ConfigDict(defer_build=True, hide_input_in_errors=True)

    success: Annotated[Literal[True], BeforeValidator(_as_success)] = True
    data: Data


class _AnswerTooLargeError(Exception):
    """The answer exceeds ``MAX_ANSWER_BYTES``."""


@dataclass(frozen=True)
class _HttpAnswer:
    status: int
    headers: httpx.Headers
    body: bytes


def new_client() -> httpx.AsyncClient:
    """Build the HTTP client of a container: with timeouts, without redirects, which would forward the key."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(READ_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
        headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        follow_redirects=False,
    )


class Supplier:
    """The supplier's API.

    Parameters
    ----------
    base_url
        Scheme and host, without the path of the API.
    total_seconds
        Timeout of a whole call, from the DNS lookup to the last byte of the body.
    """

    def __init__(
        self, base_url: str, client: httpx.AsyncClient, *, total_seconds: float = TOTAL_TIMEOUT_SECONDS
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._client = client
        self._total_seconds = total_seconds
        self._runner = asyncio.Runner()

    def check_order(self, order_id: str, api_key: SecretStr, view: type[View]) -> View | SupplierFailure:
        """Get an order (https://docs.oneclickdz.com/en/api-reference/gift-cards/check-order).

        Parameters
        ----------
        view
            ``OrderProgress`` to parse no cards, ``SettledOrder`` to parse them.

        Returns
        -------
        The order as this view, or a failure. No fault of the supplier or the network raises, and no message has text of
        the answer except the error code.
        """
        if order_id in {".", ".."}:  # clients remove such a path segment
            return SupplierFailure(FailureKind.ORDER_UNKNOWN, "The order id cannot be part of a URL.")
        answer = self._get(f"/v3/gift-cards/checkOrder/{quote(order_id, safe='')}", api_key)
        if isinstance(answer, SupplierFailure):
            return answer
        order = interpret(answer.status, answer.headers, answer.body, view)
        if not isinstance(order, SupplierFailure) and order.order_id != order_id:
            return SupplierFailure(FailureKind.CONTRACT_BROKEN, "The supplier returned another order (_id).")
        return order

    def list_orders(
        self, page: int, placed_from: datetime, placed_to: datetime, api_key: SecretStr
    ) -> OrderPage | SupplierFailure:
        """Get a page of the orders that were placed in a period, newest first, without their cards.

        https://docs.oneclickdz.com/en/api-reference/gift-cards/list-orders

        Parameters
        ----------
        page
            From 1.
        placed_from, placed_to
            The period. The documentation does not say whether it includes its ends.
        """
        span = {"from": timestamp(placed_from), "to": timestamp(placed_to)}
        query = urlencode({"page": page, "pageSize": PAGE_SIZE} | span)
        answer = self._get(f"/v3/gift-cards/list?{query}", api_key)
        if isinstance(answer, SupplierFailure):
            return answer
        listed = interpret(answer.status, answer.headers, answer.body, OrderPage)
        if not isinstance(listed, SupplierFailure) and listed.pagination.page != page:
            return SupplierFailure(FailureKind.CONTRACT_BROKEN, "The supplier returned another page (pagination.page).")
        return listed

    def list_statuses(self, placed_from: datetime, api_key: SecretStr) -> StatusPage | SupplierFailure:
        """Get the statuses of the newest orders, at most ``PAGE_SIZE``, that were placed since this time."""
        query = urlencode({"page": 1, "pageSize": PAGE_SIZE, "from": timestamp(placed_from)})
        answer = self._get(f"/v3/gift-cards/list?{query}", api_key)
        if isinstance(answer, SupplierFailure):
            return answer
        return interpret(answer.status, answer.headers, answer.body, StatusPage)

    def _get(self, path: str, api_key: SecretStr) -> _HttpAnswer | SupplierFailure:
        """Make one call within the limits of size and time.

        httpx's read timeout starts again with each chunk, so a supplier that sends byte by byte would never time out.
        An asyncio task can be cancelled anywhere.
        """
        try:
            return self._runner.run(self._fetch(path, api_key))
        except TimeoutError:
            message = f"The supplier's answer took longer than {self._total_seconds:g} seconds."
        except _AnswerTooLargeError:
            message = f"The supplier's answer is larger than {MAX_ANSWER_BYTES} bytes."
        except httpx.HTTPError as error:
            message = f"The supplier cannot be reached ({type(error).__name__})."
        return SupplierFailure(FailureKind.BUSY, message)

    async def _fetch(self, path: str, api_key: SecretStr) -> _HttpAnswer:
        headers, response, body = {"X-Access-Token": api_key.get_secret_value()}, None, bytearray()
        try:
            async with (
                asyncio.timeout(self._total_seconds),
                self._client.stream("GET", self._base_url + path, headers=headers) as response,
            ):
                await _read(response, body)
        except (TimeoutError, httpx.HTTPError, _AnswerTooLargeError):
            # The status alone can refuse the key, which must not be presented again because the body is missing.
            if response is None or response.is_success:
                raise
        return _HttpAnswer(response.status_code, response.headers, bytes(body))


async def _read(response: httpx.Response, body: bytearray) -> None:
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise _AnswerTooLargeError


def interpret(status: int, headers: httpx.Headers, body: bytes, view: type[Data]) -> Data | SupplierFailure:
    """Return what an HTTP answer means (https://docs.oneclickdz.com/en/error-handling).

    No answer raises: a caller that fails after its call counts as lost, and a few lost calls block all orders.
    """
    try:
        return _interpret(status, headers, body, view)
    except Exception as error:  # noqa: BLE001 - no answer about one order may stop the others
        message = f"The supplier's answer ({status}) cannot be read ({type(error).__name__})."
        return SupplierFailure(FailureKind.CONTRACT_BROKEN, message, status=status)


def _interpret(status: int, headers: httpx.Headers, body: bytes, view: type[Data]) -> Data | SupplierFailure:
    try:
        document = read_json(body)
    except ValueError:
        if status in _ANSWER_STATUSES:
            return SupplierFailure(FailureKind.BUSY, f"The supplier answered {status} with something that is not JSON.")
        document = None
    code = _error_code(document)
    if status not in _ANSWER_STATUSES or code not in {None, _UNREADABLE_CODE}:
        return _refusal(status, headers, code)
    try:
        return _answered(view).model_validate(document).data
    except ValidationError as error:
        return _broken_contract(error)


_ANSWER_STATUSES = range(200, 204)
"""200, and what a proxy can turn it into (https://www.rfc-editor.org/rfc/rfc9110#section-15.3); 204 has no body."""


def read_json(body: bytes) -> Any:
    """Parse JSON as liberally as its content stays unambiguous.

    A byte order mark is ignored (https://www.rfc-editor.org/rfc/rfc8259#section-8.1), UTF-16 and UTF-32 are detected by
    their zeros, and control characters in a text are kept. Invalid UTF-8 becomes lone surrogates, which no important
    field accepts. Numbers keep their digits.

    Raises
    ------
    ValueError
        If it is not JSON. The message can quote the body.
    """
    text = body.decode(json.detect_encoding(body), "surrogateescape").lstrip("\ufeff")
    try:
        return json.loads(text, strict=False, parse_float=_number, parse_int=_number, parse_constant=_number)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent that is too large
        return text


def _answered(view: type[Data]) -> type[_Answered[Data]]:
    return _Answered[view]  # type: ignore[valid-type]


def _broken_contract(error: ValidationError) -> SupplierFailure:
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    paths = invalid_fields(error) or ("answer",)
    more = f" and {len(paths) - MAX_NAMED_FIELDS} more" if len(paths) > MAX_NAMED_FIELDS else ""
    fields = ", ".join(paths[:MAX_NAMED_FIELDS]) + more
    reasons = ", ".join(
        sorted(
            {problem["msg"].removeprefix("Value error, ") for problem in problems if problem["type"] == "value_error"}
        )
    )
    return SupplierFailure(
        FailureKind.CONTRACT_BROKEN,
        f"The supplier's answer contradicts its documentation: {fields}{f' ({reasons})' if reasons else ''}.",
    )


def _refusal(status: int, headers: httpx.Headers, code: str | None) -> SupplierFailure:
    return SupplierFailure(
        _kind(status, code),
        f"The supplier answered {status} {code or 'without its envelope'}.",
        retry_after_seconds(headers.get("Retry-After"), datetime.now(UTC)),
        code,
        status,
    )


_KINDS_BY_CODE = {
    "AUTH_UNAVAILABLE": FailureKind.BUSY,  # the key was not checked, so it was not refused
    "INTERNAL_ERROR": FailureKind.BUSY,
    "INTERNAL_SERVER_ERROR": FailureKind.BUSY,
    "SERVICE_UNAVAILABLE": FailureKind.BUSY,
    "MISSING_ACCESS_TOKEN": FailureKind.KEY_REFUSED,
    "INVALID_ACCESS_TOKEN": FailureKind.KEY_REFUSED,
    "ERR_AUTH": FailureKind.KEY_REFUSED,
    "IP_BLOCKED": FailureKind.ADDRESS_BLOCKED,
    "IP_NOT_ALLOWED": FailureKind.ACCESS_DENIED,
    "API_DISABLED": FailureKind.ACCESS_DENIED,
    "RATE_LIMIT_EXCEEDED": FailureKind.RATE_LIMITED,
    "NOT_FOUND": FailureKind.ORDER_UNKNOWN,
    "ERR_VALIDATION": FailureKind.ORDER_REJECTED,
    "NO_BALANCE": FailureKind.ORDER_REFUSED,  # these three concern placing orders
    "INSUFFICIENT_BALANCE": FailureKind.ORDER_REFUSED,
    "DUPLICATED_REF": FailureKind.ORDER_REFUSED,
}
"""The documented codes (https://docs.oneclickdz.com/en/error-handling). They count with any status: gateways send them
with 200 or 400."""
_KINDS_BY_STATUS = {
    401: FailureKind.KEY_REFUSED,
    404: FailureKind.ORDER_UNKNOWN,
    408: FailureKind.BUSY,  # 408 and 425 ask for a retry (RFC 9110 section 15.5.9, RFC 8470 section 5.2)
    425: FailureKind.BUSY,
    429: FailureKind.RATE_LIMITED,
}
"""For undocumented codes."""


def _kind(status: int, code: str | None) -> FailureKind:
    if code is None:  # from a proxy, a wrong URL or during a deployment
        return FailureKind.RATE_LIMITED if status == httpx.codes.TOO_MANY_REQUESTS else FailureKind.BUSY
    kind = _KINDS_BY_CODE.get(code) or _KINDS_BY_STATUS.get(status)
    if kind is not None:
        return kind
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return FailureKind.BUSY
    is_bad_request = status == httpx.codes.BAD_REQUEST and not names_access(code)
    return FailureKind.ORDER_REJECTED if is_bad_request else FailureKind.ORDER_REFUSED


_DOCUMENTED_CODES = {code.replace("_", ""): code for code in _KINDS_BY_CODE}
_UNREADABLE_CODE = "UNREADABLE_CODE"
_MAX_CODE_LENGTH = 48
_CODE = re.compile(r"(?:[A-Z]{1,15}_)*(?:[A-Z]{1,15}|[0-9]{1,4})")
_GROUPS_OF_A_CARD = 3


def _error_code(document: Any) -> str | None:
    """Return the error code of an error envelope, or None if it is no such envelope.

    ``success`` distinguishes the envelope from answers of a router or a proxy. If it is missing, only a code in words
    does: a router's ``error`` is a text, and a proxy's code is a number.
    """
    if not isinstance(document, dict):
        return None
    success, error = document.get("success"), document.get("error")
    code = error.get("code") if isinstance(error, dict) else error or document.get("code")
    if _truth(success) is False:
        return normalized_code(text_of(code))
    return normalized_code(code) if success is None and isinstance(error, dict) and isinstance(code, str) else None


def normalized_code(code: Any) -> str:
    """Return an error code in the documented spelling, from any case and separators.

    A code is shown to people and stored in rows, and a faulty supplier could put anything here, even a card. So a code
    may only have words and at most one short number, and not groups of equal length, as cards have.
    """
    if not isinstance(code, str):
        return _UNREADABLE_CODE
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[ _.:/-]+", "_", code.strip()).strip("_").upper()
    documented = _DOCUMENTED_CODES.get(words.replace("_", ""))
    if documented is not None:
        return documented
    last = [len(word) for word in words.split("_")][-_GROUPS_OF_A_CARD:]
    looks_like_a_card = len(last) == _GROUPS_OF_A_CARD and len(set(last)) == 1
    is_code = len(words) <= _MAX_CODE_LENGTH and _CODE.fullmatch(words) and not looks_like_a_card
    return words if is_code else _UNREADABLE_CODE


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Parse a Retry-After header (RFC 9110: seconds or a date); None if it is missing or not plausible."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value).astimezone(UTC) - now).total_seconds()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if seconds <= MAX_RETRY_AFTER_SECONDS else None
