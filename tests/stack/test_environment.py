"""The local service in a shell configured for AWS, and in a folder with spaces in its name."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hostile import Listener, hostile_environment, listening
from support.laptop import NO_AWS, cloned, uv_cache, variables_of

COMMANDS = r"""
giftcards local up --fulfil-after 0
source .giftcards/env
curl -sSf "$SUPPLIER_URL/control/orders" -d '{"orderId": "order-1", "quantity": 1, "fulfilAfter": 0}'
giftcards place order-1 --user alice
until giftcards orders --status FULFILLED | grep order-1; do sleep 1; done
giftcards reveal order-1 --user alice
giftcards local down
"""


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as running:
        yield running


def test_local_service_ignores_the_users_aws_configuration(listener: Listener, tmp_path: Path) -> None:
    with cloned(tmp_path / "gift cards é's") as clone:
        variables = hostile_environment(listener.url, tmp_path / "home") | {"UV_CACHE_DIR": uv_cache()}
        done = subprocess.run(
            ["bash", "-ec", COMMANDS],
            cwd=clone, env=NO_AWS | variables | variables_of(clone),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", timeout=400, check=False,
        )  # fmt: skip
        logs = [path.read_text(encoding="utf-8")[-2000:] for path in (clone / ".giftcards").rglob("*.log")]
    assert done.returncode == 0, done.stdout + done.stderr + "\n".join(logs)
    assert "SANDBOX-CARD-" in done.stdout
    assert listener.heard == []
