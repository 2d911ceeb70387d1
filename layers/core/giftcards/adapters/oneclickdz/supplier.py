"""The supplier's API over HTTP, and the one table from its answers to what they mean."""

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
from giftcards.contracts.supplier import OrderPage, OrderProgress
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure, names_access
from giftcards.rules.supplier_values import text_of

USER_AGENT = "giftcards/1 (+gift-card fulfilment)"
CONNECT_TIMEOUT_SECONDS = 3.0
READ_TIMEOUT_SECONDS = 5.0
TOTAL_TIMEOUT_SECONDS = 15.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""An order of 5,000 cards is about 0.5 MB. Parsed, an answer of nothing but numbers takes 70 times its bytes, and a
function has 512 MB."""
MAX_RETRY_AFTER_SECONDS = 30 * 86_400.0
"""More is no time to wait but a mistake, such as a date given in seconds, and is not believed."""
MAX_NAMED_FIELDS = 10
"""A message names so many fields at most: it goes into the workflow's state, which holds 256 KB, and into the row."""
PAGE_SIZE = 100
"""The most that the supplier gives on one page (supplier's documents)."""

View = TypeVar("View", bound=OrderProgress)
Data = TypeVar("Data", bound=BaseModel)


def _as_success(value: Any) -> Any:
    """Read ``success``. Where the data is there and no error is, leaving it out means the same."""
    return True if value is None else _truth(value)


def _truth(value: Any) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())


class _Answered(BaseModel, Generic[Data]):
    model_config = ConfigDict(hide_input_in_errors=True)

    success: Annotated[Literal[True], BeforeValidator(_as_success)] = True
    data: Data


class _AnswerTooLargeError(Exception):
    """The answer has more bytes than any answer of the supplier."""


@dataclass(frozen=True)
class _HttpAnswer:
    status: int
    headers: httpx.Headers
    body: bytes


def new_client() -> httpx.AsyncClient:
    """Build the HTTP client that a container keeps: explicit time limits, no redirects (they would carry the key)."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(READ_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
        headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        follow_redirects=False,
    )


class Supplier:
    """The supplier's routes.

    Parameters
    ----------
    base_url
        Scheme and host, with no trailing path of the API itself.
    client
        Reused for all calls of a container.
    total_seconds
        Time limit of one whole call, from looking the host up to the last byte of the body.
    """

    def __init__(
        self, base_url: str, client: httpx.AsyncClient, *, total_seconds: float = TOTAL_TIMEOUT_SECONDS
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._client = client
        self._total_seconds = total_seconds
        self._runner = asyncio.Runner()

    def check_order(self, order_id: str, api_key: SecretStr, view: type[View]) -> View | SupplierFailure:
        """Ask for an order.

        Parameters
        ----------
        order_id
            The supplier's order id; any visible ASCII.
        api_key
            Presented in ``X-Access-Token``.
        view
            ``OrderProgress`` to leave the cards alone, ``SettledOrder`` to take them.

        Returns
        -------
        The order as that view, or the trouble that stood in the way. Nothing is raised for what a
        supplier or a network can do, and no message holds text of the answer but the error code.
        """
        if order_id in {".", ".."}:  # no server sees such a path segment
            return SupplierFailure(FailureKind.ORDER_UNKNOWN, "The order id cannot be asked for at the supplier.")
        answer = self._get(f"/v3/gift-cards/checkOrder/{quote(order_id, safe='')}", api_key)
        if isinstance(answer, SupplierFailure):
            return answer
        order = interpret(answer.status, answer.headers, answer.body, view)
        if not isinstance(order, SupplierFailure) and order.order_id != order_id:
            return SupplierFailure(FailureKind.CONTRACT_BROKEN, "The supplier answered with another order (_id).")
        return order

    def list_orders(
        self, page: int, placed_from: datetime, placed_to: datetime, api_key: SecretStr
    ) -> OrderPage | SupplierFailure:
        """Ask for a page of the orders placed in a span of time, newest first.

        Parameters
        ----------
        page
            From 1.
        placed_from, placed_to
            The span. Whether its ends belong to it, the supplier's documents do not say.
        api_key
            Presented in ``X-Access-Token``.

        Returns
        -------
        The page without the cards that it lists, or the trouble that stood in the way, as for ``check_order``.
        """
        span = {"from": timestamp(placed_from), "to": timestamp(placed_to)}
        query = urlencode({"page": page, "pageSize": PAGE_SIZE} | span)
        answer = self._get(f"/v3/gift-cards/list?{query}", api_key)
        if isinstance(answer, SupplierFailure):
            return answer
        listed = interpret(answer.status, answer.headers, answer.body, OrderPage)
        if not isinstance(listed, SupplierFailure) and listed.pagination.page != page:
            return SupplierFailure(
                FailureKind.CONTRACT_BROKEN, "The supplier answered with another page (pagination.page)."
            )
        return listed

    def _get(self, path: str, api_key: SecretStr) -> _HttpAnswer | SupplierFailure:
        """Make one call within the limits of size and time.

        httpx limits only the time between two pieces, so that a supplier that sends its headers or its body byte
        by byte would be waited for without end. A task of an event loop can be cut off anywhere.
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
            # A key is refused by the status already: it must not be presented again for want of a body.
            if response is None or response.is_success:
                raise
        return _HttpAnswer(response.status_code, response.headers, bytes(body))


