"""moto's Step Functions engine, with JSONata and without waits.

moto 5.2.5 parses and interprets the real definition. This module adds what it lacks: a JSONata evaluator (moto's needs
a JVM that it does not include), strings with quotes, AWS's error names, and waits that take no time.
"""

import copy
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from jsonata import Jsonata
from moto.stepfunctions.parser import models
from moto.stepfunctions.parser.api import EvaluationFailedEventDetails, HistoryEventType, TaskFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import CustomErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.common.retry import jitter_strategy_decl, retrier_decl
from moto.stepfunctions.parser.asl.component.common.string import string_expression
from moto.stepfunctions.parser.asl.component.common.string.string_expression import StringJSONata
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_dynamodb,
    state_task_service_events,
    state_task_service_sqs,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service import StateTaskService
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_lambda import (
    StateTaskServiceLambda,
)
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
from moto.stepfunctions.parser.asl.eval import states, variable_store
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.jsonata import jsonata
from moto.stepfunctions.parser.asl.jsonata.validations import validate_jsonata_expression_output
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.backend import execution_worker

from scaling.state_language import with_nulls

REGION = "eu-west-1"

_SESSION = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
_OPENING = re.compile(r"(\$exists\()?\(")
_DECLARATION = re.compile(r"\$(?P<name>\w+):=(?!function)")
_DECODER = json.JSONDecoder()
_TASKS = {
    "dynamodb": state_task_service_dynamodb.StateTaskServiceDynamoDB,
    "events": state_task_service_events.StateTaskServiceEvents,
    "lambda": StateTaskServiceLambda,
    "sqs": state_task_service_sqs.StateTaskServiceSqs,
}


@dataclass(frozen=True)
class Fault:
    """A fault of a Task's call to its service.

    Attributes
    ----------
    error
        The service's error code; ``Timeout`` for no answer in time; ``FailedEntry`` for an answer in which the bus
        rejects the event.
    took_effect
        Whether the call was done, and only its answer was lost.
    """

    error: str
    took_effect: bool = False

    def as_exception(self) -> Exception:
        """Return what moto's client would raise."""
        if self.error == "Timeout":
            return TimeoutError()
        if self.error == "FailedEntry":
            return state_task_service_events.SfnFailedEntryCountException({"FailedEntryCount": 1})
        return ClientError(
            {
                "Error": {"Code": self.error, "Message": "injected"},
                "ResponseMetadata": {"HTTPStatusCode": 500, "RequestId": "injected"},
            },
            "injected",
        )


def _at_once(body: Callable[[], None]) -> None:
    body()


def _no_time(_seconds: float) -> None:
    """Wait no time."""


@dataclass
class Engine:
    """The engine's waits and faults."""

    sleep: Callable[[float], None] = _no_time
    """Called in a Wait state and before a retry."""
    begin: Callable[[Callable[[], None]], None] = _at_once
    """Runs an execution."""

    random: float = 0
    """The value of ``$random()`` in the definition, in [0, 1)."""
    waits: list[int] = field(default_factory=list)
    """Seconds of each Wait state, in order."""
    pauses: list[tuple[str, float]] = field(default_factory=list)
    """State and seconds of each pause before a retry, with the longest jitter."""
    faults: Mapping[str, Iterator[Fault | None]] = field(default_factory=dict)
    """The faults of the next calls, by state. None, or the end of the iterator, is no fault."""
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    """Functions to call once before a state calls its service, by state."""
    state: str = ""

    def start(self, faults: dict[str, Iterable[Fault]]) -> None:
        """Forget the last execution."""
        self.waits, self.pauses, self.state = [], [], ""
        self.faults = {state: iter(planned) for state, planned in faults.items()}

    def unused_faults(self, planned: dict[str, Iterable[Fault]]) -> list[str]:
        """Return the states whose finite faults have not all occurred."""
        return [state for state, left in self.faults.items() if isinstance(planned[state], Sized) and any(left)]


@functools.cache
def client(service: str) -> Any:
    """Return a client of moto's cloud. Building one takes longer than an execution, so all tests share it."""
    # As moto's engine does: the service validates what a Task sends, and only ASL retries.
    return _SESSION.client(service, config=Config(parameter_validation=False, retries={"total_max_attempts": 1}))


@functools.cache
def python_dynamodb() -> Any:
    """Return a DynamoDB client that takes and returns Python types, like the functions'."""
    return _SESSION.resource("dynamodb").meta.client


@functools.cache
def _parse(definition: str) -> tuple[Any, Any]:
    return AmazonStateLanguageParser.parse(definition)


def _evaluate(engine: "Engine", declared_expression: str) -> Any:
    # moto puts the variables before an expression as literals. Here they are bound, as on AWS, so that an
    # expression is the same text each time and is parsed once: parsing took most of an execution's time.
    bindings = {}
    opening = _OPENING.match(declared_expression)
    start = opening.end() if opening else 0
    rest = start
    while declaration := _DECLARATION.match(declared_expression, rest):
        value, rest = _DECODER.raw_decode(declared_expression, declaration.end())
        bindings[declaration["name"]] = with_nulls(value)
        rest += len(";")
    expression = copy.copy(_parse_expression(declared_expression[:start] + declared_expression[rest:]))
    expression.register_lambda("random", lambda: engine.random)
    Jsonata.CURRENT.jsonata = expression
    return expression.evaluate(None, bindings)


