"""Whatever happens in whatever order, the promise holds after every step, and every order comes to its end."""

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
    ENDS,
    SECONDS_TO_PASS,
    SECONDS_TO_SETTLE,
    TRANSIENT,
    USERS,
    Model,
)

PHASES = ("before", "after")


class Promise(RuleBasedStateMachine):
    """The service, and everything that can happen to it."""

    orders = Bundle("orders")

    @initialize(seed=st.integers(0, 1_000))
    def begin(self, seed: int) -> None:
        self.ends = ExitStack()
        self.model = Model(self.ends.enter_context(simulated.world()), seed)

    @rule(
        target=orders,
        quantity=st.integers(1, 3),
        ends=st.sampled_from(ENDS),
        settles_after=st.sampled_from(SECONDS_TO_SETTLE),
        user=st.sampled_from(USERS),
        then_seconds=st.sampled_from([6, 0]),
    )
    def place(self, quantity: int, ends: str, settles_after: float, user: str, then_seconds: float) -> str:
        self.model.place(quantity, ends, settles_after, user)
        self.model.pass_time(then_seconds)
        return list(self.model.placed)[-1]

    @rule(order=orders, user=st.sampled_from(USERS))
    def announce_again(self, order: str, user: str) -> None:
        self.model.announce(order, user)

    @rule(order=orders)
    def settle(self, order: str) -> None:
        self.model.settle(order)

    @rule(which=st.integers(0, len(TRANSIENT) - 1), times=st.integers(1, 4))
    def trouble_at_supplier(self, which: int, times: int) -> None:
        self.model.trouble_at_supplier(which, times)

    @rule(which=st.integers(0, len(BREAKING) - 1))
    def broken_answer(self, which: int) -> None:
        self.model.broken_answer(which)

    @rule(
        call=st.sampled_from(AWS_CALLS),
        code=st.sampled_from(AWS_CODES),
        phase=st.sampled_from(PHASES),
        times=st.sampled_from([1, 3, 12]),
    )
    def trouble_in_cloud(self, call: str, code: str, phase: str, times: int) -> None:
        self.model.trouble_in_cloud(call, code, phase, times)

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
    def give_key(self) -> None:
        self.model.give_key()

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
            with self.ends:
                self.model.end()


PARTS = 4
"""They can run side by side."""
EXAMPLES = 60 if os.environ.get("EXPLORE_BOUND") == "large" else 12
"""In each part: 48 in `make test`, 240 in `make explore`; `make soak` goes on for as long as it is told to."""


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
