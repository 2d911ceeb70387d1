"""The control routes: tests and the demo create orders, faults and keys here. Not part of the supplier's API."""

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from pydantic import SecretStr, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from giftcards_local.supplier.book import NewOrder, OrderChange, SupplierBook
from giftcards_local.supplier.faults import Fault
from giftcards_local.supplier.wire import WireModel, one_line

Endpoint = Callable[[Request], Awaitable[Response]]
_ORDERS = "/control/orders"


class _Keys(WireModel):
    valid: list[SecretStr]


def control_routes(book: SupplierBook) -> list[Route]:
    """Return the routes under ``/control``; they need no key."""
    control = _ControlRoutes(book)
    return [
        Route(_ORDERS, _checked(control.add_order), methods=["POST"]),
        Route(_ORDERS + "/{order_id:path}", _checked(control.change_order), methods=["PATCH"]),
        Route("/control/faults", _checked(control.add_fault), methods=["POST"]),
        Route("/control/faults", control.clear_faults, methods=["DELETE"]),
        Route("/control/faults/{fault_id}", control.remove_fault, methods=["DELETE"]),
        Route("/control/keys", _checked(control.set_keys), methods=["PUT"]),
        Route("/control/blocks", control.clear_blocks, methods=["DELETE"]),
        Route("/control/calls", control.calls, methods=["GET"]),
        Route("/control/calls", control.clear_calls, methods=["DELETE"]),
    ]


class _ControlRoutes:
    def __init__(self, book: SupplierBook) -> None:
        self._book = book

    async def add_order(self, request: Request) -> Response:
        order = self._book.add(NewOrder.from_json(await request.body()))
        return JSONResponse({"orderId": order.order_id})

    async def change_order(self, request: Request) -> Response:
        order_id = unquote(request.scope["raw_path"].decode("ascii").removeprefix(_ORDERS + "/"))
        order = self._book.order(order_id)
        if order is None:
            return _refusal(404, f"no order {order_id}")
        self._book.change(order, OrderChange.from_json(await request.body()))
        return JSONResponse({"orderId": order_id})

    async def add_fault(self, request: Request) -> Response:
        return JSONResponse({"faultId": self._book.faults.add(Fault.from_json(await request.body()))})

    async def clear_faults(self, _: Request) -> Response:
        self._book.faults.clear()
        return Response(status_code=204)

    async def remove_fault(self, request: Request) -> Response:
        fault_id = request.path_params["fault_id"]
        if not self._book.faults.remove(fault_id):
            return _refusal(404, f"no fault {fault_id}")
        return Response(status_code=204)

    async def set_keys(self, request: Request) -> Response:
        keys = _Keys.from_json(await request.body())
        self._book.keys.replace(key.get_secret_value() for key in keys.valid)
        return Response(status_code=204)

    async def clear_blocks(self, _: Request) -> Response:
        self._book.keys.unblock()
        return Response(status_code=204)

    async def calls(self, _: Request) -> Response:
        return JSONResponse([call.document() for call in self._book.calls])

    async def clear_calls(self, _: Request) -> Response:
        self._book.calls.clear()
        return Response(status_code=204)


def _checked(endpoint: Endpoint) -> Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ValidationError as error:
            return _refusal(400, one_line(error))
        except ValueError as error:
            return _refusal(400, str(error))

    return answer


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)