@functools.cache
def _parse_expression(expression: str) -> Jsonata:
    return Jsonata(expression)


def _declare(bindings: dict[str, Any]) -> str:
    return "".join(f"{name}:={_literal(value)};" for name, value in bindings.items())


def _literal(value: Any) -> str:
    # Not as \uXXXX: the evaluator would count a surrogate pair as two characters.
    return json.dumps(value, default=_as_aws_writes_it, ensure_ascii=False)


def _as_aws_writes_it(start_time: datetime) -> str:
    return start_time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _check_result(env: Any, expression: str, declared_expression: str, result: Any) -> None:
    # moto evaluates a second time to find out whether the result is a string. This evaluator returns the type.
    if result is None:
        validate_jsonata_expression_output(env, expression, declared_expression, result)


def _failing_query_is_named(original: Callable[..., None]) -> Callable[..., None]:
    """Raise AWS's States.QueryEvaluationError. moto passes on any exception, which becomes States.Runtime."""

    def eval_body(self: StringJSONata, env: Any) -> None:
        try:
            original(self, env)
        except FailureEventException:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the evaluator raises
            raise FailureEventException(
                FailureEvent(
                    env=env,
                    error_name=StatesErrorName(typ=StatesErrorNameType.StatesQueryEvaluationError),
                    event_type=HistoryEventType.EvaluationFailed,
                    event_details=EventDetails(
                        evaluationFailedEventDetails=EvaluationFailedEventDetails(
                            error="States.QueryEvaluationError", cause=str(error)
                        )
                    ),
                )
            ) from None

    return eval_body


def _error_is_named(original: Callable[..., FailureEvent], service: str) -> Callable[..., FailureEvent]:
    """Name EventBridge's errors, and timeouts, which moto names as an error of DynamoDB."""

    def from_error(self: StateTaskService, env: Any, ex: Exception) -> FailureEvent:
        if isinstance(ex, TimeoutError | FailureEventException):
            return StateTaskService._from_error(self, env, ex)
        if service == "events" and isinstance(ex, ClientError):
            error = f"EventBridge.{ex.response['Error']['Code']}"
            details = TaskFailedEventDetails(
                resource="putEvents", resourceType="events", error=error, cause=ex.response["Error"]["Message"]
            )
            return FailureEvent(
                env=env,
                error_name=CustomErrorName(error),
                event_type=HistoryEventType.TaskFailed,
                event_details=EventDetails(taskFailedEventDetails=details),
            )
        return original(self, env=env, ex=ex)

    return from_error


def _faulty(original: Callable[..., None], engine: Engine) -> Callable[..., None]:
    def eval_service_task(self: Any, **arguments: Any) -> None:
        engine.state = self.name
        if happens := engine.before.pop(self.name, None):
            happens()
        fault = next(engine.faults.get(self.name, iter(())), None)
        if fault is None or fault.took_effect:
            original(self, **arguments)
        if fault is not None:
            raise fault.as_exception()

    return eval_service_task


@contextmanager
def instant_engine(engine: Engine | None = None) -> Iterator[Engine]:
    """Patch moto with all of this meanwhile."""
    engine = engine or Engine()

    def client_for(*, service: str, **_rest: Any) -> Any:
        return client(service)

    def wait(_self: WaitFunction, env: Any, wait_seconds: int) -> None:
        engine.waits.append(wait_seconds)
        engine.sleep(wait_seconds)

    def pause(seconds: float) -> None:
        engine.pauses.append((engine.state, seconds))
        engine.sleep(seconds)

    def run(worker: execution_worker.ExecutionWorker) -> None:
        engine.begin(worker._execution_logic)

    parser = SimpleNamespace(parse=_parse)
    with ExitStack() as stack:

        def put_in(owner: Any, **attributes: Any) -> None:
            for name, value in attributes.items():
                stack.enter_context(patch.object(owner, name, value))

        put_in(jsonata, _eval_jsonata=functools.partial(_evaluate, engine))
        put_in(states, encode_jsonata_variable_declarations=_declare)
        put_in(variable_store, encode_jsonata_variable_declarations=_declare)
        put_in(StringJSONata, _eval_body=_failing_query_is_named(StringJSONata._eval_body))
        put_in(string_expression, validate_jsonata_expression_output=_check_result)
        put_in(WaitFunction, _wait_interval=wait)
        put_in(retrier_decl, time=SimpleNamespace(sleep=pause))
        put_in(jitter_strategy_decl, random=SimpleNamespace(uniform=lambda _shortest, longest: longest))
        # Parsing takes longer than the rest of an execution, so each definition is parsed once.
        put_in(execution_worker, AmazonStateLanguageParser=parser)
        put_in(models, AmazonStateLanguageParser=parser)
        for module in (
            state_task_service_dynamodb,
            state_task_service_events,
            state_task_service_sqs,
            lambda_eval_utils,
        ):
            put_in(module, boto_client_for=client_for)
        put_in(execution_worker.ExecutionWorker, start=run)
        for service, task in _TASKS.items():
            put_in(
                task,
                _from_error=_error_is_named(task._from_error, service),
                _eval_service_task=_faulty(task._eval_service_task, engine),
            )
        yield engine
