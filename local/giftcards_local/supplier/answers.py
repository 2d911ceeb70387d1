"""The supplier's responses: the envelopes for success and errors, and the one response without an envelope.

https://docs.oneclickdz.com/en/error-handling
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from giftcards_local.supplier.wire import iso_time

# The documented error per HTTP status; the body of a fault without one.
DOCUMENTED_ERRORS: dict[int, tuple[str, str, dict[str, JsonValue] | None]] = {
    400: ("ERR_VALIDATION", "Invalid request parameters", None),
    401: ("INVALID_ACCESS_TOKEN", "The provided access token is invalid", {"attemptsLeft": 4}),
    403: ("IP_BLOCKED", "Too many failed attempts; this address is temporarily blocked", None),
    404: ("NOT_FOUND", "Order not found", None),
    429: ("RATE_LIMIT_EXCEEDED", "Too many requests", None),
    500: ("INTERNAL_ERROR", "An unexpected error occurred", None),
    503: ("SERVICE_UNAVAILABLE", "Service temporarily unavailable", None),
}


@dataclass(frozen=True)
class Answer:
    """A response of the API: an HTTP status and a JSON document."""

    status: int
    document: dict[str, JsonValue]


def success(data: dict[str, JsonValue], now: datetime) -> Answer:
    """Return data in the success envelope."""
    return Answer(
        200, {"success": True, "data": data, "meta": {"timestamp": iso_time(now)}, "requestId": _request_id()}
    )


def error_body(code: str, message: str, details: dict[str, JsonValue] | None = None) -> dict[str, JsonValue]:
    """Return the error envelope; tests use it for codes that no route returns."""
    error: dict[str, JsonValue] = {"code": code, "message": message}
    if details is not None:
        error["details"] = details
    return {"success": False, "error": error, "requestId": _request_id()}


def failure(status: int, code: str, message: str, details: dict[str, JsonValue] | None = None) -> Answer:
    return Answer(status, error_body(code, message, details))


def unknown_path(method: str, path: str) -> Answer:
    """Return the response for an unknown path: without an envelope, unlike that for an unknown order."""
    return Answer(404, {"message": f"Cannot {method} {path}", "error": "Not Found", "statusCode": 404})


def _request_id() -> str:
    return f"req_{secrets.token_hex(8)}"
