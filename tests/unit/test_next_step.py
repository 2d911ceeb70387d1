"""The outcome and the wait of an order after each answer and each kind of failure."""

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giftcards.contracts.statuses import SUPPLIER_STATUSES, OrderStatus
from giftcards.contracts.supplier import OrderProgress
from giftcards.contracts.workflow import COUNTS_OF_PREVIOUS_RELEASE, Doubt, Outcome, RetryState, StepRequest, StepResult
from giftcards.rules.next_step import (
    MIN_REFUSAL_SECONDS,
    PollPolicy,
    next_step,
    next_step_of_delivery,
)
from giftcards.rules.schedule import (
    MAX_BACKOFF_SECONDS,
    MAX_CHECKS,
    MAX_QUEUE_WAIT_SECONDS,
    MAX_YOUNG_BACKOFF_SECONDS,
    MIN_BACKOFF_SECONDS,
    MIN_QUEUE_WAIT_SECONDS,
    SPREAD_SECONDS,
    YOUNG_SECONDS,
    PollSchedule,
)
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure
from support.examples import DOUBTED, NOW, ORDER_ID, POLL_POLICY, step_request

DEADLINE = POLL_POLICY.schedule.deadline_seconds
MAX_WAIT = 99_999_999

AFTER_FAILURE = {
    FailureKind.BUSY: Outcome.SUPPLIER_BUSY,
    FailureKind.RATE_LIMITED: Outcome.SUPPLIER_BUSY,
    FailureKind.KEY_MISSING: Outcome.GATE_CLOSED,
    FailureKind.KEY_REFUSED: Outcome.KEY_REFUSED,
    FailureKind.ADDRESS_BLOCKED: Outcome.SUPPLIER_BUSY,
    FailureKind.ACCESS_DENIED: Outcome.SUPPLIER_BUSY,
    FailureKind.ORDER_REFUSED: Outcome.SUPPLIER_BUSY,
    FailureKind.GATE_CLOSED: Outcome.GATE_CLOSED,
    FailureKind.QUEUED: Outcome.GATE_CLOSED,
    FailureKind.ORDER_UNKNOWN: Outcome.ORDER_UNKNOWN,
    FailureKind.ORDER_REJECTED: Outcome.INVALID_ORDER,
    FailureKind.CONTRACT_BROKEN: Outcome.SUPPLIER_CONTRACT_BROKEN,
}
AFTER_ANSWER = {status: Outcome.SETTLED if status.is_final else Outcome.PENDING for status in SUPPLIER_STATUSES}
WAITS = {Outcome.PENDING, Outcome.SUPPLIER_BUSY, Outcome.KEY_REFUSED, Outcome.GATE_CLOSED}
PASSING = sorted(kind for kind, outcome in AFTER_FAILURE.items() if outcome in WAITS)
LASTING = sorted(set(FailureKind) - set(PASSING))
LOOKS = [FailureKind.GATE_CLOSED, FailureKind.KEY_MISSING]
"""No call was made: calls are blocked."""
OLD = YOUNG_SECONDS
"""Age in seconds from which backoffs grow further; the examples' schedule ends there."""
SERIOUS = sorted(set(PASSING) - {FailureKind.QUEUED})
"""Failures other than a full queue."""
BLOCK_THE_GATE = [
    FailureKind.BUSY,
    FailureKind.RATE_LIMITED,
    FailureKind.ADDRESS_BLOCKED,
    FailureKind.ACCESS_DENIED,
]

DOUBTS = [*LASTING, FailureKind.ORDER_REFUSED]
HELD_FOR = AFTER_FAILURE | {FailureKind.ORDER_REFUSED: Outcome.SUPPLIER_CONTRACT_BROKEN}

each_doubt = pytest.mark.parametrize("kind", DOUBTS)
each_passing_trouble = pytest.mark.parametrize("kind", PASSING)
each_lasting_trouble = pytest.mark.parametrize("kind", LASTING)
jitters = st.floats(0, 1, exclude_max=True)


