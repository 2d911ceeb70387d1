"""Faulty transmissions: slow, endless or cut off."""

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from giftcards_local.supplier.faults import Fault, Reply

_FILLER = b" " * 16_384


class DroppedResponse(Response):
    """Sends a part of a reply, or nothing, and drops the connection.

    ASGI has no way to do that: if an application returns early or raises, the server responds with 500. So this
    response aborts the transport, which ``AbortableProtocol`` passes in the scope.
    """

    def __init__(self, reply: Reply | None) -> None:
        super().__init__()
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the part, abort the connection, and wait until the server notices."""
        if self._reply is not None:
            content = self._reply.content
            # Content-Length is larger than the body, so that the client notices the cut.
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
    """Return the response that transmits a reply, with the fault's transmission if it has one."""
    if fault is not None and fault.drop_connection is not None:
        return DroppedResponse(reply)
    if fault is not None and fault.endless_body:
        return StreamingResponse(_endless(reply.content), reply.status, reply.headers)
    if fault is not None and fault.slow_body is not None:
        length = {"Content-Length": str(len(reply.content))}
        chunks = _chunks(reply.content, fault.slow_body.chunk_bytes, fault.slow_body.interval_seconds)
        return StreamingResponse(chunks, reply.status, {**reply.headers, **length})
    return Response(reply.content, reply.status, reply.headers)


async def _chunks(content: bytes, chunk_bytes: int, interval_seconds: float) -> AsyncIterator[bytes]:
    for start in range(0, len(content), chunk_bytes):
        yield content[start : start + chunk_bytes]
        await asyncio.sleep(interval_seconds)


async def _endless(content: bytes) -> AsyncIterator[bytes]:
    yield content
    while True:
        yield _FILLER
        # Yields to the event loop, which notices a disconnected client.
        await asyncio.sleep(0.001)
