"""ServeShop: the shop's HTTP API. It publishes orders, tells how they are, and asks CreateLink for links."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError

from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.order_table import OrderTable
from giftcards.adapters.shop_keys import ShopKeys
from giftcards.contracts.base import Contract
from giftcards.contracts.events import OrderPlaced
from giftcards.contracts.links import LinkCreated, LinkOutcome, RecipientSet
from giftcards.contracts.shop import (
    PROBLEM_REASONS,
    FieldError,
    LinkBody,
    OrderBody,
    OrderTaken,
    OrderView,
    Problem,
    field_errors,
)
from giftcards.rules.orders import Order

SOURCE = "giftcards.shop"
"""Source of the events that a shop publishes through the API."""
MAX_BODY_BYTES = 16 * 1024
RETRY_AFTER_SECONDS = 5
ORDERS, ORDER, LINKS = "/v1/orders", "/v1/orders/{orderId}", "/v1/orders/{orderId}/links"
METHODS = {ORDERS: "POST", ORDER: "GET", LINKS: "POST"}
"""The routes, and the method that each takes."""
_FAILED = "The service cannot answer just now; nothing was accepted. Send the same request again."
_TITLES = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large"}  # named so by RFC 9110, and by Python 3.13
_Body = TypeVar("_Body", bound=Contract)
_STATUS_OF_OUTCOME = {
    LinkOutcome.NOT_FOUND: HTTPStatus.NOT_FOUND,
    LinkOutcome.CARDS_EXPIRED: HTTPStatus.GONE,
    LinkOutcome.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    **{LinkOutcome(reason): HTTPStatus.CONFLICT for reason in PROBLEM_REASONS},
}


@dataclass(frozen=True)
class ShopRequest:
    """An HTTP request.

    Attributes
    ----------
    path
        Decoded; an order id may contain slashes.
    key
        What the header Authorization presents as a bearer; None if nothing.
    """

    method: str
    path: str
    key: SecretStr | None
    content_type: str
    body: bytes = field(repr=False)

    @classmethod
    def from_http(cls, event: Mapping[str, Any]) -> "ShopRequest":
        """Read an event of API Gateway, payload format 2.0."""
        headers = event.get("headers") or {}
        scheme, _, key = headers.get("authorization", "").partition(" ")
        body = event.get("body") or ""
        return cls(
            method=event["requestContext"]["http"]["method"],
            # An HTTP API has decoded every escape except that of the percent sign.
            path=event["rawPath"].replace("%25", "%"),
            key=SecretStr(key.strip()) if scheme.lower() == "bearer" and key.strip() else None,
            content_type=headers.get("content-type", "").partition(";")[0].strip().lower(),
            body=base64.b64decode(body) if event.get("isBase64Encoded") else body.encode(),
        )


@dataclass(frozen=True)
class ShopAnswer:
    """An HTTP response. ``repr`` leaves the body out: it can hold a link.

    Attributes
    ----------
    route
        Such as ``POST /v1/orders``, for the log; without a path if there is no such route.
    order_id
        For the log; None if the request was refused.
    """

    status: HTTPStatus
    body: Contract = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    route: str = ""
    order_id: str | None = None

    def to_http(self) -> dict[str, Any]:
        """Return the response as API Gateway takes it."""
        kind = "application/problem+json" if isinstance(self.body, Problem) else "application/json"
        return {
            "statusCode": int(self.status),
            "headers": {"Content-Type": kind, "Cache-Control": "no-store", **self.headers},
            "body": self.body.model_dump_json(by_alias=True, exclude_none=True),
        }


class _Refused(Exception):  # noqa: N818 - the request's answer, not an error of the service
    """Carries the answer of a request that is refused."""

    def __init__(self, answer: ShopAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True)
class ShopApi:
    """The routes.

    Attributes
    ----------
    create_link
        Calls CreateLink with a request and returns its answer, both as JSON documents.
    """

    keys: ShopKeys
    orders: OrderTable
    bus: EventBus
    create_link: Callable[[Mapping[str, Any]], Mapping[str, Any]]

    def serve(self, request: ShopRequest) -> ShopAnswer:
        """Answer one request. What fails is raised; ``failed`` makes the answer of it."""
        if request.key is None or not self.keys.accept(request.key):
            return _problem(
                HTTPStatus.UNAUTHORIZED,
                "The key is missing or wrong. Send the header Authorization: Bearer KEY.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        route, order_id = _match(request.path)
        try:
            answer = self._answer(route, order_id, request)
        except _Refused as refused:
            answer = refused.answer
        return replace(answer, route=f"{request.method} {route}")

    def _answer(self, route: str, order_id: str, request: ShopRequest) -> ShopAnswer:
        if not route:
            return _problem(HTTPStatus.NOT_FOUND, "There is no such path; docs/openapi.yaml lists those that exist.")
        if request.method != METHODS[route]:
            return _problem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"This path takes {METHODS[route]} only.",
                headers={"Allow": METHODS[route]},
            )
        if route == ORDERS:
            return self._place(_parsed(OrderBody, request))
        if route == LINKS:
            return self._link(_order_id(order_id), _parsed(LinkBody, request))
        return self._show(_order_id(order_id))

    def _place(self, body: OrderBody) -> ShopAnswer:
        """Publish the recipient first: if the second event fails, no order was accepted."""
        if body.recipient is not None:
            named = body.recipient.model_dump() | {"order_id": body.order_id, "user_id": body.user_id}
            self.bus.publish_recipient(RecipientSet.model_validate(named), source=SOURCE)
        placed = OrderPlaced(order_id=body.order_id, user_id=body.user_id, placed_at=body.placed_at)
        self.bus.publish(placed, source=SOURCE)
        return ShopAnswer(HTTPStatus.ACCEPTED, OrderTaken(order_id=body.order_id), order_id=body.order_id)

    def _show(self, order_id: str) -> ShopAnswer:
        order = self.orders.get_by_attributes(order_id)
        if order is None:
            return _problem(
                HTTPStatus.NOT_FOUND,
                "There is no order with this id. An order that was accepted just now appears within seconds.",
            )
        return ShopAnswer(HTTPStatus.OK, _view(order), order_id=order_id)

    def _link(self, order_id: str, body: LinkBody) -> ShopAnswer:
        answer = self.create_link(body.as_request(order_id))
        if "url" in answer:
            link = LinkCreated.model_validate(answer)
            return ShopAnswer(HTTPStatus.OK, link, order_id=order_id)
        outcome = LinkOutcome(answer["outcome"])
        if outcome is LinkOutcome.MAIL_DISABLED:
            return _invalid(FieldError(field="mail", message="must be left out: this stack sends no mail"))
        status = _STATUS_OF_OUTCOME[outcome]
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            return failed(answer["message"])
        reason = str(outcome) if status is HTTPStatus.CONFLICT else None
        return _problem(status, answer["message"], reason=reason)


def _match(path: str) -> tuple[str, str]:
    """Return the route of a path, and the order id in it; both empty if there is no such route.

    An order id can contain slashes. API Gateway decodes the path, so they look like those of the path.
    """
    if path == ORDERS:
        return ORDERS, ""
    order_id = path.removeprefix(f"{ORDERS}/")
    if order_id in {path, ""}:
        return "", ""
    order_of_links = order_id.removesuffix("/links")
    return (ORDER, order_id) if order_of_links == order_id else (LINKS, order_of_links)


def failed(detail: str = _FAILED) -> ShopAnswer:
    """Answer that AWS or the service failed."""
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def _problem(status: HTTPStatus, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> ShopAnswer:
    body = Problem(title=_TITLES.get(status, status.phrase), status=int(status), detail=detail, **more)
    return ShopAnswer(status, body, headers or {})


def _invalid(*errors: FieldError) -> ShopAnswer:
    names = ", ".join(error.field for error in errors)
    return _problem(HTTPStatus.BAD_REQUEST, f"Missing or invalid: {names}.", errors=errors)


def _parsed(model: type[_Body], request: ShopRequest) -> _Body:
    if len(request.body) > MAX_BODY_BYTES:
        detail = f"The body has more than {MAX_BODY_BYTES} bytes."
        raise _Refused(_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail))
    if request.content_type != "application/json":
        detail = "Send JSON, with the header Content-Type: application/json."
        raise _Refused(_problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail))
    try:
        return model.model_validate_json(request.body, strict=True)
    except ValidationError as error:
        raise _Refused(_invalid(*field_errors(error))) from None


def _order_id(text: str) -> str:
    try:
        return OrderTaken.model_validate({"orderId": text}).order_id
    except ValidationError as error:
        raise _Refused(_invalid(*field_errors(error))) from None


def _view(order: Order) -> OrderView:
    refunded = order.refunded_quantity
    if refunded is None and order.status.is_final:
        refunded = (order.quantity or 0) - (order.fulfilled_quantity or 0)
    return OrderView.model_validate(order.model_dump() | {"refunded_quantity": refunded or None})
