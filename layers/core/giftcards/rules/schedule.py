"""When to check an order: a pure function of its age."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

MAX_CHECKS = 1_500
"""Maximum of checks in one execution.

The history of a Standard workflow has at most 25,000 events
(https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html). One round of the loop writes 9 of them, or
16 with a delivery that has to wait. A round in which AWS does not run a function writes 17 (24 in a delivery) and does
not count as a check: with the default schedule there is room for days of such rounds. If an execution does run out of
history, SweepOrders finds its order.
"""

MAX_DEADLINE_SECONDS = 20 * 86_400
"""20 days. Together with ``MAX_CHECKS`` times ``MAX_BACKOFF_SECONDS`` it fits into the state machine's timeout."""

POLL_SPREAD = 0.2
"""Maximum share by which jitter lengthens a poll interval, so that orders that were placed together do not hit Lambda's
concurrency limit and the gate in the same second. Intervals never get shorter, so ``checks`` stays an upper bound.
"""

MIN_BACKOFF_SECONDS = 5
MAX_BACKOFF_SECONDS = 900


@dataclass(frozen=True)
class PollSchedule:
    """Poll intervals by the age of the order.

    Attributes
    ----------
    steps
        ``(until, interval)`` pairs in seconds: up to age ``until``, check every ``interval``.
        The last ``until`` is the deadline.
    """

    steps: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``until:interval`` pairs such as ``120:5,300:15``.

        Raises
        ------
        ValueError
            If a pair is not two positive integers, the ``until`` values do not increase, or there are more checks than
            one execution can record (``MAX_CHECKS``).
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
        """Number of checks of an order that stays pending until the deadline."""
        starts = (0, *(until for until, _ in self.steps))
        return sum(
            -(-(until - start) // interval) for start, (until, interval) in zip(starts, self.steps, strict=False)
        )

    def next_wait(self, age_seconds: float, jitter: float) -> int | None:
        """Return the seconds until the next check of an order of this age, or None past the deadline.

        The last wait is shortened so that there is a check at the deadline.

        Parameters
        ----------
        jitter
            A random number in [0, 1); it lengthens the interval by up to ``POLL_SPREAD``.
        """
        for until, interval in self.steps:
            if age_seconds < until:
                spread = round(interval * (1 + POLL_SPREAD * jitter))
                return max(1, min(spread, int(self.deadline_seconds - age_seconds)))
        return None


def backoff_seconds(failures: int, jitter: float) -> int:
    """Return the seconds to wait after consecutive failures: exponential backoff.

    Parameters
    ----------
    failures
        From 1.
    jitter
        A random number in [0, 1) that determines half of the wait.
    """
    return _jittered(MIN_BACKOFF_SECONDS * 2 ** min(failures, 20), jitter)


def gate_wait_seconds(failures: int, jitter: float) -> int:
    """Return the seconds to wait while calls are blocked. They grow linearly: reading the gate is no call.

    Parameters
    ----------
    failures, jitter
        As for ``backoff_seconds``.
    """
    return _jittered(MIN_BACKOFF_SECONDS * failures, jitter)


def queue_wait_seconds(failures: int, jitter: float) -> int:
    """Return the seconds to wait for a free slot. They grow with each attempt.

    Each attempt counts towards ``MAX_CHECKS``: while the supplier does not answer and one caller at a time tries it,
    all others queue, and must be able to do so for days.

    Parameters
    ----------
    failures, jitter
        As for ``backoff_seconds``.
    """
    return 1 + int(jitter * min(MAX_BACKOFF_SECONDS, 3 * failures))


def _jittered(seconds: int, jitter: float) -> int:
    longest = min(MAX_BACKOFF_SECONDS, seconds)
    return max(MIN_BACKOFF_SECONDS, int(longest / 2 + jitter * longest / 2))
