"""Time that is the test's: it jumps from one thing that is due to the next, and one actor runs at a time.

An actor is a thread that runs until it sleeps. Which of several that are due goes on first is the test's choice, so
that a run can be repeated, and so that a property test can try the orders in which things can happen.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import time_machine

REAL_SECONDS = 60.0
"""How long an actor may run without sleeping. It takes milliseconds; more is a deadlock."""
START = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)


@dataclass
class _Sleeper:
    wakes_at: datetime
    goes_on: threading.Event = field(default_factory=threading.Event)


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
        Picks one of so many actors that are due at the same moment, from 0.
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
        """The time."""
        return datetime.now(UTC)

    def pass_by(self, seconds: float) -> None:
        """Let time pass while an actor works; what becomes due meanwhile goes on when it sleeps."""
        self._traveller.shift(timedelta(seconds=seconds))

    def begin(self, body: Callable[[], None]) -> None:
        """Start an actor; it runs when the timeline does."""
        sleeper = _Sleeper(self.now)

        def run() -> None:
            sleeper.goes_on.wait()
            try:
                if not self._is_over:
                    body()
            except BaseException as error:  # noqa: BLE001 - told to the test, in its own thread
                self._errors.append(error)
            finally:
                self._actor_rests.release()

        threading.Thread(target=run, name="actor", daemon=True).start()
        self._sleepers.append(sleeper)

    def sleep(self, seconds: float) -> None:
        """Let the actor that calls this sleep."""
        sleeper = _Sleeper(self.now + timedelta(seconds=seconds))
        self._sleepers.append(sleeper)
        self._actor_rests.release()
        sleeper.goes_on.wait()
        if self._is_over:
            raise SystemExit  # ends the engine's thread; `close` keeps it from being reported

    def close(self) -> None:
        """End every actor where it sleeps."""
        self._is_over = True
        with patch.object(threading, "excepthook", _without_exits(threading.excepthook)):
            while self._sleepers:
                self._sleepers.pop().goes_on.set()
                self._actor_rests.acquire(timeout=REAL_SECONDS)

    def run(self, seconds: float) -> None:
        """Let so much time pass, and everything happen that is due in it."""
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
            chosen.goes_on.set()
            if not self._actor_rests.acquire(timeout=REAL_SECONDS):
                raise TimeoutError(f"an actor has run for {REAL_SECONDS:g} s without sleeping")
            self.actor_runs = False
            if self._errors:
                raise self._errors.pop()
        self._move_to(end)

    @property
    def is_quiet(self) -> bool:
        """Whether no actor is left."""
        return not self._sleepers

    def _move_to(self, at: datetime) -> None:
        if at > self.now:
            self._traveller.move_to(at)
