"""When to check an order: a pure function of its age."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

MAX_CHECKS = 1_500
"""Maximum of checks, and of deliveries that wait for a slot or an answer, in one execution.

The history of a Standard workflow has at most 25,000 events
(https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html); tests/workflow/test_history.py shows that
the rounds fit. A round in which AWS does not run a function does not count as a check. With the default schedule, the
history has room for days of such rounds. If an execution does run out of history, SweepOrders finds its order.
"""

MAX_DEADLINE_SECONDS = 20 * 86_400
"""20 days. Together with ``MAX_CHECKS`` times ``MAX_BACKOFF_SECONDS`` it fits into the state machine's timeout."""

POLL_SPREAD = 0.2
"""Maximum share by which jitter lengthens a poll interval, so that orders that were placed together do not hit Lambda's
concurrency limit and the gate in the same second. Intervals never get shorter, so ``checks`` stays an upper bound.
"""

SPREAD_SECONDS = 10
"""Orders that wait for the same moment come within these seconds after it, never before; after a short wait, within
twice its length."""
MIN_BACKOFF_SECONDS = 3
FIRST_BACKOFF_SECONDS = 6
BACKOFF_RATE = 1.1
"""With a higher rate, an order that meets a few failures in a row waits longer than the supplier needs: the gate limits
calls for all orders together (`make bench-scale`, 30 % failing calls)."""
MAX_BACKOFF_SECONDS = 900
YOUNG_SECONDS = 3_600
MAX_YOUNG_BACKOFF_SECONDS = 20
"""Longest backoff of an order that is younger than ``YOUNG_SECONDS``. The gate limits calls for all orders together, so
a longer one would not spare the supplier, but delay the order after every outage."""
MIN_QUEUE_WAIT_SECONDS, MAX_QUEUE_WAIT_SECONDS = 5, 15
"""Wait of an order that found no slot. It is the same for all, however often they have queued: an order that has queued
longer must not come later."""
MAX_FAIR_QUEUES = 120
"""After this number of waits in a row, about half an hour, the queue does not move: the supplier does not answer. Then
the waits grow, because each counts towards ``MAX_CHECKS`` and the order must be able to wait for days."""


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

    def interval(self, age_seconds: float) -> int | None:
        """Return the interval in seconds at this age, or None past the deadline."""
        return next((interval for until, interval in self.steps if age_seconds < until), None)

    def next_wait(self, age_seconds: float, jitter: float) -> int | None:
        """Return the seconds until the next check of an order of this age, or None past the deadline.

        The last wait is shortened so that there is a check at the deadline.

        Parameters
        ----------
        jitter
            A random number in [0, 1); it lengthens the interval by up to ``POLL_SPREAD``.
        """
        interval = self.interval(age_seconds)
        if interval is None:
            return None
        spread = round(interval * (1 + POLL_SPREAD * jitter))
        return max(1, min(spread, int(self.deadline_seconds - age_seconds)))


def max_backoff_seconds(age_seconds: float) -> int:
    """Return the longest backoff of an order of this age."""
    return MAX_YOUNG_BACKOFF_SECONDS if age_seconds < YOUNG_SECONDS else MAX_BACKOFF_SECONDS


def backoff_seconds(failures: int, age_seconds: float, jitter: float) -> int:
    """Return the seconds to wait after consecutive failures: exponential backoff.

    Parameters
    ----------
    failures
        From 1.
    jitter
        A random number in [0, 1) that determines half of the wait.
    """
    seconds = FIRST_BACKOFF_SECONDS * BACKOFF_RATE ** min(failures - 1, 100)
    return _jittered(min(seconds, max_backoff_seconds(age_seconds)), jitter)


def requested_wait_seconds(seconds: float, jitter: float) -> int:
    """Return the seconds until an order comes after a moment that is given for many orders.

    Parameters
    ----------
    seconds
        Time until that moment, greater than 0.
    jitter
        A random number in [0, 1) that spreads the orders after it.
    """
    return math.ceil(seconds + min(SPREAD_SECONDS, 2 * seconds) * jitter)


def gate_wait_seconds(failures: int, age_seconds: float, blocked_seconds: float, jitter: float) -> int:
    """Return the seconds until an order looks at a blocked gate again.

    A look is no call, and a person or a new key may unblock the gate at any time, so the waits grow linearly. If the
    block ends earlier, the order looks a few seconds after its end.

    Parameters
    ----------
    blocked_seconds
        Time until the block ends; 0 if only a new key ends it.
    failures, jitter
        As for ``backoff_seconds``.
    """
    longest = max_backoff_seconds(age_seconds)
    if 0 < blocked_seconds <= longest:
        return requested_wait_seconds(blocked_seconds, jitter)
    return _jittered(min(MIN_BACKOFF_SECONDS * (failures + 1), longest), jitter)


def queue_wait_seconds(queued: int, jitter: float) -> int:
    """Return the seconds until an order that found no slot looks for one again.

    Parameters
    ----------
    queued
        How often in a row it has found no slot, from 1.
    jitter
        A random number in [0, 1).
    """
    longest = min(MAX_BACKOFF_SECONDS, max(MAX_QUEUE_WAIT_SECONDS, 3 * (queued - MAX_FAIR_QUEUES)))
    return MIN_QUEUE_WAIT_SECONDS + int(jitter * (longest - MIN_QUEUE_WAIT_SECONDS + 1))


def _jittered(seconds: float, jitter: float) -> int:
    return max(MIN_BACKOFF_SECONDS, int(seconds / 2 + jitter * seconds / 2))
