"""Responses that reach the client badly: late in pieces, without end, or cut off."""

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from giftcards_local.supplier.faults import Fault, Reply

_FILLER = b" " * 16_384


class DroppedResponse(Response):
    """Send part of a reply, or nothing, and cut the connection.

    ASGI knows no way to do that: an application that returns early or raises makes the server answer 500. So the
    server's transport is aborted, which `AbortableProtocol` hands over in the scope.
    """

    def __init__(self, reply: Reply | None) -> None:
        super().__init__()
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is to be sent, abort, and wait until the server has noticed."""
        if self._reply is not None:
            content = self._reply.content
            # The length promises more than comes, so the client can tell that the body was cut.
            start = Response(b"", self._reply.status, {**self._reply.headers, "Content-Length": f"{len(content) + 1}"})
            await send({"type": "http.response.start", "status": start.status_code, "headers": start.raw_headers})
            await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
        transport = scope["state"].get("transport")
        if transport is None:
            raise ConnectionAbortedError("the simulator dropped the connection")
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


def send_reply(reply: Reply, fault: Fault | None) -> Response:
    """Choose how a reply goes out."""
    if fault is not None and fault.drop_connection is not None:
        return DroppedResponse(reply)
    if fault is not None and fault.endless_body:
        return StreamingResponse(_without_end(reply.content), reply.status, reply.headers)
    if fault is not None and fault.slow_body is not None:
        length = {"Content-Length": str(len(reply.content))}
        pieces = _in_pieces(reply.content, fault.slow_body.chunk_bytes, fault.slow_body.interval_seconds)
        return StreamingResponse(pieces, reply.status, {**reply.headers, **length})
    return Response(reply.content, reply.status, reply.headers)


async def _in_pieces(content: bytes, chunk_bytes: int, interval_seconds: float) -> AsyncIterator[bytes]:
    for start in range(0, len(content), chunk_bytes):
        yield content[start : start + chunk_bytes]
        await asyncio.sleep(interval_seconds)


async def _without_end(content: bytes) -> AsyncIterator[bytes]:
    yield content
    while True:
        yield _FILLER
        # A client that is gone is noticed by the event loop, which needs its turn.
        await asyncio.sleep(0.001)
