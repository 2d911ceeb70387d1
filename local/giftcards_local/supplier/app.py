"""The simulator's HTTP application: the supplier's routes and the control routes."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from giftcards_local.supplier.answers import Answer, failure, success, unknown_path
from giftcards_local.supplier.book import Call, NewOrder, SupplierBook
from giftcards_local.supplier.control_routes import control_routes
from giftcards_local.supplier.faults import Route as RouteName
from giftcards_local.supplier.faults import faulty_reply, plain_reply
from giftcards_local.supplier.orders import Quantity, order_document
from giftcards_local.supplier.sending import DroppedResponse, send_reply
from giftcards_local.supplier.wire import one_line

KEY_HEADER = "x-access-token"
_ORDER_ID = re.compile(r"[!-~]{1,128}")
_CHECK_ORDER = "/v3/gift-cards/checkOrder/"


def _as_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_Moment = Annotated[datetime, BeforeValidator(datetime.fromisoformat), AfterValidator(_as_utc)]


class _PlaceOrder(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    product_id: str = Field(alias="productId", min_length=1)
    type_id: str = Field(alias="typeId", min_length=1)
    quantity: Quantity


class _ListQuery(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)
    page: int = Field(default=1, ge=1)
    page_size: int = Field(default=20, alias="pageSize", ge=1, le=100)
    placed_from: _Moment | None = Field(default=None, alias="from")
    placed_to: _Moment | None = Field(default=None, alias="to")


def create_app(book: SupplierBook) -> Starlette:
    api = _SupplierApi(book)
    app = Starlette(
        routes=[
            Route("/v3/validate", api.validate),
            Route("/v3/gift-cards/placeOrder", api.place_order, methods=["POST"]),
            Route(_CHECK_ORDER + "{order_id:path}", api.check_order),
            Route("/v3/gift-cards/list", api.list_orders),
            *control_routes(book),
        ],
        exception_handlers={404: api.unknown_path, 405: api.unknown_path},
    )
    # The documents mention no redirects: a path with a trailing slash is unknown.
    app.router.redirect_slashes = False
    return app


class _SupplierApi:
    def __init__(self, book: SupplierBook) -> None:
        self._book = book

    async def unknown_path(self, request: Request, error: Exception) -> Response:  # noqa: ARG002 - Starlette's signature
        answer = unknown_path(request.method, request.url.path)
        if not request.url.path.startswith("/control"):
            self._book.record("unknown", None, request.headers.get(KEY_HEADER)).status = answer.status
        return send_reply(plain_reply(answer), None)

    async def validate(self, request: Request) -> Response:
        def answer(_: Call) -> Answer:
            key = request.headers[KEY_HEADER]
            api_key: dict[str, JsonValue] = {"key": key, "isEnabled": True, "type": "SANDBOX", "allowedips": []}
            api_key["scope"] = "READ-WRITE"
            return success({"username": "+213000000000", "apiKey": api_key}, self._book.clock())

        return await self._serve(request, "validate", answer)

    async def place_order(self, request: Request) -> Response:
        body = await request.body()

        def answer(call: Call) -> Answer:
            try:
                placed = _PlaceOrder.model_validate_json(body)
            except ValidationError as error:
                return failure(400, "ERR_VALIDATION", one_line(error))
            new = NewOrder(productId=placed.product_id, typeId=placed.type_id, quantity=placed.quantity)
            order = self._book.add(new)
            call.order_id = order.order_id
            return success({"orderId": order.order_id}, self._book.clock())

        return await self._serve(request, "placeOrder", answer)

    async def check_order(self, request: Request) -> Response:
        # From the raw path: an encoded slash belongs to the id, a plain one makes another path.
        raw_id = request.scope["raw_path"].decode("ascii").removeprefix(_CHECK_ORDER)
        if not raw_id or "/" in raw_id:
            raise HTTPException(404)
        order_id = unquote(raw_id)

        def answer(_: Call) -> Answer:
            if not _ORDER_ID.fullmatch(order_id):
                return failure(400, "ERR_VALIDATION", "orderId is not a valid order id")
            order = self._book.order(order_id)
            if order is None:
                return failure(404, "NOT_FOUND", "Order not found")
            now = self._book.clock()
            return success(order_document(order, now), now)

        return await self._serve(request, "checkOrder", answer, order_id)

    async def list_orders(self, request: Request) -> Response:
        def answer(_: Call) -> Answer:
            try:
                query = _ListQuery.model_validate(dict(request.query_params))
            except ValidationError as error:
                return failure(400, "ERR_VALIDATION", one_line(error))
            return self._page(query)

        return await self._serve(request, "list", answer)

    def _page(self, query: _ListQuery) -> Answer:
        now = self._book.clock()
        matching = [
            order
            for order in self._book.newest_first()
            if (query.placed_from is None or order.placed_at >= query.placed_from)
            and (query.placed_to is None or order.placed_at <= query.placed_to)
        ]
        start = (query.page - 1) * query.page_size
        pagination = {
            "page": query.page,
            "pageSize": query.page_size,
            "totalPages": -(-len(matching) // query.page_size),
            "totalResults": len(matching),
        }
        items = [order_document(order, now) for order in matching[start : start + query.page_size]]
        return success({"items": [*items], "pagination": {**pagination}}, now)

    async def _serve(
        self, request: Request, route: RouteName, answer: Callable[[Call], Answer], order_id: str | None = None
    ) -> Response:
        """Handle every call in the same order: connection faults, key check, other faults, response."""
        book, keys = self._book, self._book.keys
        key = request.headers.get(KEY_HEADER)
        call = book.record(route, order_id, key)
        refused = keys.would_refuse(key, book.clock())
        fault = book.faults.take(route, order_id, key_refused=refused)
        if fault is not None and fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if fault is not None and fault.drop_connection == "before":
            return DroppedResponse(None)
        refusal = keys.present(
            key, book.clock()
        )  # of the book at the start of the call: it can be reset during a delay
        if refusal is not None:
            reply = plain_reply(refusal)
        elif fault is None:
            reply = plain_reply(answer(call))
        else:
            reply = faulty_reply(fault, None if fault.replaces_answer else answer(call))
        call.status = reply.status
        return send_reply(reply, fault)
