"""When an order is checked again, and for how long."""

from collections.abc import Callable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from giftcards.rules.schedule import (
    MAX_BACKOFF_SECONDS,
    MAX_CHECKS,
    MAX_FAIR_QUEUES,
    MAX_QUEUE_WAIT_SECONDS,
    MAX_YOUNG_BACKOFF_SECONDS,
    MIN_BACKOFF_SECONDS,
    MIN_QUEUE_WAIT_SECONDS,
    POLL_SPREAD,
    SPREAD_SECONDS,
    YOUNG_SECONDS,
    PollSchedule,
    backoff_seconds,
    gate_wait_seconds,
    queue_wait_seconds,
)
from support.cloud import template

SCHEDULE = PollSchedule.parse("120:5,300:15,3600:60")
EVENTS_A_ROUND_AT_MOST = 16
HISTORY_EVENTS = 25_000

jitters = st.floats(0, 1, exclude_max=True)


@st.composite
def schedules(draw: st.DrawFn) -> PollSchedule:
    spans = draw(st.lists(st.tuples(st.integers(1, 90_000), st.integers(1, 4_000)), min_size=1, max_size=6))
    until, steps = 0, []
    for span, interval in spans:
        until += span
        steps.append((until, interval))
    schedule = PollSchedule(tuple(steps))
    assume(schedule.checks <= MAX_CHECKS)
    return schedule


def text_of(schedule: PollSchedule) -> str:
    return ",".join(f"{until}:{interval}" for until, interval in schedule.steps)


# ------------------------------------------------------------------ reading


def test_last_until_of_the_schedule_is_the_deadline():
    schedule = PollSchedule.parse("120:5,300:15")

    assert schedule.steps == ((120, 5), (300, 15))
    assert schedule.deadline_seconds == 300


@given(schedules())
def test_every_schedule_that_fits_can_be_read(schedule: PollSchedule):
    assert PollSchedule.parse(text_of(schedule)) == schedule


FORM, RANGE, ORDER = "until:interval", "at least 1", "later"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", FORM),
        ("120", FORM),
        ("120:5,", FORM),
        (",120:5", FORM),
        ("120:5:3", FORM),
        ("120:", FORM),
        ("two:5", FORM),
        ("120:5.5", FORM),
        ("120;5", FORM),
        ("9" * 5_000 + ":5", FORM),
        ("0:5", RANGE),
        ("-120:5", RANGE),
        ("120:0", RANGE),
        ("120:-5", RANGE),
        ("300:15,120:5", ORDER),
        ("120:5,120:15", ORDER),
        (f"{MAX_CHECKS + 1}:1", f"{MAX_CHECKS + 1} checks .*{MAX_CHECKS}"),
        ("120:5,86400:10", f"8652 checks .*{MAX_CHECKS}"),
    ],
)
def test_bad_schedule_is_refused_with_the_reason_and_the_text(text: str, complaint: str):
    with pytest.raises(ValueError, match=complaint) as refusal:
        PollSchedule.parse(text)

    assert str(refusal.value).startswith(f"PollSchedule {text!r}: ")


def test_schedule_of_exactly_as_many_checks_as_fit_is_taken():
    assert PollSchedule.parse(f"{MAX_CHECKS}:1").checks == MAX_CHECKS


def test_default_schedule_fits_into_one_execution():
    schedule = PollSchedule.parse(template()["Parameters"]["PollSchedule"]["Default"])

    assert schedule.deadline_seconds == 24 * 60 * 60
    assert schedule.checks < MAX_CHECKS


def test_most_checks_leave_room_in_the_history():
    assert MAX_CHECKS * EVENTS_A_ROUND_AT_MOST < HISTORY_EVENTS


# ------------------------------------------------------------------ waiting


@pytest.mark.parametrize(
    ("age", "wait"),
    [
        (0, 5),
        (60, 5),
        (118, 5),  # a wait is not cut where the interval changes
        (119, 5),
        (119.999, 5),
        (120, 15),
        (120.001, 15),
        (299, 15),
        (300, 60),
        (3_540, 60),
        (3_541, 59),  # a wait is cut where the deadline is
        (3_598.5, 1),
        (3_599, 1),
        (3_599.999, 1),
        (3_600, None),
        (3_600.001, None),
        (1e12, None),
    ],
)
def test_wait_at_and_around_every_boundary(age: float, wait: int | None):
    assert SCHEDULE.next_wait(age, 0) == wait


def test_long_interval_is_cut_to_the_deadline():
    assert PollSchedule.parse("10:60").next_wait(0, 0.9) == 10


def test_orders_placed_together_do_not_stay_in_step():
    schedule = PollSchedule.parse("3600:60")
    ages = [0] * 50
    for _ in range(3):
        ages = [age + (schedule.next_wait(age, order / 50) or 0) for order, age in enumerate(ages)]

    assert len(set(ages)) > 10
    assert min(ages) == 3 * 60
    assert max(ages) <= 3 * 60 * (1 + POLL_SPREAD)


@given(schedules(), st.lists(jitters, min_size=1, max_size=7))
@example(PollSchedule(((1, 1),)), [0])
@example(PollSchedule(((MAX_CHECKS, 1),)), [0])
def test_pending_order_is_checked_as_often_as_counted(schedule: PollSchedule, draws: list[float]):
    age = checks = 0
    while (wait := schedule.next_wait(age, draws[checks % len(draws)])) is not None:
        assert wait >= 1
        age += wait
        checks += 1

    # Not more than counted: a wait that reaches into the next step makes that step shorter, never longer.
    assert checks <= schedule.checks
    assert age == schedule.deadline_seconds