async def _read(response: httpx.Response, body: bytearray) -> None:
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise _AnswerTooLargeError


def interpret(status: int, headers: httpx.Headers, body: bytes, view: type[Data]) -> Data | SupplierFailure:
    """Say what an HTTP answer means (supplier's documents, error table).

    Nothing is raised, whatever the answer is: a caller that fails after its call counts as lost, and a few lost calls
    block the gate for all orders.
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
"""200, and what a proxy can make of it (RFC 9110 section 15.3); 204 and later have no whole body."""


def read_json(body: bytes) -> Any:
    """Read JSON as liberally as its content stays certain.

    A byte order mark may be ignored (https://www.rfc-editor.org/rfc/rfc8259#section-8.1), UTF-16 and UTF-32 are told
    by their zeros, control characters inside a text are what they are. Bytes that are no UTF-8 become lone
    surrogates, which no field that matters accepts. Numbers keep their digits.

    Raises
    ------
    ValueError
        If it is not JSON. The text can quote the body.
    """
    text = body.decode(json.detect_encoding(body), "surrogateescape").lstrip("\ufeff")
    try:
        return json.loads(text, strict=False, parse_float=_number, parse_int=_number, parse_constant=_number)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent beyond all bounds
        return text


def _answered(view: type[Data]) -> type[_Answered[Data]]:
    return _Answered[view]  # type: ignore[valid-type]


def _broken_contract(error: ValidationError) -> SupplierFailure:
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    paths = sorted({".".join(str(part) for part in problem["loc"]) or "answer" for problem in problems})
    more = f" and {len(paths) - MAX_NAMED_FIELDS} more" if len(paths) > MAX_NAMED_FIELDS else ""
    fields = ", ".join(paths[:MAX_NAMED_FIELDS]) + more
    reasons = ", ".join(
        sorted(
            {problem["msg"].removeprefix("Value error, ") for problem in problems if problem["type"] == "value_error"}
        )
    )
    return SupplierFailure(
        FailureKind.CONTRACT_BROKEN,
        f"The supplier's answer breaks its documents: {fields}{f' ({reasons})' if reasons else ''}.",
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
    "AUTH_UNAVAILABLE": FailureKind.BUSY,  # the key could not be checked; it was not refused
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
    "NO_BALANCE": FailureKind.ORDER_REFUSED,  # these three are about placing orders
    "INSUFFICIENT_BALANCE": FailureKind.ORDER_REFUSED,
    "DUPLICATED_REF": FailureKind.ORDER_REFUSED,
}
"""The documented codes. They count whatever the status: gateways are known to send them with 200 or 400."""
_KINDS_BY_STATUS = {
    401: FailureKind.KEY_REFUSED,
    404: FailureKind.ORDER_UNKNOWN,
    408: FailureKind.BUSY,  # 408 and 425 ask for a repeat (RFC 9110 section 15.5.9, RFC 8470 section 5.2)
    425: FailureKind.BUSY,
    429: FailureKind.RATE_LIMITED,
}
"""What an undocumented code means."""


def _kind(status: int, code: str | None) -> FailureKind:
    if code is None:  # from a proxy, a wrong URL or a deployment in between
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
_LONGEST_CODE = 48
_CODE = re.compile(r"(?:[A-Z]{1,15}_)*(?:[A-Z]{1,15}|[0-9]{1,4})")
_GROUPS_OF_A_CARD = 3


def _error_code(document: Any) -> str | None:
    """Read the error code of an error envelope, or None where there is no such envelope.

    ``success`` tells the envelope from what a router or a proxy sends. Where the supplier leaves it out, only a code
    in words does: the router's ``error`` is a text, and a proxy's code a number.
    """
    if not isinstance(document, dict):
        return None
    success, error = document.get("success"), document.get("error")
    code = error.get("code") if isinstance(error, dict) else error or document.get("code")
    if _truth(success) is False:
        return normalized_code(text_of(code))
    return normalized_code(code) if success is None and isinstance(error, dict) and isinstance(code, str) else None


def normalized_code(code: Any) -> str:
    """Write an error code as the supplier's documents do, whatever its case and separators.

    A code is shown to people and kept in rows, and a confused supplier can put anything here, a card too. So only
    words are shown, with one short number at most, and not groups of equal length, as cards have them.
    """
    if not isinstance(code, str):
        return _UNREADABLE_CODE
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[ _.:/-]+", "_", code.strip()).strip("_").upper()
    documented = _DOCUMENTED_CODES.get(words.replace("_", ""))
    if documented is not None:
        return documented
    last = [len(word) for word in words.split("_")][-_GROUPS_OF_A_CARD:]
    looks_like_a_card = len(last) == _GROUPS_OF_A_CARD and len(set(last)) == 1
    is_code = len(words) <= _LONGEST_CODE and _CODE.fullmatch(words) and not looks_like_a_card
    return words if is_code else _UNREADABLE_CODE


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header (RFC 9110: seconds or a date), or None where it says nothing that can be believed."""
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
