"""The simulator over a real socket."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from giftcards_local.supplier import (
    SANDBOX_API_KEY,
    ControlRefusedError,
    SupplierBook,
    SupplierControl,
    SupplierServer,
    cards_of,
    key_id,
    serve,
)

CHECK = "/v3/gift-cards/checkOrder"
HEADERS = {"X-Access-Token": SANDBOX_API_KEY}


@pytest.fixture
def server():
    with SupplierServer() as running:
        yield running


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, headers=HEADERS, timeout=5, trust_env=False) as client:
        yield client


def test_order_is_answered_over_http(server, http):
    order_id = server.control.add_order(3, order_id="an/order?", type_id="TEST_PARTIAL", price_per_card=12.5)

    order = http.get(f"{CHECK}/an%2Forder%3F").json()["data"]

    assert order["cards"] == cards_of(order_id, 1)
    call = server.control.calls()[0]
    assert (call.route, call.order_id, call.status, call.key_id) == (
        "checkOrder",
        order_id,
        200,
        key_id(SANDBOX_API_KEY),
    )


def test_server_listens_on_the_loopback_address_only(server):
    assert server.url.startswith("http://127.0.0.1:")


def test_answers_do_not_wait_for_acknowledgements(server, http):
    http.get("/v3/validate")
    started = time.monotonic()

    for _ in range(50):
        http.get("/v3/validate")

    # 50 delayed acknowledgements of 40 ms would be 2 s.
    assert time.monotonic() - started < 1.5


def test_connection_dropped_before_the_answer_gives_nothing(server, http):
    fault_id = server.control.add_fault(drop_connection="before")

    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/v3/validate")

    server.control.clear_faults(fault_id)
    assert http.get("/v3/validate").status_code == 200


def test_connection_dropped_in_the_body_gives_part_of_it(server, http):
    order_id = server.control.add_order(2)
    server.control.add_fault(drop_connection="mid-body", times=1)

    received: list[bytes] = []
    with http.stream("GET", f"{CHECK}/{order_id}") as response, pytest.raises(httpx.RemoteProtocolError):
        received.extend(response.iter_raw())

    assert response.status_code == 200
    assert b"".join(received).startswith(b'{"success":true')
    assert len(b"".join(received)) < int(response.headers["Content-Length"])
    assert http.get(f"{CHECK}/{order_id}").json()["data"]["status"] == "FULFILLED"


def test_delayed_answer_exceeds_the_clients_timeout(server, http):
    server.control.add_fault(delay_seconds=60, route="validate")

    with pytest.raises(httpx.ReadTimeout):
        http.get("/v3/validate", timeout=0.2)

    assert http.get("/v3/gift-cards/list").status_code == 200


def test_slow_body_has_short_reads_and_a_long_total(server, http):
    server.control.add_fault(slow_body={"chunkBytes": 10, "intervalSeconds": 0.02}, raw_body="x" * 100)
    started = time.monotonic()

    with http.stream("GET", "/v3/validate") as response:
        pieces = list(response.iter_raw())

    assert time.monotonic() - started >= 0.18
    assert len(pieces) > 1
    assert sum(map(len, pieces)) == 100


def test_endless_body_ends_with_the_connection(server, http):
    server.control.add_fault(endless_body=True, times=1)
    received = 0

    with http.stream("GET", "/v3/validate") as response:
        for chunk in response.iter_raw():
            received += len(chunk)
            if received > 1_000_000:
                break

    assert received > 1_000_000
    assert http.get("/v3/validate").status_code == 200


@pytest.mark.parametrize("fault", [{"delay_seconds": 600}, {"endless_body": True}])
def test_server_stops_without_waiting_for_answers(fault):
    with SupplierServer() as server:
        server.control.add_fault(**fault)
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        waiting = socket.create_connection(address)
        waiting.sendall(f"GET /v3/validate HTTP/1.1\r\nHost: x\r\nX-Access-Token: {SANDBOX_API_KEY}\r\n\r\n".encode())
        deadline = time.monotonic() + 5
        while not server.control.calls():
            assert time.monotonic() < deadline
        started = time.monotonic()

    assert time.monotonic() - started < 5
    waiting.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_orders_survive_a_restart_on_the_same_port(tmp_path):
    state_file = tmp_path / "supplier.json"
    with SupplierServer(SupplierBook(fulfil_after=0, state_file=state_file)) as server:
        order_id = server.control.add_order(2)
        before = httpx.get(f"{server.url}{CHECK}/{order_id}", headers=HEADERS, trust_env=False).json()["data"]
    port = int(server.url.rpartition(":")[2])

    with SupplierServer(SupplierBook(state_file=state_file), port=port) as again:
        after = httpx.get(f"{again.url}{CHECK}/{order_id}", headers=HEADERS, trust_env=False).json()["data"]

    assert after == before


def test_control_names_the_invalid_field(server):
    with pytest.raises(ControlRefusedError, match="quantity"):
        server.control.add_order(0)
    with pytest.raises(ControlRefusedError, match="no order nobody"):
        server.control.change_order("nobody", fulfil_after=0)


def test_control_replaces_keys_lifts_blocks_and_forgets_calls(server, http):
    server.control.set_keys(["another"])
    assert [http.get("/v3/validate").status_code for _ in range(6)] == [401] * 5 + [403]

    server.control.set_keys([SANDBOX_API_KEY])
    server.control.clear_blocks()
    server.control.clear_calls()

    assert http.get("/v3/validate").status_code == 200
    assert [call.status for call in server.control.calls()] == [200]


def test_taken_port_is_an_error_and_not_an_exit(server):
    with pytest.raises(OSError, match="in use"):
        serve(int(server.url.rpartition(":")[2]))


def test_simulator_in_another_process_is_controlled_by_url(tmp_path):
    program = (
        "import sys; from pathlib import Path; from giftcards_local.supplier import serve\n"
        "serve(0, fulfil_after=0, on_ready=lambda url: print(url, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        url = process.stdout.readline().strip()
        with SupplierControl(url) as control:
            order_id = control.add_order(1)
            control.add_fault(drop_connection="mid-body", times=1)
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(f"{url}{CHECK}/{order_id}", headers=HEADERS, trust_env=False)
            body = httpx.get(f"{url}{CHECK}/{order_id}", headers=HEADERS, trust_env=False).json()
        assert body["data"]["cards"] == cards_of(order_id, 1)
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (out, err) == ("", "")
