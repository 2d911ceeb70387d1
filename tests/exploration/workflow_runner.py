"""Interprets the workflow's own definition inside an exploration, one Task for each run of a process.

Nothing of the definition is written here again: states, arguments, conditions, routes, retriers and catchers are read
from statemachine/fulfil_order.asl.json. tests/workflow runs the same file in moto's engine; here it has to be quick.
How often a Task is retried is left open: a retrier may always have used up its attempts.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from jsonata import Jsonata

from exploration.explorer import START, Runner
from exploration.table import Frozen, freeze
from scaling.state_language import dynamodb_call, first_match, load_definition, resolve, with_nulls, without_nulls

DEFINITION = Path(__file__).parents[2] / "statemachine" / "fulfil_order.asl.json"
SUBSTITUTED = {"PollSchedule": "120:5,300:15,3600:60", "DelayedAfterSeconds": "600", "CardTableName": "cards"}
BUILT_IN = {"$now()": f"'{START:%Y-%m-%dT%H:%M:%S.000Z}'", "$random()": "0.5"}

TRIES = 2
"""How often a Task is tried at most: some errors last, and each try is another state."""

Function = Callable[[Runner, Mapping[str, Any]], Mapping[str, Any]]
"""What a Task that invokes Lambda calls: gets the payload and returns the answer."""


MACHINE = load_definition(DEFINITION, SUBSTITUTED)
STATES: dict[str, Any] = MACHINE["States"]


class Failed(Exception):  # noqa: N818 - an outcome of a Task, named as Step Functions names it
    """A Task failed with an error of this name."""


@lru_cache(maxsize=100_000)
def _evaluate(expression: str, bindings: Frozen) -> Any:
    return freeze(without_nulls(_compiled(expression).evaluate(None, with_nulls(bindings))))


@cache
def _compiled(expression: str) -> Jsonata:
    for call, value in BUILT_IN.items():
        expression = expression.replace(call, value)
    return Jsonata(expression)


class Execution:
    """Runs the workflow as a program of an exploration.

    Parameters
    ----------
    arn
        Names the execution.
    functions
        What the two Lambda functions do, by the name of their Task.
    """

    def __init__(self, arn: str, functions: Mapping[str, Function]) -> None:
        self._arn = arn
        self._functions = functions

    def __call__(self, runner: Runner, carried: Any) -> Any:
        """Wait for an event and continue to the first Task; then run one Task, and continue to the next or to the end.

        What is carried from one run to the next is the name of a Task and the variables; at the end, of the last state.
        """
        if carried is None:
            user = runner.perform("bus", "take", {})
            event = {"detail": {"orderId": "o", "userId": user}}
            return self._go_on(MACHINE["StartAt"], Frozen(), freeze({"input": event}))
        name, variables = carried
        if STATES[name]["Type"] != "Task":
            return carried
        way, states = self._task(runner, name, variables)
        return self._go_on(way["Next"], self._assigned(way, variables, states), Frozen())

    def _go_on(self, name: str, variables: Frozen, states: Frozen) -> tuple[str, Frozen]:
        while (state := STATES[name])["Type"] not in {"Task", "Succeed", "Fail"}:
            way = state
            if state["Type"] == "Choice":
                rules = (rule for rule in state["Choices"] if self._value(rule["Condition"], variables, states))
                way = next(rules, {"Next": state["Default"]})
            variables = self._assigned(way, variables, states)
            name = way["Next"]
        return name, variables

    def _assigned(self, way: Mapping[str, Any], variables: Frozen, states: Frozen) -> Frozen:
        values = {name: self._value(value, variables, states) for name, value in way.get("Assign", {}).items()}
        return Frozen(freeze(variables | values))

    def _task(self, runner: Runner, name: str, variables: Frozen) -> tuple[Mapping[str, Any], Frozen]:
        """Return the way on, by the state or one of its catchers, and what that way may name of the outcome."""
        state, tries = STATES[name], 0
        while True:
            try:
                arguments = self._value(state["Arguments"], variables, Frozen())
                return state, freeze({"result": self._call(runner, name, state["Resource"], arguments)})
            except Failed as failed:
                error, tries = str(failed), tries + 1
            retrier = first_match(state["Retry"], error)
            may_retry = tries < TRIES and retrier is not None and retrier["MaxAttempts"] > 0
            if not (may_retry and runner.perform("engine", "retry", {})):
                catcher = first_match(state["Catch"], error)
                assert catcher is not None
                return catcher, freeze({"errorOutput": {"Error": error}})

    def _call(self, runner: Runner, name: str, resource: str, arguments: Mapping[str, Any]) -> Any:
        service, _, action = resource.split(":::")[1].partition(":")
        try:
            match service:
                case "lambda":
                    return {"Payload": self._functions[name](runner, arguments["Payload"])}
                case "events":
                    (entry,) = arguments["Entries"]
                    return runner.perform("bus", "publish", entry | {"State": name})
                case "sqs":
                    return runner.perform("queue", "send", json.loads(arguments["MessageBody"])["detail"])
                case _:
                    operation, arguments = dynamodb_call(action, arguments)
                    return _typed(getattr(runner.table, operation)(**arguments))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            raise Failed(f"DynamoDB.{code}" if service == "dynamodb" else type(error).__name__) from None
        except Exception as error:
            raise Failed(type(error).__name__) from error

    def _value(self, part: Any, variables: Frozen, states: Frozen) -> Any:
        context = {"Execution": {"Id": self._arn, "Name": self._arn, "StartTime": f"{START:%Y-%m-%dT%H:%M:%S.000Z}"}}
        bindings = freeze(variables | {"states": {"context": context, **states}})
        return resolve(part, lambda expression: _evaluate(expression, bindings))


def _typed(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Give the answer of a call as Step Functions has it."""
    return {
        part: {name: {"S": value} if isinstance(value, str) else {"N": str(value)} for name, value in item.items()}
        for part, item in answer.items()
        if part in {"Item", "Attributes"}
    }
