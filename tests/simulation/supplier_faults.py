"""Faults of the supplier and of the network to it, and the result that each must have.

docs/operations.md has a row for each fault; a test compares them.
"""

from dataclasses import dataclass, field
from typing import Any

WAITS = "waits"
DELIVERED = "delivered"
REFUNDED = "refunded"


@dataclass(frozen=True)
class SupplierFault:
    """A fault.

    Attributes
    ----------
    fault
        The simulator's fault; empty if the supplier has another ``address``.
    at_check, at_delivery
        Result for an order if the fault occurs in CheckStatus or in DeliverCards: ``waits``, ``delivered``,
        ``refunded`` or a held reason. ``at_delivery`` is empty if it is the same.
    address
        Another address of the supplier; ``{port}`` is the simulator's.
    """

    name: str
    fault: dict[str, Any] = field(default_factory=dict)
    at_check: str = WAITS
    at_delivery: str = ""
    address: str = ""

    @property
    def expected_at_delivery(self) -> str:
        return self.at_delivery or self.at_check


def _error(status: int, code: str, **more: Any) -> dict[str, Any]:
    body = {"success": False, "error": {"code": code, "message": "m", "details": {"attemptsLeft": 4}}}
    return {"status": status, "body": body} | more


def _merged(**data: Any) -> dict[str, Any]:
    return {"merge": data}


_UNENVELOPED = {"message": "Cannot GET", "error": "Not Found", "statusCode": 404}
_CARD = {"value": "the-same-value", "serial": "the-same-serial"}
BROKEN = "SUPPLIER_CONTRACT_BROKEN"

