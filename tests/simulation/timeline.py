"""Simulated time: it jumps to the next time at which something happens, and one actor runs at a time.

An actor is a thread that runs until it sleeps. A test chooses which of the actors that wake at the same time runs
first. So a run can be repeated, and a property test can try different orders.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import time_machine

REAL_SECONDS = 60.0
"""Limit for an actor that does not sleep. Actors need milliseconds, so this is a deadlock."""
START = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)


@dataclass
class _Sleeper:
    wakes_at: datetime
    woken: threading.Event = field(default_factory=threading.Event)


def _without_exits(hook: Callable[[threading.ExceptHookArgs], object]) -> Callable[[threading.ExceptHookArgs], None]:
    """Ignore SystemExit, as Python does and pytest's hook does not."""

    def report(raised: threading.ExceptHookArgs) -> None:
        if raised.exc_type is not SystemExit:
            hook(raised)

    return report


class Timeline:
    """Runs actors one at a time.

    Parameters
    ----------
    traveller
        Sets the clock of this process.
    choose
        Takes the number of actors that wake at the same time, and returns the index of the one that runs first.
    """

    def __init__(self, traveller: time_machine.Traveller, choose: Callable[[int], int] = lambda _: 0) -> None:
        self._traveller = traveller
        self.choose = choose
        self._sleepers: list[_Sleeper] = []
        self._actor_rests = threading.Semaphore(0)
        self._errors: list[BaseException] = []
        self._is_over = False
        self.actor_runs = False

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def pass_by(self, seconds: float) -> None:
        """Advance the clock while an actor works. Actors that wake meanwhile run when it sleeps."""
        self._traveller.shift(timedelta(seconds=seconds))

    def begin(self, body: Callable[[], None]) -> None:
        """Add an actor. It starts when the timeline runs."""
        sleeper = _Sleeper(self.now)

        def run() -> None:
            sleeper.woken.wait()
            try:
                if not self._is_over:
                    body()
            except BaseException as error:  # noqa: BLE001 - `run` raises it in the test's thread
                self._errors.append(error)
            finally:
                self._actor_rests.release()

        threading.Thread(target=run, name="actor", daemon=True).start()
        self._sleepers.append(sleeper)

    def sleep(self, seconds: float) -> None:
        """Suspend the calling actor."""
        sleeper = _Sleeper(self.now + timedelta(seconds=seconds))
        self._sleepers.append(sleeper)
        self._actor_rests.release()
        sleeper.woken.wait()
        if self._is_over:
            raise SystemExit  # ends the engine's thread; `close` suppresses the report

    def close(self) -> None:
        """End every actor."""
        self._is_over = True
        with patch.object(threading, "excepthook", _without_exits(threading.excepthook)):
            while self._sleepers:
                self._sleepers.pop().woken.set()
                self._actor_rests.acquire(timeout=REAL_SECONDS)

    def run(self, seconds: float) -> None:
        """Advance the clock, and run each actor when it wakes. Raise what an actor raises."""
        end = self.now + timedelta(seconds=seconds)
        while self._sleepers:
            first = min(sleeper.wakes_at for sleeper in self._sleepers)
            if first > end:
                break
            due = [sleeper for sleeper in self._sleepers if sleeper.wakes_at <= max(first, self.now)]
            chosen = due[self.choose(len(due))] if len(due) > 1 else due[0]
            self._sleepers.remove(chosen)
            self._move_to(chosen.wakes_at)
            self.actor_runs = True
            chosen.woken.set()
            if not self._actor_rests.acquire(timeout=REAL_SECONDS):
                raise TimeoutError(f"an actor has run for {REAL_SECONDS:g} s without sleeping")
            self.actor_runs = False
            if self._errors:
                raise self._errors.pop()
        self._move_to(end)

    @property
    def is_quiet(self) -> bool:
        """Whether every actor has ended."""
        return not self._sleepers

    def _move_to(self, at: datetime) -> None:
        if at > self.now:
            self._traveller.move_to(at)
