"""Virtual time: events in the order of their times, and functions that sleep in threads which run one at a time."""

import heapq
import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import time_machine

START = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)


class _Worker:
    """A thread that runs one function after another, whenever it has the baton."""

    def __init__(self, loop: Callable[["_Worker"], None]) -> None:
        self.baton = threading.Lock()
        self.baton.acquire()
        self.job: Callable[[], None] = lambda: None
        threading.Thread(target=loop, args=(self,), daemon=True).start()


class VirtualTime:
    """The clock of a simulation, which is also the clock of this process.

    Attributes
    ----------
    seconds
        Since the start.
    """

    def __init__(self, traveller: time_machine.Traveller) -> None:
        self.seconds = 0.0
        self._traveller = traveller
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._main = threading.Lock()
        self._main.acquire()
        self._idle: list[_Worker] = []
        self._running: _Worker | None = None
        self._error: BaseException | None = None

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run an action after this time, outside any thread that sleeps."""
        heapq.heappush(self._events, (self.seconds + seconds, next(self._numbers), action))

    def spawn(self, body: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run a body that may sleep; ``done`` gets its result once it has ended."""

        def job() -> None:
            try:
                result = body()
            except BaseException as error:  # noqa: BLE001 - raised again where the simulation runs
                self._error = error
            else:
                self.after(0, partial(done, result))

        worker = self._idle.pop() if self._idle else _Worker(self._work)
        worker.job = job
        self._resume(worker)

    def sleep(self, seconds: float) -> None:
        """Let the body that calls this sleep."""
        worker, wakes_at = self._running, self.seconds + seconds
        if worker is None:
            raise RuntimeError("only a spawned body sleeps")
        if not self._events or self._events[0][0] > wakes_at:  # nothing else happens meanwhile
            self._move(wakes_at)
            return
        self.after(seconds, partial(self._resume, worker))
        self._main.release()
        worker.baton.acquire()

    def run(self) -> None:
        """Let everything happen that is due, to the end."""
        while self._events:
            at, _, action = heapq.heappop(self._events)
            self._move(at)
            action()

    def _work(self, worker: _Worker) -> None:
        while True:
            worker.baton.acquire()
            worker.job()
            self._idle.append(worker)
            self._main.release()

    def _resume(self, worker: _Worker) -> None:
        self._running = worker
        worker.baton.release()
        self._main.acquire()
        self._running = None
        if self._error is not None:
            raise self._error

    def _move(self, at: float) -> None:
        if at > self.seconds:
            self._traveller.shift(at - self.seconds)
            self.seconds = at
