"""Fixtures of the stack tests, and which test files share a deployment.

The files of a group run in one worker, in their order, and share one deployment if they use ``service``. Groups run in
parallel, because they mostly wait.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from giftcards_local.supplier import SANDBOX_API_KEY
from support.service import Service, deployed
from support.webhook import WEBHOOK_URL

PARAMETERS = {"PollSchedule": "45:1", "DelayedAfterSeconds": "6", "LogRetentionDays": "1", "WebhookUrl": WEBHOOK_URL}
"""The deadline is short enough for a test, and long enough that only the orders meant for it reach it."""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Deploy once for each worker. No API key is set yet."""
    with deployed(tmp_path_factory.mktemp("stack"), PARAMETERS) as running:
        yield running


UNKNOWN_ORDERS = ("fedcba9876543210fedcba98", "89abcdef0123456789abcdef", "76543210fedcba9876543210")


@pytest.fixture(scope="session")
def unknown_orders(service: Service) -> tuple[str, ...]:
    """Set the API key, and place erin's orders, which the supplier does not know.

    Such an order is held after a minute. A file that runs early requests this fixture, so that a later file finds the
    orders held.
    """
    service.cloud.set_api_key(SANDBOX_API_KEY)
    for order_id in UNKNOWN_ORDERS:
        service.publish({"orderId": order_id, "userId": "erin"})
    return UNKNOWN_ORDERS


@pytest.fixture(scope="session")
def late_order(service: Service) -> str:
    """Place an order of frank's, which the supplier does not fulfil before the deadline."""
    order_id = service.order(1, fulfil_after=3600)
    service.publish({"orderId": order_id, "userId": "frank"})
    return order_id


GROUPS = (
    ("test_irregular_orders.py",),
    (
        "test_shop.py",
        "test_buyer.py",
        "test_page.py",
        "test_roles.py",
        "test_restore.py",
        "test_reconciliation.py",
        "test_upkeep.py",
    ),
    ("test_getting_started.py",),
    ("test_service.py",),
    ("test_irregular_keys.py",),
    ("test_demo.py", "test_environment.py"),
    ("test_artifacts.py", "test_supplier_simulator.py"),
    ("test_local.py",),
    ("test_chaos.py",),
    ("test_speed.py",),
    ("test_shop_load.py",),
    ("test_upgrade.py",),
)
"""The longest group comes first. No file before test_service.py shares its deployment, which has no API key yet. A file
that is not listed is its own group, after these."""
ORDER = [name for group in GROUPS for name in group]


class _GroupScheduling(LoadScopeScheduling):
    """Gives each worker one group after another, in the order of `GROUPS`."""

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.partition("::")[0].rpartition("/")[2]
        return next((str(number) for number, names in enumerate(GROUPS) if name in names), name)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Distribute groups. Not by `--dist loadgroup`: xdist 3.8 marks node ids in a way that pytest 9.2 ignores."""
    config.option.loadscopereorder = False
    return _GroupScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Restore the order of `GROUPS` and of the lines in each file."""
    here = Path(__file__).parent
    indexes = [index for index, item in enumerate(items) if here in item.path.parents]

    def rank(item: pytest.Item) -> tuple[int, str, int]:
        name = item.path.name
        return ORDER.index(name) if name in ORDER else len(ORDER), name, item.reportinfo()[1] or 0

    in_order = sorted((items[index] for index in indexes), key=rank)
    for index, item in zip(indexes, in_order, strict=True):
        items[index] = item
