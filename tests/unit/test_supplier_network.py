"""Every failure of the network is a busy supplier, and no call takes longer than its timeout."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from giftcards.adapters.oneclickdz.supplier import (
    MAX_ANSWER_BYTES,
    TOTAL_TIMEOUT_SECONDS,
    Supplier,
    new_client,
)
from giftcards.contracts.supplier import OrderProgress, SettledOrder
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure
from support.cloud import template
from support.examples import ORDER_ID
from support.secrets import API_KEY, card_data
from support.supplier import BASE_URL, SupplierDouble, answered, order_data, refused
from support.supplier_calls import BUSY, ask_and_get, each_view
from support.wire import HEAD, Behaviour, Wire, answering, dripping, hanging_up, on_the_wire, silent

pytestmark = pytest.mark.usefixtures("no_leak")


@each_view
@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.ReadTimeout,
        httpx.WriteTimeout,
        httpx.PoolTimeout,
        httpx.ReadError,
        httpx.WriteError,
        httpx.CloseError,
        httpx.RemoteProtocolError,
        httpx.LocalProtocolError,
        httpx.DecodingError,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
        httpx.TooManyRedirects,
    ],
)
def test_network_failure_is_busy_and_shows_its_name_only(
    supplier: SupplierDouble, view: type[OrderProgress], error: type[httpx.RequestError]
):
    failure = ask_and_get(supplier, error(f"{API_KEY} {card_data(1)}"), view)

    assert failure == SupplierFailure(FailureKind.BUSY, failure.message)
    assert error.__name__ in failure.message


def test_connection_broken_within_the_response_is_busy(supplier: SupplierDouble):
    async def broken() -> AsyncIterator[bytes]:
        yield answered().content[:100]
        raise httpx.ReadError("reset")

    assert ask_and_get(supplier, httpx.Response(200, content=broken())).kind is FailureKind.BUSY


def test_body_in_another_encoding_is_busy(supplier: SupplierDouble):
    async def garbled() -> AsyncIterator[bytes]:
        yield answered().content

    answer = httpx.Response(200, content=garbled(), headers={"Content-Encoding": "gzip"})

    assert ask_and_get(supplier, answer).kind is FailureKind.BUSY


def test_answer_larger_than_any_order_is_not_read_to_its_end(supplier: SupplierDouble):
    pieces_read = 0

    async def far_too_long() -> AsyncIterator[bytes]:
        nonlocal pieces_read
        for _ in range(20):
            pieces_read += 1
            yield b" " * 1024 * 1024

    failure = ask_and_get(supplier, httpx.Response(200, content=far_too_long()))

    assert failure.kind is FailureKind.BUSY
    assert pieces_read == MAX_ANSWER_BYTES / 1024 / 1024 + 1


def test_order_of_5000_cards_is_read(supplier: SupplierDouble):
    answer = ask_and_get(supplier, answered(order_data("FULFILLED", 5_000)))

    assert len(answer.cards) == 5_000


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, BUSY),
        (403, BUSY),
        (429, FailureKind.RATE_LIMITED),
        (404, BUSY),
        (400, BUSY),
        (500, BUSY),
    ],
)
def test_status_counts_although_its_body_never_comes(supplier: SupplierDouble, status: int, kind: FailureKind):
    async def broken() -> AsyncIterator[bytes]:
        yield refused(status, "NOT_FOUND").content[:20]
        raise httpx.ReadError("reset")

    answer = httpx.Response(status, content=broken(), headers={"Retry-After": "30"})

    failure = ask_and_get(supplier, answer)

    assert failure == SupplierFailure(kind, failure.message, retry_after_seconds=30, status=status)


def is_too_late(result: Any) -> bool:
    return result.kind is BUSY and "0.3 seconds" in result.message


@pytest.fixture
def serve(on_loopback: None) -> Iterator[Callable[..., Wire]]:
    wires: list[Wire] = []

    def serve(*behaviours: Behaviour) -> Wire:
        wires.append(Wire(*behaviours))
        return wires[-1]

    yield serve
    for wire in wires:
        wire.stop()


def calling(wire: Wire, total_seconds: float = 0.3) -> Callable[[], Any]:
    """Return a function that checks the order through one client."""
    supplier = Supplier(wire.url, new_client(), total_seconds=total_seconds)
    return lambda: supplier.check_order(ORDER_ID, SecretStr(API_KEY), SettledOrder)


@pytest.mark.parametrize("from_byte", [0, HEAD - 20, HEAD, HEAD + 100], ids=["status", "headers", "body", "its middle"])
def test_dripping_response_times_out(serve: Callable[..., Wire], from_byte: int):
    ask_now = calling(serve(dripping(on_the_wire(answered()), from_byte, 0.02)))
    began = time.monotonic()

    assert is_too_late(ask_now())

    assert 0.3 <= time.monotonic() - began < 3


def test_dripping_response_in_time_is_read(serve: Callable[..., Wire]):
    wire = serve(dripping(on_the_wire(answered()), 0, 0.0001))

    assert isinstance(calling(wire, TOTAL_TIMEOUT_SECONDS)(), SettledOrder)


def test_total_time_counts_from_the_start_of_the_call(serve: Callable[..., Wire]):
    content = on_the_wire(answered())

    def each_part_in_time(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(65_536)
        for part in (content[:HEAD], content[HEAD:]):
            if is_over.wait(0.2):
                return
            connection.sendall(part)

    assert is_too_late(calling(serve(each_part_in_time))())


@pytest.mark.parametrize(("status", "kind"), [(401, BUSY), (403, BUSY), (500, BUSY)])
def test_status_counts_although_its_body_drips(serve: Callable[..., Wire], status: int, kind: FailureKind):
    content = on_the_wire(refused(status, "ERR_AUTH"))

    failure = calling(serve(dripping(content, content.index(b"\r\n\r\n") + 4, 0.02)))()

    assert failure == SupplierFailure(kind, failure.message, status=status)


def test_total_timeout_leaves_time_for_the_function():
    timeouts = [
        template()["Resources"][name]["Properties"]["Timeout"]
        for name in ("CheckStatusFunction", "DeliverCardsFunction")
    ]

    assert min(timeouts) >= 2 * TOTAL_TIMEOUT_SECONDS


@pytest.mark.parametrize("spoiled", [silent, dripping(on_the_wire(answered()), HEAD, 0.02)])
def test_timed_out_calls_do_not_affect_the_next(serve: Callable[..., Wire], spoiled: Behaviour):
    # Given calls that timed out
    wire = serve(*[spoiled] * 3, answering)
    ask_now = calling(wire)
    assert all(is_too_late(ask_now()) for _ in range(3))

    # When the supplier answers again, then the next calls get their answers on a new connection
    assert isinstance(ask_now(), SettledOrder)
    assert isinstance(ask_now(), SettledOrder)
    assert len(wire.connections) == 4


def test_calls_share_a_connection(serve: Callable[..., Wire]):
    wire = serve(answering)
    ask_now = calling(wire, TOTAL_TIMEOUT_SECONDS)

    assert all(isinstance(ask_now(), SettledOrder) for _ in range(5))

    assert len(wire.connections) == 1


def test_closed_idle_connection_is_not_reused(serve: Callable[..., Wire]):
    wire = serve(hanging_up)
    ask_now = calling(wire, TOTAL_TIMEOUT_SECONDS)

    for number in range(1, 4):
        assert isinstance(ask_now(), SettledOrder)
        wire.connections[-1].join()
        assert len(wire.connections) == number


def test_connection_of_a_too_large_response_is_not_reused(serve: Callable[..., Wire]):
    def far_too_large(connection: socket.socket, _is_over: threading.Event) -> None:
        connection.recv(65_536)
        length = MAX_ANSWER_BYTES + 10_000_000
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + b" " * length)

    wire = serve(far_too_large, answering)
    ask_now = calling(wire, TOTAL_TIMEOUT_SECONDS)

    assert ask_now().kind is BUSY
    assert isinstance(ask_now(), SettledOrder)


def test_unreachable_supplier_is_busy(on_loopback: None):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"

    failure = Supplier(url, new_client()).check_order(ORDER_ID, SecretStr(API_KEY), SettledOrder)

    assert failure.kind is BUSY
    assert "ConnectError" in failure.message


def test_slow_name_resolution_times_out(
    on_loopback: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    is_over = threading.Event()
    request.addfinalizer(is_over.set)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: is_over.wait())

    failure = Supplier(BASE_URL, new_client(), total_seconds=0.3).check_order(
        ORDER_ID, SecretStr(API_KEY), SettledOrder
    )

    assert is_too_late(failure)
