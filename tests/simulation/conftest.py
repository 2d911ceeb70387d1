"""Fixtures of the simulation tests."""

from collections.abc import Iterator

import pytest

from simulation import world as simulated
from simulation.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """Give a world with nothing in it."""
    with simulated.world() as made:
        yield made
