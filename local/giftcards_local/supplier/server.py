"""Runs the simulator: blocking for the command line, in a thread for tests."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from giftcards_local.supplier.app import create_app
from giftcards_local.supplier.book import SANDBOX_API_KEY, SupplierBook
from giftcards_local.supplier.control import SupplierControl
from giftcards_local.supplier.orders import FulfilAfter

STARTUP_SECONDS = 10
_HOST = "127.0.0.1"


class AbortableProtocol(H11Protocol):
    """uvicorn's protocol, with the transport in each request's scope, so that a response can abort it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add the transport to a copy of the state, which all connections share."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def serve(
    port: int,
    *,
    api_keys: Iterable[str] = (SANDBOX_API_KEY,),
    fulfil_after: FulfilAfter | Mapping[str, object] = 8,
    state_file: Path | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Run a simulator on 127.0.0.1 until SIGTERM or Ctrl-C, which raises KeyboardInterrupt.

    Parameters
    ----------
    port
        0 picks a free one.
    fulfil_after
        Default seconds until an order is final, or a distribution of them.
    state_file
        Keeps the orders across restarts. None: orders are lost.
    on_ready
        Called with the base URL when the port is open.

    Raises
    ------
    OSError
        If the port is taken.
    UnreadableStateError
        If the state file does not contain orders.
    """
    book = SupplierBook(api_keys=api_keys, fulfil_after=fulfil_after, state_file=state_file)
    listener = _listen(port)
    if on_ready is not None:
        on_ready(_url(listener))
    _server(book).run(sockets=[listener])


class SupplierServer:
    """A simulator in a thread of this process, as a context manager.

    Parameters
    ----------
    book
        Default: an empty book, whose orders are final at once.
    port
        0 picks a free one.

    Attributes
    ----------
    url
        The base URL, also after the server has stopped.
    """

    url: str
    control: SupplierControl

    def __init__(self, book: SupplierBook | None = None, *, port: int = 0) -> None:
        self._book = book or SupplierBook(fulfil_after=0)
        self._port = port

    def __enter__(self) -> Self:
        """Start and wait until it accepts connections."""
        listener = _listen(self._port)
        self.url = _url(listener)
        self._server = _server(self._book)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="supplier-simulator", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                listener.close()
                raise RuntimeError(f"the supplier simulator did not start within {STARTUP_SECONDS} s")
            time.sleep(0.005)
        self.control = SupplierControl(self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop without waiting for delayed responses."""
        self.control.close()
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(STARTUP_SECONDS)


def _listen(port: int) -> socket.socket:
    # Not bound by uvicorn: the port is known at once, and a taken port raises OSError instead of SystemExit.
    # With an explicit protocol: asyncio disables Nagle's algorithm only for sockets declared as TCP, and with it every
    # response waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    return f"http://{_HOST}:{listener.getsockname()[1]}"


def _server(book: SupplierBook) -> uvicorn.Server:
    # No access log and no tracebacks: paths contain order ids, tracebacks can contain more. Errors are a 500.
    return uvicorn.Server(
        uvicorn.Config(
            create_app(book),
            http=AbortableProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )
