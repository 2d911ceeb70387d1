"""Explores every interleaving of some processes, up to a bound on faults.

A process is real code that runs in one go and reaches the outside only by calls: to the table in memory, and to
services that the model makes up. The explorer decides which process makes its next call, and what happens to it: it is
carried out; it fails; its answer is lost and the client library repeats it, and the first copy is carried out later or
never; the process dies. It visits every state that can be reached so, breadth first, each once, so that the trace of a
violation has the fewest steps.

Nothing can take a picture of a Python function that waits in the middle of a call. A process is therefore run again
from its beginning with the answers that it has had so far, up to its next call. The result is kept by those answers, so
each history is run once, however many states contain it.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, NoReturn

from botocore.exceptions import ClientError

from exploration.table import WRITES, Frozen, MemoryClient, MemoryTables, freeze

START = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
TABLE = "table"
"""The service that `Runner.table` calls."""


class Violation(AssertionError):  # noqa: N818 - what a property calls it
    """A property does not hold. Its text has the steps that lead there."""


class _Suspended(BaseException):
    """The process makes a call whose answer it has not had yet. Not an Exception: no code may catch it."""


class Runner:
    """What a process is given: its calls, its clock and its random tokens."""

    def __init__(self, name: str, heard: Sequence[tuple[Any, float]]) -> None:
        self._name, self._heard = name, heard
        self._calls = self._tokens = 0
        self.pending: Call | None = None
        self.reads_clock = False
        self.table = MemoryClient(lambda operation, arguments: self.perform(TABLE, operation, arguments))

    def perform(self, service: str, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Make a call and return its answer, or raise what it raises."""
        if self.pending is not None:
            raise _Suspended  # clean-up code of a suspended process makes no calls
        if self._calls < len(self._heard) - 1:
            self._calls += 1
            self.reads_clock = False
            outcome = self._heard[self._calls][0]
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        if operation == "transact_write_items":  # boto3 makes one for each call, the same for all its repeats
            arguments = {"ClientRequestToken": f"{self._name}.{self._calls}", **arguments}
        self.pending = Call(service, operation, arguments)
        raise _Suspended

    def now(self) -> datetime:
        """Return the time at which the last call was answered."""
        self.reads_clock = True
        return START + timedelta(seconds=self._heard[self._calls][1])

    def token(self) -> str:
        """Return what no other process draws, nor this one again."""
        self._tokens += 1
        return f"{self._name}.{self._tokens}"


Program = Callable[[Runner, Any], Any]
"""One run of a process: gets what the run before returned (at first `Process.carried`), returns something hashable."""


@dataclass(frozen=True, eq=False)
class Process:
    """Code that runs beside other code.

    Attributes
    ----------
    runs
        How often the program runs, one run after the other.
    carried
        What the first run is given.
    """

    name: str
    program: Program
    runs: int = 1
    carried: Hashable = None
    _roots: dict[Any, "Step"] = field(default_factory=dict)

    def root(self, run: int, carried: Hashable, now: float) -> "Step":
        """Return the beginning of a run, or the end of the process after its last."""
        root = self._roots.get((run, carried)) or self._roots.get((run, carried, now))
        if root is None:
            root = Step(self, run, carried, ((None, now),))
            self._roots[(run, carried, now) if root.reads_clock else (run, carried)] = root
        return root


@dataclass(frozen=True, eq=False)
class Call:
    """A call that a process makes."""

    service: str
    operation: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        update = self.arguments.get("UpdateExpression", "")
        condition = self.arguments.get("ConditionExpression")
        return f"{self.operation} {update}{f' IF {condition}' if condition else ''}".strip()


