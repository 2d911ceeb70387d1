"""A newcomer follows docs/getting-started.md in a copy of this repository.

The tests share one local service and run in the order of this file.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from giftcards.contracts.events import OrderPlaced
from giftcards_cli.stack import Stack
from giftcards_local import STACK_NAME
from giftcards_local.processes import wait_for
from giftcards_local.service import LocalService
from giftcards_local.supplier import SupplierBook, SupplierControl, SupplierServer, key_id
from support.laptop import NO_AWS, cloned, variables_of
from support.page_commands import not_printed, run_blocks
from template.pages import Block, blocks

GETTING_STARTED = blocks("docs/getting-started.md")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copy this repository, and stop what runs in the copy in the end."""
    with cloned(tmp_path_factory.mktemp("clone")) as copy:
        yield copy


def follow(page: list[Block], clone: Path) -> None:
    """Run a part of a page in a clone, and compare what it prints."""
    printed = run_blocks(page, clone, NO_AWS | variables_of(clone), within_seconds=600)
    missing = {str(block): not_printed(block, text) for block, text in zip(page, printed, strict=True)}
    assert {block: lines for block, lines in missing.items() if lines} == {}


def test_getting_started_prints_what_it_shows(clone: Path) -> None:
    follow(GETTING_STARTED[:-1], clone)


def test_real_supplier_gets_only_its_own_key(clone: Path) -> None:
    key = "key-of-the-real-supplier"
    local = LocalService(clone / ".giftcards")  # as the previous test left it
    stack = Stack(STACK_NAME, local.cloud.session, local.cloud.url)
    with SupplierServer(SupplierBook(api_keys=[key], fulfil_after=0)) as real:
        order_id = real.control.add_order(1)
        with SupplierControl(local.state.supplier_url) as simulator:
            simulator.add_order(1, order_id=order_id, fulfil_after=3600)
        stack.bus.publish(OrderPlaced(order_id=order_id, user_id="alice"), source="shop")

        local.up(supplier_url=real.url, api_key=key, parameters={"PollSchedule": "60:1"})

        def delivered() -> bool:
            order = stack.orders.get(order_id)
            return order is not None and order.announced_at is not None

        assert wait_for(delivered, within_seconds=60)
        assert {call.key_id for call in real.control.calls()} == {key_id(key)}


def test_clean_up_removes_processes_and_state(clone: Path) -> None:
    local = LocalService(clone / ".giftcards")

    follow(GETTING_STARTED[-1:], clone)

    assert not local.is_running
    assert not local.folder.exists()
