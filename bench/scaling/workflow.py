"""Interprets the workflow's definition in virtual time, and counts its state transitions.

Nothing of the definition is written here again: states, arguments, routes, retriers and catchers are read from the ASL
file of the release that runs. AWS bills the start of an execution, each state that is entered, and each retry
(https://aws.amazon.com/step-functions/pricing/).
"""

import json
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonata import Jsonata

from scaling.state_language import first_match, load_definition, resolve, with_nulls, without_nulls

_PATH = re.compile(r"\$(\w+(?:\.\w+)*)")
_MAX_CACHED = 50_000


@dataclass(frozen=True)
class Wait:
    """A Wait state, or the pause before a retry."""

    seconds: float


@dataclass(frozen=True)
class Call:
    """A Task calls its service.

    Attributes
    ----------
    service
        Such as ``lambda:invoke`` or ``dynamodb:putItem``.
    """

    service: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """A Task's service failed with this error name."""

    error: str


@dataclass
class Execution:
    """What an execution has done so far.

    Attributes
    ----------
    transitions
        State transitions that AWS bills.
    entered
        States, in order.
    """

    name: str
    started_at: str
    transitions: int = 1
    entered: list[str] = field(default_factory=list)

    @property
    def context(self) -> dict[str, Any]:
        return {"Execution": {"Id": self.name, "Name": self.name, "StartTime": self.started_at}}


Steps = Generator[Wait | Call, Any, None]


@dataclass(frozen=True)
class Workflow:
    """A definition.

    Attributes
    ----------
    substitutions
        What the template fills in; a name that is missing stands for itself.
    random
        Returns a random number in [0, 1).
    now
        Returns the time as AWS writes it.
    """

    definition: Path
    substitutions: Mapping[str, str]
    random: Callable[[], float]
    now: Callable[[], str]
    _compiled: dict[str, Jsonata] = field(default_factory=dict)
    _results: dict[tuple[str, str], Any] = field(default_factory=dict)

    @cached_property
    def _machine(self) -> dict[str, Any]:
        return load_definition(self.definition, self.substitutions)

    def run(self, execution: Execution, event: Mapping[str, Any]) -> Steps:
        """Run an execution. It yields waits and calls, and is sent a call's result or ``Failed``."""
        states, name = self._machine["States"], self._machine["StartAt"]
        variables: dict[str, Any] = {}
        result: dict[str, Any] = {"input": event}
        while True:
            state = states[name]
            execution.transitions += 1
            execution.entered.append(name)
            way, seen = state, {"context": execution.context, **result}
            match state["Type"]:
                case "Succeed" | "Fail":
                    return
                case "Wait":
                    yield Wait(float(self._value(state["Seconds"], variables, seen)))
                case "Choice":
                    rules = (rule for rule in state["Choices"] if self._value(rule["Condition"], variables, seen))
                    way = next(rules, None) or {"Next": state["Default"]}
                case "Task":
                    way, outcome = yield from self._task(execution, state, variables, seen)
                    seen |= outcome
            variables |= {key: self._value(value, variables, seen) for key, value in way.get("Assign", {}).items()}
            if way.get("End"):
                return
            name, result = way["Next"], {}

    def _task(
        self, execution: Execution, state: Mapping[str, Any], variables: Mapping[str, Any], seen: Mapping[str, Any]
    ) -> Generator[Wait | Call, Any, tuple[Mapping[str, Any], dict[str, Any]]]:
        """Return the way on, by the state or one of its catchers, and what that way can name."""
        tries: dict[int, int] = {}
        while True:
            arguments = self._value(state["Arguments"], variables, seen)
            answer = yield Call(state["Resource"].split(":::")[1], arguments)
            if not isinstance(answer, Failed):
                return state, {"result": answer}
            retrier = first_match(state.get("Retry", ()), answer.error)
            done = tries.get(id(retrier), 0)
            if retrier is None or done >= retrier["MaxAttempts"]:
                catcher = first_match(state["Catch"], answer.error)
                if catcher is None:
                    raise RuntimeError(f"{answer.error} is not caught")
                return catcher, {"errorOutput": {"Error": answer.error}}
            tries[id(retrier)] = done + 1
            execution.transitions += 1
            longest = retrier["IntervalSeconds"] * retrier["BackoffRate"] ** done
            yield Wait(self.random() * min(longest, retrier.get("MaxDelaySeconds", longest)))  # full jitter

    def _value(self, part: Any, variables: Mapping[str, Any], seen: Mapping[str, Any]) -> Any:
        return resolve(part, lambda text: self._evaluate(text, {**variables, "states": seen}))

    def _evaluate(self, text: str, bindings: Mapping[str, Any]) -> Any:
        if found := _PATH.fullmatch(text):
            return _look_up(bindings, found[1])
        if "$now(" in text or "$random(" in text:
            return self._run(text, bindings)
        # An expression depends on nothing but the paths in it: most results are found again.
        used = [_look_up(bindings, path) for path in _PATH.findall(text) if path.partition(".")[0] in bindings]
        key = (text, json.dumps(used))
        if key not in self._results:
            if len(self._results) > _MAX_CACHED:
                self._results.clear()
            self._results[key] = self._run(text, bindings)
        return self._results[key]

    def _run(self, text: str, bindings: Mapping[str, Any]) -> Any:
        if text not in self._compiled:
            self._compiled[text] = Jsonata(text)
            self._compiled[text].register_lambda("random", self.random)
            self._compiled[text].register_lambda("now", self.now)
        expression = self._compiled[text]
        Jsonata.CURRENT.jsonata = expression
        return without_nulls(expression.evaluate(None, with_nulls(bindings)))


def _look_up(bindings: Mapping[str, Any], path: str) -> Any:
    value: Any = bindings
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