class Step:
    """A process at a call, or at its end; one object for each history, so that equal steps are identical.

    Attributes
    ----------
    call
        What it calls next; None at its end.
    result
        What the last run has returned, at the end of the process.
    """

    __slots__ = ("_after", "_history", "call", "carried", "process", "reads_clock", "result", "run")

    def __init__(self, process: Process, run: int, carried: Hashable, history: tuple[tuple[Any, float], ...]) -> None:
        self.process, self.run, self.carried = process, run, carried
        self._history = history
        self._after: dict[Any, Any] = {}
        self.call: Call | None = None
        self.result: Any = carried
        self.reads_clock = False
        if run < process.runs:
            self._advance()

    def _advance(self) -> None:
        runner = Runner(f"{self.process.name}.{self.run}", self._history)
        try:
            self.result = self.process.program(runner, self.carried)
        except _Suspended:
            self.call = runner.pending
        self.reads_clock = runner.reads_clock

    def after(self, outcome: Any, now: float) -> "Step":
        """Return the same process once its call has this outcome at this time."""
        key = _identity(outcome)
        step = self._after.get(key)
        if step is None or (step.reads_clock and (step := self._after.get((key, now))) is None):
            step = Step(self.process, self.run, self.carried, (*self._history, (outcome, now)))
            self._after[key] = step
            if step.reads_clock:
                self._after[key, now] = step
        if step.call is None:  # the run has ended, and its history no longer matters
            return self.process.root(self.run + 1, step.result, now)
        return step

    @property
    def is_first(self) -> bool:
        """Whether the process has done nothing yet."""
        return self.run == 0 and len(self._history) == 1

    def __repr__(self) -> str:
        return f"{self.process.name}: {self.call or f'ended with {self.result!r}'}"


def _identity(outcome: Any) -> Hashable:
    if isinstance(outcome, ClientError):
        return (type(outcome).__name__, str(outcome), freeze(outcome.response))
    if isinstance(outcome, Exception):
        return (type(outcome).__name__, str(outcome))
    return freeze(outcome) if isinstance(outcome, Mapping) else outcome


class State(NamedTuple):
    """Everything that matters to what happens next.

    Attributes
    ----------
    rows
        What the table holds.
    world
        What the services know; the model's own, hashable.
    steps
        Where each process is; None where it has died.
    late
        Writes that were sent, are not carried out yet and may be at any time; oldest first.
    now
        Seconds since the beginning.
    deaths, failures, repeats
        How many more may happen: a process dies; a call fails without any effect; a write is sent again, because the
        answer to it was lost or it has not arrived.
    """

    rows: Frozen
    world: Any
    steps: tuple[Step | None, ...]
    late: tuple[Step, ...]
    now: float
    deaths: int
    failures: int
    repeats: int


Branch = tuple[str, Any, Any]
"""What a service may do with a call: in words, its world afterwards, and the answer (an exception is raised)."""


class Model:
    """What is explored: override what differs.

    Parameters
    ----------
    processes
        What runs.
    world
        What the services know at the beginning.
    tables
        Set its ``rows`` to begin with something in the table.
    """

    are_alike = False
    """Whether the processes do the same, so that it is enough to explore one order in which they begin."""

    def __init__(self, processes: Sequence[Process], world: Any = None, tables: MemoryTables | None = None) -> None:
        self.processes = processes
        self.world = world
        self.tables = tables or MemoryTables()

    def serve(self, state: State, process: Process, call: Call) -> Iterable[Branch]:
        """Yield all that may come of a call to a service that is not the table; nothing while it has to wait."""
        raise NotImplementedError

    def written(self, before: State, rows: Frozen, step: Step, outcome: Any) -> Any:
        """Return the world after a call to the table, also a late one; `before` has the rows and the world before."""
        del rows, step, outcome
        return before.world

    def events(self, state: State) -> Iterable[tuple[str, State]]:  # noqa: ARG002 - for those that override it
        """Yield other events: time passes, a person acts. There must be an end of them."""
        return ()

    def may_die(self, process: Process, call: Call) -> bool:
        """Whether a process can die before this call. False saves states where it changes nothing."""
        del process, call
        return True

    def may_fail(self, call: Call) -> bool:
        """Say whether a call can fail without any effect."""
        return call.service == TABLE

    def may_repeat(self, call: Call) -> bool:
        """Say whether a call can be sent more than once by the client library."""
        return call.service == TABLE and call.operation in WRITES

    def check(self, state: State) -> None:
        """Raise an AssertionError where a property does not hold; called once for each state."""

    def check_end(self, state: State) -> None:
        """Do the same where no process has anything left to do."""


@dataclass(frozen=True)
class Explored:
    """How far an exploration went."""

    states: int
    transitions: int
    ends: int

    def __str__(self) -> str:
        return f"{self.states:,} states, {self.transitions:,} transitions, {self.ends:,} ends"


