"""The service on a laptop: its processes, its state after a restart, and messages of the command line."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from giftcards.contracts.events import OrderPlaced
from giftcards_cli.stack import Stack
from giftcards_local import STACK_NAME
from giftcards_local.processes import Process, free_port, wait_for
from giftcards_local.service import LocalService
from giftcards_local.supplier import (
    SANDBOX_API_KEY,
    SupplierControl,
    cards_of,
)
from giftcards_local.webhooks import KEY_HEADER, Listener
from support.laptop import GIFTCARDS, NO_AWS, run
from support.webhook import Endpoint

IDLE_PARENT = "import subprocess, sys; print(subprocess.Popen('cat', stdin=-1).pid, flush=True); sys.stdin.read()"
"""Starts a process, and does not reap it. Both wait for input."""


def test_process_with_a_reused_pid_is_not_stopped() -> None:
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        remembered = Process(pid=bystander.pid, started=0.0, port=1)
        remembered.stop()
        assert not remembered.is_running
        assert bystander.poll() is None
    finally:
        bystander.kill()


def test_process_is_stopped_although_it_is_not_reaped() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", IDLE_PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        began = time.monotonic()
        Process(pid=child.pid, started=child.create_time(), port=1).stop()
        assert time.monotonic() - began < 5
        assert child.status() == psutil.STATUS_ZOMBIE
    finally:
        parent.kill()
        parent.communicate()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalService]:
    service = LocalService(tmp_path / "home")
    try:
        yield service
    finally:
        LocalService(service.folder).down()  # whichever test started it


def test_orders_survive_a_restart_and_not_a_wipe(local: LocalService) -> None:
    endpoint = Endpoint()
    listener = Listener(0, endpoint.take)
    listener.start()
    local.up(fulfil_after_seconds=0, webhook_url=listener.url, parameters={"PollSchedule": "60:1"})
    with SupplierControl(local.state.supplier_url) as supplier:
        order_id = supplier.add_order(2)
        waiting = supplier.add_order(1, fulfil_after=3600)
    stack = Stack(STACK_NAME, local.cloud.session, local.cloud.url)

    def delivered(order_id: str = order_id) -> bool:
        order = stack.orders.get(order_id)
        return order is not None and order.announced_at is not None

    for announced in (order_id, waiting):
        stack.bus.publish(OrderPlaced(order_id=announced, user_id="alice"), source="shop")
    assert wait_for(delivered, within_seconds=30)
    endpoint.until_accepted(order_id, "CardsDelivered")
    variables = local.cloud.shop_variables()
    assert {key for _, key, _ in endpoint.calls} == {variables["WEBHOOK_KEY"]}
    assert all(
        f"export {name}={shlex.quote(value)}" in local.environment_file.read_text() for name, value in variables.items()
    )
    relay = local.state.relay
    assert relay is not None
    assert relay.is_running

    assert local.down()
    assert not relay.is_running
    listener.stop()
    assert not local.down()
    again = LocalService(local.folder)
    again.up(fulfil_after_seconds=0, parameters={"PollSchedule": "60:1"})
    assert (again.state.cloud, again.state.supplier) != (None, None)
    assert "WEBHOOK_KEY" not in again.cloud.shop_variables()
    request = {"orderId": order_id, "userId": "alice"}
    stack = Stack(STACK_NAME, again.cloud.session, again.cloud.url)
    cards = stack.invoke("RevealCards", request)["cards"]
    assert [card["value"] for card in cards] == [card["value"] for card in cards_of(order_id, 2)]
    with SupplierControl(again.state.supplier_url) as supplier:
        supplier.change_order(waiting, fulfil_after=0)
    assert wait_for(lambda: delivered(waiting), within_seconds=30)  # the open order is resumed

    with SupplierControl(again.state.supplier_url) as supplier:
        running = supplier.add_order(1, fulfil_after=3600)
    stack.bus.publish(OrderPlaced(order_id=running, user_id="alice"), source="shop")
    assert wait_for(lambda: stack.orders.get(running) is not None, within_seconds=10)
    before = stack.orders.get(running)
    again._resume_orders()
    assert stack.orders.get(running) == before  # orders in progress continue

    again.wipe()
    assert not local.folder.exists()


def test_webhooks_command_prints_what_arrives() -> None:
    command = subprocess.Popen(
        [*GIFTCARDS, "local", "webhooks", "--port", "0"], stdout=subprocess.PIPE, text=True, env=NO_AWS
    )
    try:
        assert command.stdout is not None
        url = command.stdout.readline().split()[-1]
        event = {"time": "2026-11-26T12:00:00Z", "detail-type": "CardsDelivered", "detail": {"orderId": "order-1"}}
        assert httpx.post(url, json=event, headers={KEY_HEADER: "key"}, trust_env=False).status_code == 204
        assert f"--webhook-url {url}" in command.stdout.readline()
        assert command.stdout.readline().split() == [event["time"], "CardsDelivered", "order-1", "with", "a", "key"]
        httpx.post(url, json=event, trust_env=False)
        assert command.stdout.readline().endswith("WITHOUT A KEY\n")
    finally:
        command.send_signal(signal.SIGTERM)
        assert command.wait(timeout=30) == 1


def test_simulator_runs_alone_and_answers_as_documented() -> None:
    port = free_port()
    simulator = subprocess.Popen(
        [*GIFTCARDS, "local", "supplier", "--port", str(port), "--fulfil-after", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=NO_AWS,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-Access-Token": SANDBOX_API_KEY}) as supplier:

            def answers() -> bool:
                try:
                    return supplier.get("/v3/validate").is_success
                except httpx.HTTPError:
                    return False

            assert wait_for(answers, within_seconds=20)
            placed = supplier.post(
                "/v3/gift-cards/placeOrder", json={"productId": "p", "typeId": "TEST_PARTIAL", "quantity": 4}
            ).json()
            order = supplier.get(f"/v3/gift-cards/checkOrder/{placed['data']['orderId']}").json()["data"]
        assert (order["status"], order["fulfilled_quantity"]) == ("PARTIALLY_FILLED", 2)
    finally:
        simulator.send_signal(signal.SIGINT)
        simulator.communicate(timeout=10)


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["orders"], {}, "AWS_REGION"),
        (
            ["orders"],
            {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"},
            "AWS credentials",
        ),
        (
            ["show", "x"],
            {
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            },
            "http://127.0.0.1:9",
        ),
    ],
    ids=["no region", "no credentials", "nothing there"],
)
def test_missing_stack_is_one_line_with_the_fix(
    arguments: list[str], environment: dict[str, str], named: str, tmp_path: Path
) -> None:
    finished = run(*arguments, HOME=str(tmp_path), **environment)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.count("\n") == 1
    assert named in finished.stderr
    assert "`giftcards local up`" in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["place", "a b", "--user", "alice"], "ORDER_ID"),
        (["place", "x", "--user", "ü"], "--user"),
        (["place", "x"], "--user"),
        (["reveal", "x", "--user", "alice", "--reason", "r" * 513], "--reason"),
        (["orders", "--status", "LOST"], "LOST"),
        (["orders", "--limit", "0"], "--limit"),
        (["unknown"], "unknown"),
        (["local"], "Missing command"),
        (["local", "up", "--supplier-url", "nonsense", "--api-key-file", "x"], "--supplier-url"),
        (["local", "up", "--supplier-url", "https://x.example"], "--api-key-file"),
        (["local", "up", "--supplier-url", "https://x.example", "--api-key-file", "/no/such"], "/no/such"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments: list[str], named: str) -> None:
    finished = run(*arguments)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith("giftcards: ")
    assert finished.stderr.count("\n") == 1
    assert named in finished.stderr


def test_local_status_is_one_json_document() -> None:
    assert set(json.loads(run("local", "status", "--json").stdout)) == {
        "running", "cloudUrl", "supplierUrl", "simulatorRunning", "folder",
    }  # fmt: skip