SUPPLIER_FAULTS = [
    # the error table of the supplier's documentation: https://docs.oneclickdz.com/en/error-handling
    SupplierFault("400 with its envelope", _error(400, "ERR_VALIDATION"), "INVALID_ORDER"),
    SupplierFault("400 without envelope", {"status": 400, "rawBody": "Bad Request"}),
    SupplierFault("401 INVALID_ACCESS_TOKEN", _error(401, "INVALID_ACCESS_TOKEN")),
    SupplierFault("401 MISSING_ACCESS_TOKEN", _error(401, "MISSING_ACCESS_TOKEN")),
    SupplierFault("401 ERR_AUTH", _error(401, "ERR_AUTH")),
    SupplierFault("403 IP_BLOCKED", _error(403, "IP_BLOCKED")),
    SupplierFault("403 IP_NOT_ALLOWED", _error(403, "IP_NOT_ALLOWED")),
    SupplierFault("403 API_DISABLED", _error(403, "API_DISABLED")),
    SupplierFault("401 without envelope", {"status": 401, "rawBody": "<html>Unauthorized</html>"}),
    SupplierFault("403 without envelope", {"status": 403, "rawBody": "<html>Forbidden</html>"}),
    SupplierFault("403 IP-BLOCKED", _error(403, "ip-blocked")),
    SupplierFault("403 with an undocumented code", _error(403, "SOMETHING_NEW")),
    SupplierFault("410 with its envelope", _error(410, "GONE")),
    SupplierFault("400 INVALID_ACCESS_TOKEN", _error(400, "INVALID_ACCESS_TOKEN")),
    SupplierFault("200 INVALID_ACCESS_TOKEN", _error(200, "INVALID_ACCESS_TOKEN")),
    SupplierFault("403 NO_BALANCE", _error(403, "NO_BALANCE")),
    SupplierFault("403 INSUFFICIENT_BALANCE", _error(403, "INSUFFICIENT_BALANCE")),
    SupplierFault("403 DUPLICATED_REF", _error(403, "DUPLICATED_REF")),
    SupplierFault("404 with its envelope", _error(404, "NOT_FOUND"), "ORDER_UNKNOWN"),
    SupplierFault("404 without envelope", {"status": 404, "body": _UNENVELOPED}),
    SupplierFault("429 with Retry-After", _error(429, "RATE_LIMIT_EXCEEDED", retryAfter=30)),
    SupplierFault("429 with a date in Retry-After", _error(429, "RATE_LIMIT_EXCEEDED", retryAfter="soon")),
    SupplierFault("429 without Retry-After", _error(429, "RATE_LIMIT_EXCEEDED")),
    SupplierFault("500 INTERNAL_ERROR", _error(500, "INTERNAL_ERROR")),
    SupplierFault("500 INTERNAL_SERVER_ERROR", _error(500, "INTERNAL_SERVER_ERROR")),
    SupplierFault("503 SERVICE_UNAVAILABLE", _error(503, "SERVICE_UNAVAILABLE", retryAfter=20)),
    SupplierFault("503 AUTH_UNAVAILABLE", _error(503, "AUTH_UNAVAILABLE")),
    SupplierFault("200 with an error in the envelope", _error(200, "INTERNAL_ERROR")),
    # the network
    SupplierFault("connection refused", address="http://127.0.0.1:1"),
    SupplierFault("host not found", address="http://supplier.invalid"),
    SupplierFault("TLS error", address="https://127.0.0.1:{port}"),
    SupplierFault("connection reset before the answer", {"dropConnection": "before"}),
    SupplierFault("connection reset in mid-body", {"dropConnection": "mid-body"}),
    SupplierFault("slow headers", {"delaySeconds": 30}),
    SupplierFault("slow body", {"slowBody": {"chunkBytes": 8, "intervalSeconds": 0.1}}),
    SupplierFault("endless body", {"endlessBody": True}),
    # answers of a proxy or a broken server
    SupplierFault("empty body", {"status": 200, "rawBody": ""}),
    SupplierFault("HTML with 200", {"status": 200, "rawBody": "<html>Maintenance</html>"}),
    SupplierFault("HTML with 502", {"status": 502, "rawBody": "<html>Bad Gateway</html>"}),
    SupplierFault("truncated JSON", {"status": 200, "rawBody": '{"success": true, "data": {"_id": "69'}),
    SupplierFault("redirect", {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}),
    SupplierFault("wrong content type", {"headers": {"Content-Type": "text/plain"}}, DELIVERED),
    # answers that contradict the supplier's documentation
    SupplierFault("text that JSON does not allow", {"status": 200, "rawBody": '{"success": "a\tb"}'}, BROKEN),
    SupplierFault("unknown status", _merged(status="SHIPPED"), BROKEN),
    SupplierFault("status of a wrong type", _merged(status=4), BROKEN),
    SupplierFault("quantity of a wrong type", _merged(quantity="2"), DELIVERED),
    SupplierFault("no data", {"status": 200, "body": {"success": True}}, BROKEN),
    SupplierFault("no _id", _merged(_id=None), BROKEN),
    SupplierFault("_id of another order", _merged(_id="6901616fe9e88196b4eb64b3"), BROKEN),
    SupplierFault("no quantity", _merged(quantity=None), DELIVERED, BROKEN),
    SupplierFault("no fulfilled_quantity", _merged(fulfilled_quantity=None), DELIVERED),
    SupplierFault("no price_per_card", _merged(price_per_card=None), DELIVERED),
    SupplierFault("amount in words", _merged(fulfilled_amount="980 DZD"), DELIVERED),
    SupplierFault("no cards", _merged(cards=None), DELIVERED, BROKEN),
    SupplierFault("cards of a wrong type", _merged(cards={"value": "v"}), DELIVERED, BROKEN),
    SupplierFault("card without value", _merged(cards=[{"serial": "s"}, _CARD]), DELIVERED, BROKEN),
    SupplierFault(
        "card value of blanks", _merged(cards=[_CARD, {"value": " \u200b\u2800", "serial": "s"}]), DELIVERED, BROKEN
    ),
    SupplierFault("fewer cards than fulfilled_quantity", _merged(cards=[_CARD]), DELIVERED, BROKEN),
    SupplierFault("more cards than fulfilled_quantity", _merged(fulfilled_quantity=1), DELIVERED, BROKEN),
    SupplierFault("duplicate cards", _merged(cards=[_CARD, _CARD]), DELIVERED, BROKEN),
    SupplierFault("empty card value", _merged(cards=[_CARD, {"value": "", "serial": "s"}]), DELIVERED, BROKEN),
    SupplierFault("huge card value", _merged(cards=[_CARD, {"value": "x" * 2_049, "serial": "s"}]), DELIVERED, BROKEN),
    # answers that contradict each other
    SupplierFault(
        "final, then HANDLING again",
        _merged(status="HANDLING", fulfilled_quantity=None, cards=None),
        WAITS,
        WAITS,
    ),
    SupplierFault(
        "FULFILLED, then REFUNDED",
        _merged(status="REFUNDED", fulfilled_quantity=0, fulfilled_amount=0, cards=[]),
        DELIVERED,
        REFUNDED,
    ),
]