@given(schedules(), st.lists(st.floats(0, 3), min_size=1, max_size=7), jitters)
def test_slow_checks_add_at_most_one_check(schedule: PollSchedule, latencies: list[float], jitter: float):
    age, checks = 0.0, 0
    while (wait := schedule.next_wait(age, jitter)) is not None:
        asked_at = age + wait
        age = asked_at + latencies[checks % len(latencies)]
        checks += 1

    # Waits are whole seconds, so the one before the last can end within the last second: one more check, a second late.
    assert checks <= schedule.checks + 1
    assert asked_at < schedule.deadline_seconds + 1
    assert age >= schedule.deadline_seconds


# ------------------------------------------------------------------ backoff


Backoff = Callable[[int, float, float], int]


def gate_wait(failures: int, age: float, jitter: float) -> int:
    return gate_wait_seconds(failures, age, 0, jitter)


each_backoff = pytest.mark.parametrize("backoff", [backoff_seconds, gate_wait])
ages = st.floats(0, 100 * YOUNG_SECONDS)


@each_backoff
@given(failures=st.integers(1, 10**6), age=ages, jitter=jitters)
def test_backoff_is_bounded_both_ways(backoff: Backoff, failures: int, age: float, jitter: float):
    longest = MAX_YOUNG_BACKOFF_SECONDS if age < YOUNG_SECONDS else MAX_BACKOFF_SECONDS

    assert MIN_BACKOFF_SECONDS <= backoff(failures, age, jitter) <= longest


def test_order_waits_a_minute_at_most_in_its_first_hour():
    assert MAX_YOUNG_BACKOFF_SECONDS <= 60
    assert YOUNG_SECONDS == 3_600


@each_backoff
@given(failures=st.integers(1, 400), age=ages, jitter=jitters)
def test_backoff_never_shrinks_with_more_failures(backoff: Backoff, failures: int, age: float, jitter: float):
    assert backoff(failures + 1, age, jitter) >= backoff(failures, age, jitter)


@each_backoff
@pytest.mark.parametrize(
    ("age", "longest"), [(0, MAX_YOUNG_BACKOFF_SECONDS), (3_599, MAX_YOUNG_BACKOFF_SECONDS), (3_600, 900)]
)
def test_backoff_reaches_the_longest_wait_of_the_age(backoff: Backoff, age: float, longest: int):
    assert backoff(10_000, age, 0.9999) == longest - 1


def test_wait_at_a_blocked_gate_grows_linearly():
    assert [gate_wait(failures, YOUNG_SECONDS, 0.9999) for failures in range(1, 7)] == [5, 8, 11, 14, 17, 20]


@pytest.mark.parametrize(("blocked", "waits"), [(5, (5, 15)), (12, (12, 22)), (20, (20, 30))])
def test_order_comes_seconds_after_a_block_that_ends_soon(blocked: float, waits: tuple[int, int]):
    spread = [gate_wait_seconds(50, 60, blocked, share / 1_000) for share in range(1_000)]

    assert (min(spread), max(spread)) == waits
    assert len(set(spread)) > SPREAD_SECONDS


@pytest.mark.parametrize(("blocked", "waits"), [(0.5, (1, 2)), (1, (1, 3)), (2.5, (3, 8))])
def test_order_comes_sooner_after_a_block_of_moments(blocked: float, waits: tuple[int, int]):
    spread = [gate_wait_seconds(50, 60, blocked, share / 1_000) for share in range(1_000)]

    assert (min(spread), max(spread)) == waits


def test_order_looks_at_a_long_block_again_and_again():
    assert gate_wait_seconds(50, 60, 21, 0.9999) == MAX_YOUNG_BACKOFF_SECONDS - 1
    assert gate_wait_seconds(500, YOUNG_SECONDS, 86_400, 0.9999) == MAX_BACKOFF_SECONDS - 1


def test_backoff_grows_by_a_tenth_until_it_is_as_long_as_it_gets():
    old = [backoff_seconds(failures, YOUNG_SECONDS, 0) for failures in (1, 5, 10, 20, 30, 50, 54, 99)]
    young = [backoff_seconds(failures, 60, 0.9999) for failures in (1, 2, 3, 4, 5, 8, 12, 14, 15, 99)]

    assert old == [3, 4, 7, 18, 47, 320, 450, 450]
    assert young == [5, 6, 7, 7, 8, 11, 17, 19, 19, 19]


@pytest.mark.parametrize("failures", [1, 3, 8, 50])
def test_jitter_spreads_the_backoff_over_half_of_it(failures: int):
    shortest, longest = (backoff_seconds(failures, YOUNG_SECONDS, jitter) for jitter in (0, 0.9999))

    assert longest >= 2 * shortest - 1
    assert {backoff_seconds(failures, YOUNG_SECONDS, share / 10_000) for share in range(10_000)} == set(
        range(shortest, longest + 1)
    )


@given(queued=st.integers(1, 10**6), jitter=jitters)
def test_queue_wait_is_bounded_and_never_shrinks(queued: int, jitter: float):
    assert MIN_QUEUE_WAIT_SECONDS <= queue_wait_seconds(queued, jitter) <= MAX_BACKOFF_SECONDS
    assert queue_wait_seconds(queued + 1, jitter) >= queue_wait_seconds(queued, jitter)


@pytest.mark.parametrize("queued", [1, 2, MAX_FAIR_QUEUES])
def test_order_that_has_queued_longer_comes_no_later(queued: int):
    waits = {queue_wait_seconds(queued, share / 1_000) for share in range(1_000)}

    assert waits == set(range(MIN_QUEUE_WAIT_SECONDS, MAX_QUEUE_WAIT_SECONDS + 1))


def test_order_can_queue_for_days_in_one_execution():
    assert sum(queue_wait_seconds(queued, 0.5) for queued in range(1, MAX_CHECKS)) > 5 * 86_400
