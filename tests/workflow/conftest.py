"""Fixtures of the workflow tests."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from workflow.engine import Engine, instant_engine
from workflow.harness import Workflow


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Give an empty cloud in which workflows run at once."""
    with (
        mock_aws(config={"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}),
        instant_engine() as engine,
    ):
        yield engine


@pytest.fixture
def workflow(engine: Engine) -> Workflow:
    """Give the real workflow with an empty table."""
    return Workflow(engine)