def progress(status: OrderStatus = OrderStatus.HANDLING) -> OrderProgress:
    return OrderProgress.model_validate({"_id": ORDER_ID, "status": status, "quantity": 2})


def failure(kind: FailureKind = FailureKind.BUSY, retry_after: float | None = None) -> SupplierFailure:
    return SupplierFailure(kind, "What happened.", retry_after)


def step(
    answer: OrderProgress | SupplierFailure,
    *,
    age: float = 60,
    jitter: float = 0.5,
    policy: PollPolicy = POLL_POLICY,
    at_delivery: bool = False,
    **fields: Any,
) -> StepResult:
    request = step_request(claimed_at=NOW - timedelta(seconds=age), **fields)
    decide = next_step_of_delivery if at_delivery else next_step
    return decide(answer, request, now=NOW, policy=policy, jitter=jitter)


# ----------------------------------------------------------------- outcomes


@pytest.mark.parametrize("kind", FailureKind)
def test_every_failure_kind_has_its_outcome(kind: FailureKind):
    result = step(failure(kind))

    assert result.outcome is AFTER_FAILURE[kind], "add the outcome of the new kind"
    assert result.message.startswith("What happened.")
    assert result.retry_state.doubt == (doubt_of(kind, 60, 3) if kind in DOUBTS else DOUBTED.doubt)


@pytest.mark.parametrize("status", SUPPLIER_STATUSES)
def test_every_status_of_the_supplier_has_its_outcome(status: OrderStatus):
    assert step(progress(status)).outcome is AFTER_ANSWER[status], "add the outcome of the new status"


def test_every_outcome_but_closed_is_reached():
    reached = {step(failure(kind)).outcome for kind in FailureKind} | {
        step(progress(s)).outcome for s in SUPPLIER_STATUSES
    }

    assert reached | {step(progress(), age=DEADLINE).outcome} == set(Outcome) - {Outcome.CLOSED}


@each_lasting_trouble
@pytest.mark.parametrize("age", [0, DEADLINE * 10])
def test_failure_about_the_order_holds_it_at_any_age(kind: FailureKind, age: float):
    assert step(failure(kind), age=age, checks=MAX_CHECKS).outcome is AFTER_FAILURE[kind]


# --------------------------------------------------------- failures that wait


@given(
    kind=st.sampled_from(SERIOUS),
    age=st.integers(0, DEADLINE * 100_000).map(lambda milliseconds: milliseconds / 1_000),
    retry_after=st.none() | st.floats(0, MAX_WAIT),
    fields=st.fixed_dictionaries({"failures": st.integers(0, 10**6), "checks": st.integers(0, MAX_CHECKS - 1)}),
    jitter=jitters,
)
def test_supplier_failure_never_ends_an_order(
    kind: FailureKind, age: float, retry_after: float | None, fields: dict[str, int], jitter: float
):
    result = step(failure(kind, retry_after), age=age, jitter=jitter, retry_state=RetryState(), **fields)

    assert result.outcome in WAITS
    if result.outcome is Outcome.GATE_CLOSED:  # a look at the gate is no call
        assert result.wait_seconds <= (retry_after or MAX_BACKOFF_SECONDS) + SPREAD_SECONDS + 1
        return
    assert result.wait_seconds >= min(retry_after or 0, MAX_BACKOFF_SECONDS)


@pytest.mark.parametrize("kind", sorted(set(SERIOUS) - set(LOOKS)))
def test_wait_after_a_failure_is_at_least_the_schedules_after_an_hour(kind: FailureKind):
    policy = PollPolicy(PollSchedule.parse("86400:60"), 600)

    assert step(failure(kind), age=OLD - 1, jitter=0, policy=policy).wait_seconds == MIN_BACKOFF_SECONDS
    assert step(failure(kind), age=OLD, jitter=0, policy=policy, retry_state=RetryState()).wait_seconds == 60


