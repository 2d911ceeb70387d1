"""Irregular API keys and blocks, through the whole stack, with good orders waiting.

The tests share one deployment and run in the order of this file: the first sees it without a usable API key.
"""

import json
from collections.abc import Iterator

import pytest

from giftcards_local import evidence
from giftcards_local.processes import wait_for
from giftcards_local.supplier import SANDBOX_API_KEY
from stack.irregular import USER, Running, irregular_deployment, refused


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with irregular_deployment(tmp_path_factory.mktemp("irregular-keys")) as deployed:
        yield deployed


def test_secret_with_several_values_is_never_sent(running: Running) -> None:  # row 10
    running.put_secret(json.dumps({"apiKey": SANDBOX_API_KEY, "other": "kQ7vX2mW9pL4"}))
    orders = running.place_good_orders()

    assert wait_for(lambda: running.gate()["reason"] == "KEY_MISSING", within_seconds=60)
    assert running.service.supplier.control.calls() == []

    running.put_secret("\ufeff" + json.dumps({"apiKey": f"{SANDBOX_API_KEY}\n"}))
    running.assert_delivered(orders)
    assert {call.status for call in running.service.supplier.control.calls()} == {200}


@pytest.mark.parametrize(
    ("status", "code"), [(400, "INVALID_ACCESS_TOKEN"), (200, "invalid-access-token")], ids=["6 with 400", "6 with 200"]
)
def test_key_refused_with_another_status_is_not_used_again(running: Running, status: int, code: str) -> None:
    control = running.service.supplier.control
    control.clear_faults()
    control.clear_calls()
    fault = control.add_fault(**refused(status, code))
    orders = running.place_good_orders()

    assert wait_for(lambda: running.gate()["reason"] == "KEY_REFUSED", within_seconds=60)
    assert f"{status} INVALID_ACCESS_TOKEN" in running.gate()["message"]
    control.clear_faults(fault)
    assert len(control.calls()) <= 3

    running.put_secret(f"{SANDBOX_API_KEY}\n")
    running.assert_delivered(orders)


def test_block_of_the_address_is_read_in_any_spelling(running: Running) -> None:
    control = running.service.supplier.control
    fault = control.add_fault(**refused(403, "ip-blocked"))
    running.service.publish({"orderId": running.service.order(), "userId": USER})

    assert wait_for(lambda: running.gate()["reason"] == "ADDRESS_BLOCKED", within_seconds=60)
    assert "403 IP_BLOCKED" in running.gate()["message"]
    control.clear_faults(fault)

    # Only the order that received the block waits for all of its Retry-After.
    assert running.service.giftcards("gate", "--open").returncode == 0
    running.assert_delivered(running.place_good_orders())


def test_no_card_or_key_leaks(running: Running) -> None:
    searched, leaks = evidence.search(running.service.evidence(), running.service.secrets())

    assert searched > 100_000
    assert leaks == []
