"""Fixtures of the simulation tests."""

from collections.abc import Iterator

import pytest

from giftcards_local import evidence
from simulation import world as simulated
from simulation.world import SCHEDULE, World


@pytest.fixture
def schedule() -> str:
    """Return the poll schedule. A test of many days overrides it with one of fewer checks."""
    return SCHEDULE


@pytest.fixture
def world(schedule: str) -> Iterator[World]:
    """Run an empty world. After the test, search everything in it for cards and the API key."""
    with simulated.world(schedule=schedule) as new:
        yield new
        searched, leaks = evidence.search(new.evidence(), new.secrets(), pieces=True)
        assert searched > 100, "there is nothing to search"
        assert leaks == []