class Explorer:
    """Visits every state of a model.

    Parameters
    ----------
    deaths, failures, repeats
        How many of each may happen in one history; see `State`.
    """

    def __init__(self, model: Model, *, deaths: int = 0, failures: int = 0, repeats: int = 0) -> None:
        self._model = model
        self._tables = model.tables
        self._rows: dict[Frozen, Frozen] = {}
        steps = tuple(process.root(0, process.carried, 0.0) for process in model.processes)
        self._start = State(model.tables.rows, model.world, steps, (), 0.0, deaths, failures, repeats)

    def run(self) -> Explored:
        """Visit them all.

        Raises
        ------
        Violation
            At the first that breaks a property, with the shortest way there.
        """
        came_from: dict[State, tuple[State, str] | None] = {self._start: None}
        waiting, transitions, ends = deque([self._start]), 0, 0
        while waiting:
            state = waiting.popleft()
            try:
                for label, new in self._moves(state):
                    transitions += 1
                    if new not in came_from:
                        came_from[new] = (state, label)
                        waiting.append(new)
                if all(step is None or step.call is None for step in state.steps):
                    ends += 1
                    self._model.check_end(state)
                self._model.check(state)
            except AssertionError as error:
                _violated(error, state, came_from)
        return Explored(len(came_from), transitions, ends)

    def _moves(self, state: State) -> Iterator[tuple[str, State]]:
        for index, step in enumerate(state.steps):
            if step is not None and step.call is not None:
                yield from self._moves_of(state, index, step, step.call)
                if self._model.are_alike and step.is_first:
                    break
        for index, step in enumerate(state.late):
            if step not in state.late[:index]:
                rows, outcome = self._carry_out(state.rows, step)
                late = state.late[:index] + state.late[index + 1 :]
                world = self._model.written(state, rows, step, outcome)
                yield f"late: {step}", state._replace(rows=rows, world=world, late=late)
        yield from self._model.events(state)

    def _moves_of(self, state: State, index: int, step: Step, call: Call) -> Iterator[tuple[str, State]]:
        def moved(new: Step | None) -> tuple[Step | None, ...]:
            return (*state.steps[:index], new, *state.steps[index + 1 :])

        if call.service == TABLE:
            rows, outcome = self._carry_out(state.rows, step)
            world = self._model.written(state, rows, step, outcome)
            yield str(step), state._replace(rows=rows, world=world, steps=moved(step.after(outcome, state.now)))
        else:
            for words, world, answer in self._model.serve(state, step.process, call):
                steps = moved(step.after(answer, state.now))
                yield f"{step.process.name}: {words}", state._replace(world=world, steps=steps)
        if state.deaths and self._model.may_die(step.process, call):
            yield f"{step.process.name} dies", state._replace(steps=moved(None), deaths=state.deaths - 1)
        if state.failures and self._model.may_fail(call):
            steps = moved(step.after(_failure(call), state.now))
            yield f"fails: {step}", state._replace(steps=steps, failures=state.failures - 1)
        if state.repeats and self._model.may_repeat(call):
            late, repeats = (*state.late, step), state.repeats - 1
            yield f"sent, and sent again: {step}", state._replace(late=late, repeats=repeats)

    def _carry_out(self, rows: Frozen, step: Step) -> tuple[Frozen, Any]:
        assert step.call is not None
        self._tables.rows = rows
        try:
            outcome = self._tables.execute(step.call.operation, step.call.arguments)
        except ClientError as error:
            outcome = error
        return self._rows.setdefault(self._tables.rows, self._tables.rows), outcome


def _failure(call: Call) -> ClientError:
    return ClientError({"Error": {"Code": "InternalServerError", "Message": "made by the test"}}, call.operation)


def _violated(error: AssertionError, state: State, came_from: Mapping[State, tuple[State, str] | None]) -> NoReturn:
    labels, at = list[str](), came_from[state]
    while at is not None:
        labels.append(at[1])
        at = came_from[at[0]]
    trace = "\n".join(f"  {number}. {label}" for number, label in enumerate(reversed(labels), start=1))
    raise Violation(f"{error}\nafter\n{trace}\nwith\n  {dict(state.rows)}\n  {state.world}") from None
