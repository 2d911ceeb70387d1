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
    """Give a copy of this repository, and stop what runs in it."""
    with cloned(tmp_path_factory.mktemp("clone")) as copy:
        yield copy


def follow(page: list[Block], clone: Path) -> None:
    """Follow a part of a page in a clone, and see what it says."""
    printed = run_blocks(page, clone, NO_AWS | variables_of(clone), within_seconds=600)
    missing = {str(block): not_printed(block, text) for block, text in zip(page, printed, strict=True)}
    assert {block: lines for block, lines in missing.items() if lines} == {}


def test_a_newcomer_who_follows_getting_started_sees_what_it_says(clone: Path) -> None:
    follow(GETTING_STARTED[:-1], clone)


def test_the_same_service_works_against_a_real_supplier_and_shows_it_no_key_but_its_own(clone: Path) -> None:
    key = "key-of-the-real-supplier"
    local = LocalService(clone / ".giftcards")  # as the newcomer has left it
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


def test_cleaning_up_as_getting_started_says_leaves_nothing_that_runs_or_remembers(clone: Path) -> None:
    local = LocalService(clone / ".giftcards")

    follow(GETTING_STARTED[-1:], clone)

    assert not local.is_running
    assert not local.folder.exists()