@pytest.mark.parametrize("failures", [0, 1, 5, 100])
@given(kind=st.sampled_from(SERIOUS), jitter=jitters)
def test_own_wait_of_a_young_order_is_less_than_a_minute(failures: int, kind: FailureKind, jitter: float):
    result = step(failure(kind), age=1_000, failures=failures, jitter=jitter)

    assert result.wait_seconds <= MAX_YOUNG_BACKOFF_SECONDS


def test_wait_grows_exponentially_with_the_failures():
    waits = [step(failure(), age=OLD, failures=failures, jitter=0).wait_seconds for failures in (0, 4, 9, 19, 39, 99)]

    assert waits == [3, 4, 7, 18, 123, 450]


@pytest.mark.parametrize("kind", LOOKS)
def test_wait_at_a_blocked_gate_grows_slowly(kind: FailureKind):
    waits = [
        step(failure(kind), age=OLD, failures=failures, jitter=0).wait_seconds for failures in (0, 1, 2, 3, 9, 99, 999)
    ]

    assert waits == [3, 4, 6, 7, 16, 151, 450]


def test_wait_after_a_failure_may_pass_the_deadline():
    assert step(failure(retry_after=100), age=DEADLINE - 2, jitter=0).wait_seconds == 100


def test_unanswered_time_extends_the_deadline():
    outage = {"failures": 9, "unanswered_since": NOW - timedelta(hours=2)}

    result = step(progress(), age=DEADLINE + 3_600, **outage)

    assert (result.outcome, result.unanswered_seconds, result.failures) == (Outcome.PENDING, 7_200, 0)
    assert result.wait_seconds == POLL_POLICY.schedule.next_wait(DEADLINE - 3_600, 0.5)
    assert step(progress(), age=DEADLINE + 7_200, **outage).outcome is Outcome.DEADLINE_PASSED


def test_outages_that_are_over_add_up():
    fields = {"failures": 1, "unanswered_since": NOW - timedelta(seconds=50), "unanswered_seconds": 7_200}

    assert step(progress(), age=DEADLINE + 7_249, **fields).outcome is Outcome.PENDING
    assert step(progress(), age=DEADLINE + 7_249, **fields).unanswered_seconds == 7_250
    assert step(progress(), age=DEADLINE + 7_250, **fields).outcome is Outcome.DEADLINE_PASSED


@pytest.mark.parametrize("answer", [failure(), progress(OrderStatus.FULFILLED)])
def test_outage_is_counted_when_it_is_over(answer: OrderProgress | SupplierFailure):
    since = NOW - timedelta(hours=2)

    result = step(answer, failures=9, unanswered_since=since, unanswered_seconds=60)

    assert (result.unanswered_since, result.unanswered_seconds) == (since, 60)


# --------------------------------------------------------------------- doubt


def doubt_of(kind: FailureKind, since: float = 0, count: int = 1, *, at_delivery: bool = False) -> Doubt:
    return Doubt(kind=kind, since=NOW - timedelta(seconds=since), count=count, at_delivery=at_delivery)


def doubted(kind: FailureKind, since: float, count: int, *, at_delivery: bool = False) -> RetryState:
    return RetryState(doubt=doubt_of(kind, since, count, at_delivery=at_delivery))


BROKEN, UNKNOWN, REFUSED = FailureKind.CONTRACT_BROKEN, FailureKind.ORDER_UNKNOWN, FailureKind.ORDER_REFUSED


@each_doubt
def test_first_doubtful_answer_waits_by_the_schedule(kind: FailureKind):
    result = step(failure(kind), age=5, jitter=0, retry_state=RetryState())

    wait = MIN_BACKOFF_SECONDS if kind is REFUSED else 5
    assert (result.outcome, result.wait_seconds) == (Outcome.SUPPLIER_BUSY, wait)
    assert result.retry_state.doubt == doubt_of(kind)


