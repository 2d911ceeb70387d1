"""When to ask the supplier about an order: a pure function of its age."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

MAX_CHECKS = 1_500
"""Checks that one execution may make.

A Standard workflow holds 25,000 history events (docs.aws.amazon.com, Step Functions service quotas). One round of the
loop writes 9 of them, and 16 if it goes through a delivery that has to wait. A round in which AWS does not run a
function writes 17 (24 in a delivery) and is no check: beside the checks of the default schedule there is room for days
of such rounds. SweepOrders finds the order of an execution that runs out of history all the same.
"""

MAX_DEADLINE_SECONDS = 20 * 86_400
"""20 days, and then ``MAX_CHECKS`` of ``MAX_BACKOFF_SECONDS``, fit into the time limit of the state machine."""

POLL_SPREAD = 0.2
"""Share of a poll interval by which jitter lengthens it, so that orders that were announced together do not stay in
step and meet Lambda's concurrency limit and the gate in the same second. Never shorter: ``checks`` stays a bound.
"""

MIN_BACKOFF_SECONDS = 5
MAX_BACKOFF_SECONDS = 900


@dataclass(frozen=True)
class PollSchedule:
    """Poll intervals by the age of the order.

    Attributes
    ----------
    steps
        ``(until, interval)`` pairs in seconds: up to age ``until``, ask every ``interval``.
        The last ``until`` is the deadline.
    """

    steps: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``until:interval`` pairs such as ``120:5,300:15``.

        Raises
        ------
        ValueError
            If a pair is not two positive whole numbers, if the ``until`` values do not grow, or if
            the schedule asks more often than one execution can record (``MAX_CHECKS``).
        """
        try:
            steps = tuple((int(until), int(interval)) for until, interval in (s.split(":") for s in text.split(",")))
        except ValueError:
            raise ValueError(
                f"PollSchedule {text!r}: expected until:interval pairs in seconds, as 120:5,300:15"
            ) from None
        if any(until < 1 or interval < 1 for until, interval in steps):
            raise ValueError(f"PollSchedule {text!r}: every number must be at least 1")
        if any(earlier[0] >= later[0] for earlier, later in pairwise(steps)):
            raise ValueError(f"PollSchedule {text!r}: each until must be later than the one before")
        schedule = cls(steps)
        if schedule.deadline_seconds > MAX_DEADLINE_SECONDS:
            raise ValueError(f"PollSchedule {text!r}: the deadline may be at most {MAX_DEADLINE_SECONDS} seconds")
        if schedule.checks > MAX_CHECKS:
            raise ValueError(
                f"PollSchedule {text!r}: {schedule.checks} checks for one order, at most {MAX_CHECKS} fit into one "
                "execution's history; make the intervals longer or the deadline shorter"
            )
        return schedule

    @property
    def deadline_seconds(self) -> int:
        """Age at which a pending order is held."""
        return self.steps[-1][0]

    @property
    def checks(self) -> int:
        """How many checks an order takes that stays pending to the deadline."""
        starts = (0, *(until for until, _ in self.steps))
        return sum(
            -(-(until - start) // interval) for start, (until, interval) in zip(starts, self.steps, strict=False)
        )

    def next_wait(self, age_seconds: float, jitter: float) -> int | None:
        """Seconds to wait before the next check of an order of this age, or None past the deadline.

        The last wait is cut so that a check falls on the deadline.

        Parameters
        ----------
        age_seconds
            Age of the order.
        jitter
            A random number in [0, 1); it lengthens the interval by up to ``POLL_SPREAD``.
        """
        for until, interval in self.steps:
            if age_seconds < until:
                spread = round(interval * (1 + POLL_SPREAD * jitter))
                return max(1, min(spread, int(self.deadline_seconds - age_seconds)))
        return None


def backoff_seconds(failures: int, jitter: float) -> int:
    """Seconds to leave the supplier alone after so many failures in a row: they double.

    Parameters
    ----------
    failures
        Failed attempts in a row, from 1.
    jitter
        A random number in [0, 1); half of the wait is drawn with it, so that orders that
        failed together do not come back together.
    """
    return _jittered(MIN_BACKOFF_SECONDS * 2 ** min(failures, 20), jitter)


def gate_wait_seconds(failures: int, jitter: float) -> int:
    """Seconds to wait before looking at a closed gate again: they grow slowly, since a look costs the supplier nothing.

    Parameters
    ----------
    failures, jitter
        As for ``backoff_seconds``.
    """
    return _jittered(MIN_BACKOFF_SECONDS * failures, jitter)


def queue_wait_seconds(failures: int, jitter: float) -> int:
    """Seconds to wait for a free place at the supplier's gate: the more orders queue, the longer each of them does.

    Each look is one of the ``MAX_CHECKS``: while a supplier that answers nobody is tried by one caller at a time, all
    others queue, and must be able to for days.

    Parameters
    ----------
    failures, jitter
        As for ``backoff_seconds``.
    """
    return 1 + int(jitter * min(MAX_BACKOFF_SECONDS, 3 * failures))


def _jittered(seconds: int, jitter: float) -> int:
    longest = min(MAX_BACKOFF_SECONDS, seconds)
    return max(MIN_BACKOFF_SECONDS, int(longest / 2 + jitter * longest / 2))
