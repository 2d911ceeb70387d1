"""Any sequence of outcomes and faults: every execution ends, its loops are bounded, and only a closed order is success.

``Workflow.run`` checks what holds on every path.
"""

from itertools import chain, count, repeat
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from giftcards.contracts.statuses import OrderStatus
from giftcards.contracts.workflow import Outcome
from workflow.answers import DEADLINE_PASSED, SETTLED, Closed, Malformed, Raised, result
from workflow.engine import Fault
from workflow.harness import Workflow, load_definition

TASKS = [name for name, state in load_definition()["States"].items() if state["Type"] == "Task"]
MAX_LENGTH = 3
HISTORY_LIMIT = 25_000
orders = count()

outcomes = st.builds(
    result,
    # The result CLOSED requires a closed row, which only ``Closed`` writes.
    st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.CLOSED]),
    wait_seconds=st.integers(1, 900),
    failures=st.integers(0, 5),
    announce_delay=st.booleans(),
)
surprises = st.sampled_from([Raised("KeyError"), Raised("Sandbox.Timedout"), Malformed({}), Malformed(None)])
closings = st.sampled_from([Closed(status) for status in OrderStatus if status.is_final])
codes = st.sampled_from(["ThrottlingException", "InternalServerError", "AccessDeniedException", "Timeout"])
faults = st.dictionaries(
    st.sampled_from(TASKS), st.lists(st.builds(Fault, codes, st.booleans()), min_size=1, max_size=2), max_size=2
)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    check=st.lists(outcomes | surprises, max_size=MAX_LENGTH),
    deliver=st.lists(outcomes | surprises | closings, max_size=MAX_LENGTH),
    planned=faults,
    again=st.booleans(),
)
def test_every_execution_ends_and_only_a_closed_order_is_success(
    workflow: Workflow, check: list[Any], deliver: list[Any], planned: dict[str, list[Fault]], *, again: bool
) -> None:
    order = {"orderId": f"order-{next(orders)}", "userId": "user-1"}
    for _ in range(1 + again):
        run = workflow.run(
            order,
            check=chain(check, [SETTLED], repeat(DEADLINE_PASSED)),
            deliver=chain(deliver, repeat(Closed())),
            faults={state: iter(fault) for state, fault in planned.items()},
        )

        assert run.history_events < HISTORY_LIMIT
        assert run.status in {"SUCCEEDED", "FAILED"}
        row = workflow.order_row(order["orderId"])
        if run.status == "SUCCEEDED" and run.states[-1] == "OrderClosed":
            assert row is not None
            assert OrderStatus(row["status"]).is_final
        if run.status == "FAILED" and not (row is not None and "announcedAt" in row):
            assert run.event_types or run.pauses, "no event was published"