@pytest.mark.parametrize("kind", LASTING)
@pytest.mark.parametrize(
    ("since", "before", "is_held"),
    [(59, 99, False), (60, 1, False), (60, 2, True), (86_400, 1, False), (86_400, 2, True)],
)
def test_doubt_of_a_minute_and_three_checks_holds_the_order(
    kind: FailureKind, since: float, before: int, is_held: bool
):
    result = step(failure(kind), retry_state=doubted(kind, since, before))

    assert result.outcome is (HELD_FOR[kind] if is_held else Outcome.SUPPLIER_BUSY)
    assert result.retry_state.doubt == doubt_of(kind, since, before + 1)


def test_doubts_of_several_kinds_count_together():
    result = step(failure(UNKNOWN), retry_state=doubted(BROKEN, 60, 2))

    assert result.outcome is Outcome.ORDER_UNKNOWN
    assert result.message.startswith("What happened.")
    assert re.findall(r"\d+", result.message) == ["3", "60"]


@each_doubt
@pytest.mark.parametrize("at_delivery", [False, True])
def test_pending_order_ends_the_doubt(kind: FailureKind, *, at_delivery: bool):
    result = step(progress(), retry_state=doubted(kind, 50, 9, at_delivery=at_delivery))

    assert result.retry_state.doubt is None


@each_doubt
@pytest.mark.parametrize("status", sorted(status for status in OrderStatus if status.is_final))
def test_final_status_ends_the_doubt_of_a_check_only(kind: FailureKind, status: OrderStatus):
    assert step(progress(status), retry_state=doubted(kind, 50, 9)).retry_state.doubt is None
    at_delivery = doubted(kind, 50, 9, at_delivery=True)
    assert step(progress(status), retry_state=at_delivery).retry_state.doubt == at_delivery.doubt


@pytest.mark.parametrize("kind", sorted(set(PASSING) - {FailureKind.ORDER_REFUSED}))
def test_failure_unrelated_to_the_order_keeps_its_doubt(kind: FailureKind):
    before = doubted(BROKEN, 500, 2)

    result = step(failure(kind), retry_state=before)

    assert result.outcome in WAITS
    assert result.retry_state.doubt == before.doubt


@pytest.mark.parametrize(
    ("age", "since", "is_held"),
    [
        (3_000, MIN_REFUSAL_SECONDS - 1, False),
        (3_599, MIN_REFUSAL_SECONDS, True),
        (DEADLINE, 59, False),
        (DEADLINE, 60, True),
    ],
)
def test_refused_order_is_held_after_an_hour_or_at_its_deadline(age: float, since: float, is_held: bool):
    result = step(failure(REFUSED), age=age, retry_state=doubted(REFUSED, since, 5))

    assert result.outcome is (Outcome.SUPPLIER_CONTRACT_BROKEN if is_held else Outcome.SUPPLIER_BUSY)


@pytest.mark.parametrize("schedule", ["120:5,300:15,3600:60,86400:120", "60:5", "86400:60", "1728000:7200"])
@given(data=st.data())
def test_permanent_refusal_is_held_soon_after_the_deadline(schedule: str, data: st.DataObject):
    policy, jitter = PollPolicy(PollSchedule.parse(schedule), 600), data.draw(jitters)
    state, age, failures, outcome = RetryState(), data.draw(st.integers(5, 100)), 0, Outcome.SUPPLIER_BUSY
    while outcome is Outcome.SUPPLIER_BUSY:
        request = step_request(claimed_at=NOW, failures=failures, retry_state=state, unanswered_since=NOW)
        now = NOW + timedelta(seconds=age)
        result = next_step(failure(REFUSED), request, now=now, policy=policy, jitter=jitter)
        state, failures, outcome = result.retry_state, result.failures, result.outcome
        age += result.wait_seconds

    assert outcome is Outcome.SUPPLIER_CONTRACT_BROKEN
    assert result.age_seconds <= max(policy.schedule.deadline_seconds, 3 * 7_200 * 1.2 + 100)


