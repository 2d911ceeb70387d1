"""Whatever happens, in any order: the promise holds after every step, and every order is closed in the end."""

import os
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from simulation import world as simulated
from simulation.model import (
    AWS_CALLS,
    AWS_CODES,
    BREAKING,
    SECONDS_TO_PASS,
    SECONDS_TO_SETTLE,
    TRANSIENT,
    TYPE_IDS,
    USERS,
    Model,
)

PHASES = ("before", "after")


class Promise(RuleBasedStateMachine):
    """The steps that can happen."""

    orders = Bundle("orders")

    @initialize(seed=st.integers(0, 1_000))
    def begin(self, seed: int) -> None:
        self.stack = ExitStack()
        self.model = Model(self.stack.enter_context(simulated.world()), seed)

    @rule(
        target=orders,
        quantity=st.integers(1, 3),
        type_id=st.sampled_from(TYPE_IDS),
        settles_after=st.sampled_from(SECONDS_TO_SETTLE),
        user=st.sampled_from(USERS),
        then_seconds=st.sampled_from([6, 0]),
    )
    def order(self, quantity: int, type_id: str, settles_after: float, user: str, then_seconds: float) -> str:
        self.model.order(quantity, type_id, settles_after, user)
        self.model.pass_time(then_seconds)
        return list(self.model.placed)[-1]

    @rule(order=orders, user=st.sampled_from(USERS))
    def place_again(self, order: str, user: str) -> None:
        self.model.place(order, user)

    @rule(order=orders)
    def settle(self, order: str) -> None:
        self.model.settle(order)

    @rule(which=st.integers(0, len(TRANSIENT) - 1), times=st.integers(1, 4))
    def supplier_fault(self, which: int, times: int) -> None:
        self.model.supplier_fault(which, times)

    @rule(which=st.integers(0, len(BREAKING) - 1))
    def broken_answer(self, which: int) -> None:
        self.model.broken_answer(which)

    @rule(
        call=st.sampled_from(AWS_CALLS),
        code=st.sampled_from(AWS_CODES),
        phase=st.sampled_from(PHASES),
        times=st.sampled_from([1, 3, 12]),
    )
    def aws_fault(self, call: str, code: str, phase: str, times: int) -> None:
        self.model.aws_fault(call, code, phase, times)

    @rule(times=st.sampled_from([1, 3, 12]))
    def bus_refuses(self, times: int) -> None:
        self.model.bus_refuses(times)

    @rule(number=st.integers(1, 11), phase=st.sampled_from(PHASES))
    def kill(self, number: int, phase: str) -> None:
        self.model.kill(number, phase)

    @rule(order=consumes(orders))
    def abort(self, order: str) -> None:
        self.model.abort(order)

    @rule()
    def revoke_key(self) -> None:
        self.model.revoke_key()

    @rule()
    def replace_key(self) -> None:
        self.model.replace_key()

    @rule()
    def sweep(self) -> None:
        self.model.sweep()

    @rule(seconds=st.sampled_from(SECONDS_TO_PASS))
    def pass_time(self, seconds: float) -> None:
        self.model.pass_time(seconds)

    @invariant()
    def promise_holds(self) -> None:
        if hasattr(self, "model"):
            self.model.check()

    def teardown(self) -> None:
        if hasattr(self, "model"):
            with self.stack:
                self.model.end()


PARTS = 4
"""Workers can run them in parallel."""
EXAMPLES = 60 if os.environ.get("EXPLORE_BOUND") == "large" else 12
"""In each part: 48 in `make test`, 240 in `make explore`."""


@pytest.mark.parametrize("part", range(PARTS))
def test_promise_holds_whatever_happens(part: int) -> None:
    run_state_machine_as_test(
        seed(part)(Promise),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=9,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
