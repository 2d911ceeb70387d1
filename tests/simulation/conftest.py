"""Fixtures of the simulation tests."""

from collections.abc import Iterator

import pytest

from giftcards_local import evidence
from simulation import world as simulated
from simulation.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """Give a world with nothing in it, and search it for cards and the key when the test is done with it."""
    with simulated.world() as made:
        yield made
        searched, leaks = evidence.search(made.evidence(), made.secrets(), pieces=True)
        assert searched > 100, "there is nothing to search"
        assert leaks == []