def test_refused_order_backs_off():
    young_doubt = {"retry_state": doubted(REFUSED, 30, 2)}
    waits = [
        step(failure(REFUSED), age=OLD, failures=failures, jitter=0, **young_doubt).wait_seconds
        for failures in (0, 4, 9, 19, 39, 99)
    ]

    assert waits == [3, 4, 7, 18, 123, 450]


def test_doubtful_answer_ends_a_row_of_failures():
    outage = {"failures": 9, "unanswered_since": NOW - timedelta(hours=2), "retry_state": RetryState()}

    result = step(failure(BROKEN), age=7_300, **outage)

    assert (result.failures, result.unanswered_seconds) == (0, 7_200)


@pytest.mark.parametrize("kind", LASTING)
def test_doubt_is_waited_out_past_the_deadline_too(kind: FailureKind):
    result = step(failure(kind), age=DEADLINE * 2, retry_state=RetryState())

    assert (result.outcome, result.wait_seconds) == (Outcome.SUPPLIER_BUSY, 60)


@pytest.mark.parametrize("kind", LASTING)
def test_retry_after_of_a_doubtful_answer_is_honoured(kind: FailureKind):
    assert step(failure(kind, 300), jitter=0, retry_state=RetryState()).wait_seconds == 300


def test_request_of_the_previous_release_has_the_counts_outside_the_state():
    request = step_request(failures=3, unanswered_since=NOW, unanswered_seconds=60)
    document = request.model_dump(mode="json", by_alias=True)
    document |= {name: document["retryState"].pop(name) for name in COUNTS_OF_PREVIOUS_RELEASE}

    assert StepRequest.model_validate(document) == request


@pytest.mark.parametrize("state", [{"doubt": {"kind": "LATER"}}, {"doubt": 5}, "text", {"later": 1}, {}])
def test_state_that_a_later_release_wrote_is_ignored(state: Any):
    request = StepRequest.model_validate(
        {"orderId": "o", "userId": "u", "claimedAt": NOW, "checks": 0, "failures": 0, "delayAnnounced": False}
        | {"retryState": state}
    )

    assert request.retry_state == RetryState()


def test_state_goes_through_json_unchanged():
    result = step(failure(BROKEN), retry_state=RetryState(), at_delivery=True)
    carried = result.model_dump(mode="json", by_alias=True)["retryState"]

    assert RetryState.model_validate(carried).doubt == doubt_of(BROKEN, at_delivery=True)


# --------------------------------------------------------------------- queue


@given(
    age=st.integers(0, DEADLINE * 10),
    failures=st.integers(0, 10**6),
    checks=st.integers(0, MAX_CHECKS - 1),
    jitter=jitters,
)
def test_queue_never_ends_an_order(age: int, failures: int, checks: int, jitter: float):
    result = step(failure(FailureKind.QUEUED), age=age, jitter=jitter, failures=failures, checks=checks)

    assert result.outcome is Outcome.GATE_CLOSED
    assert MIN_QUEUE_WAIT_SECONDS <= result.wait_seconds <= MAX_QUEUE_WAIT_SECONDS


@pytest.mark.parametrize("failures", [0, 4])
def test_queueing_is_no_failure(failures: int):
    before = RetryState(failures=failures, queued=7, unanswered_since=NOW - timedelta(seconds=50))

    result = step(failure(FailureKind.QUEUED), retry_state=before)

    assert result.retry_state == before.model_copy(update={"queued": 8})
    assert step(failure(), retry_state=result.retry_state).retry_state.queued == 0


def test_time_in_the_queue_does_not_count_against_the_deadline():
    before = RetryState(queued=900, unanswered_since=NOW - timedelta(hours=2))

    result = step(progress(), age=DEADLINE + 3_600, retry_state=before)

    assert (result.outcome, result.unanswered_seconds) == (Outcome.PENDING, 7_200)


# ------------------------------------------------------------------ delivery


@pytest.mark.parametrize("kind", sorted(set(PASSING) - {FailureKind.ORDER_REFUSED}))
def test_settled_order_waits_for_its_delivery_and_is_not_checked_again(kind: FailureKind):
    assert step(failure(kind), at_delivery=True).retry_delivery
    assert not step(failure(kind)).retry_delivery


@pytest.mark.parametrize("kind", DOUBTS)
def test_order_with_a_doubtful_delivery_is_checked_again(kind: FailureKind):
    result = step(failure(kind), at_delivery=True, retry_state=RetryState())

    assert (result.outcome, result.retry_delivery) == (Outcome.SUPPLIER_BUSY, False)


def test_order_that_is_pending_again_at_its_delivery_is_checked_again():
    result = step(progress(), at_delivery=True)

    assert (result.outcome, result.retry_delivery) == (Outcome.PENDING, False)


def test_wait_for_a_delivery_does_not_follow_the_schedule():
    assert step(failure(), age=1_000, jitter=0, at_delivery=True).wait_seconds == MIN_BACKOFF_SECONDS


# -------------------------------------------------------------- retry-after


@pytest.mark.parametrize(("seconds", "wait"), [(61, 61), (900, 900), (901, 900), (86_400, 900)])
@pytest.mark.parametrize("kind", BLOCK_THE_GATE)
def test_order_that_got_a_retry_after_waits_as_long(kind: FailureKind, seconds: int, wait: int):
    assert step(failure(kind, seconds), jitter=0).wait_seconds == wait


def test_retry_after_of_part_of_a_second_is_rounded_up():
    assert step(failure(retry_after=100.01), jitter=0).wait_seconds == 101


def test_same_retry_after_is_spread_and_never_early():
    waits = [step(failure(retry_after=800), jitter=tenth / 10).wait_seconds for tenth in range(10)]

    assert waits == sorted(set(waits))
    assert waits[0] == 800
    assert waits[-1] <= 800 + SPREAD_SECONDS


@pytest.mark.parametrize("kind", [*BLOCK_THE_GATE, FailureKind.GATE_CLOSED])
def test_50_orders_with_a_short_retry_after_are_spread(kind: FailureKind):
    waits = [step(failure(kind, 20), jitter=order / 50).wait_seconds for order in range(50)]

    assert min(waits) == 20
    assert max(waits) <= 20 + SPREAD_SECONDS
    assert max(map(waits.count, waits)) <= 50 / SPREAD_SECONDS


@pytest.mark.parametrize("seconds", [0, 800, 3_600, 30 * 86_400])
def test_50_orders_at_a_long_blocked_gate_look_often_and_spread(seconds: int):
    waits = [
        step(failure(FailureKind.GATE_CLOSED, seconds), age=100, failures=50, jitter=order / 50).wait_seconds
        for order in range(50)
    ]

    assert max(waits) <= MAX_YOUNG_BACKOFF_SECONDS
    assert len(set(waits)) >= 10


@given(kind=st.sampled_from(PASSING), retry_after=st.floats(0, MAX_WAIT), jitter=jitters)
def test_wait_has_a_limit_during_a_retry_after_of_days(kind: FailureKind, retry_after: float, jitter: float):
    assert step(failure(kind, retry_after), jitter=jitter).wait_seconds <= MAX_BACKOFF_SECONDS * 1.2


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize("kind", SERIOUS)
def test_failures_in_a_row_are_counted(kind: FailureKind):
    assert step(failure(kind), failures=4).failures == 5


def test_pending_order_ends_the_row_of_failures():
    assert step(progress(), failures=4).failures == 0


@pytest.mark.parametrize("status", sorted(status for status in OrderStatus if status.is_final))
def test_settled_order_keeps_its_failures_for_the_delivery(status: OrderStatus):
    assert step(progress(status), failures=4).failures == 4


# ------------------------------------------------------------------ deadline


def test_pending_order_is_waited_for_by_the_schedule():
    assert step(progress(), age=60, jitter=0).wait_seconds == 5
    assert step(progress(), age=60, jitter=0.9).wait_seconds == 6
    assert step(progress(), age=DEADLINE - 20).wait_seconds == 20


@pytest.mark.parametrize("age", [DEADLINE, DEADLINE + 0.5, DEADLINE * 3])
def test_pending_order_is_held_when_the_deadline_passes(age: float):
    result = step(progress(), age=age)

    assert result.outcome is Outcome.DEADLINE_PASSED
    assert str(int(age)) in result.message


def test_order_is_not_held_a_moment_before_the_deadline():
    result = step(progress(), age=DEADLINE - 0.001)

    assert (result.outcome, result.wait_seconds) == (Outcome.PENDING, 1)


@pytest.mark.parametrize("status", sorted(status for status in OrderStatus if status.is_final))
def test_order_that_settles_after_the_deadline_is_delivered(status: OrderStatus):
    assert step(progress(status), age=DEADLINE * 10, checks=MAX_CHECKS).outcome is Outcome.SETTLED


@each_passing_trouble
def test_deadline_does_not_pass_while_calls_are_blocked(kind: FailureKind):
    assert step(failure(kind), age=DEADLINE * 10, doubt=None).outcome in WAITS


# ---------------------------------------------------------------- max checks


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - set(PASSING) | {FailureKind.ORDER_REFUSED}))
def test_doubt_is_the_held_reason_when_the_history_is_full(kind: FailureKind):
    result = step(failure(kind), checks=MAX_CHECKS, retry_state=RetryState())

    assert result.outcome is HELD_FOR[kind]


@pytest.mark.parametrize(
    "answer", [progress(), *(failure(kind) for kind in PASSING if kind is not FailureKind.ORDER_REFUSED)]
)
def test_order_is_held_when_the_history_is_full(answer: OrderProgress | SupplierFailure):
    result = step(answer, checks=MAX_CHECKS)

    assert result.outcome is Outcome.DEADLINE_PASSED
    assert str(MAX_CHECKS) in result.message


@pytest.mark.parametrize("answer", [progress(), *(failure(kind) for kind in PASSING)])
def test_order_still_waits_at_the_last_check_that_fits(answer: OrderProgress | SupplierFailure):
    assert step(answer, checks=MAX_CHECKS - 1).outcome in WAITS


# --------------------------------------------------------------------- delay


@pytest.mark.parametrize("answer", [progress(), *(failure(kind) for kind in PASSING)])
def test_delay_is_published_once(answer: OrderProgress | SupplierFailure):
    assert not step(answer, age=599.9).announce_delay
    assert step(answer, age=600).announce_delay
    assert step(answer, age=3_000).announce_delay
    assert not step(answer, age=3_000, delay_announced=True).announce_delay


@pytest.mark.parametrize(
    ("answer", "age", "checks"),
    [
        *((progress(status), 700, 12) for status in sorted(OrderStatus) if status.is_final),
        *((failure(kind), 700, 12) for kind in LASTING),
        (progress(), DEADLINE, 12),
        (progress(), 700, MAX_CHECKS),
    ],
)
def test_delay_is_not_published_for_a_closed_or_held_order(answer: Any, age: float, checks: int):
    assert not step(answer, age=age, checks=checks).announce_delay


# ----------------------------------------------------------------------- age


def test_age_is_whole_seconds_since_the_claim():
    assert step(progress(), age=61.9).age_seconds == 61


def test_age_is_never_negative_when_the_clocks_differ():
    result = step(progress(), age=-5, jitter=0)

    assert (result.age_seconds, result.wait_seconds, result.outcome) == (0, 5, Outcome.PENDING)
