"""The service's functions in containers, with a hook before and after each call that they make.

A container is an ``Outside`` of the composition root: what the container has built, such as its cache of the API key,
stays in it.
"""

import io
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import FrameType, ModuleType
from typing import Any
from uuid import uuid4

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from giftcards import composition_root
from giftcards.composition_root import Outside
from simulation.timeline import Timeline
from support.scripts import load

CALL_SECONDS = 0.001
"""Duration of a call to AWS."""


class Killed(BaseException):
    """The function's process ends at this line. Not an Exception, so that no code of the function catches it."""


@dataclass
class Invocation:
    """An invocation of a function, with the calls that it has made so far."""

    function: str
    calls: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Context(LambdaContext):
    """Lambda's context object."""

    function_name: str = "function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:function:live"
    aws_request_id: str = "request"


Hook = Callable[[Invocation, str, str], None]
"""Gets the invocation, the operation, and "before" or "after". What it raises, the call raises."""


class Functions:
    """Functions that run in one process, each order's in its own container.

    Attributes
    ----------
    hooks
        Run before and after each call.
    interleaves
        Whether other actors may run before and after each call.
    dumps_memory
        Whether ``dumps`` gets the variables of the service's frames at each call.
    errors
        Tracebacks, line by line, of invocations that failed.
    """

    def __init__(self, timeline: Timeline, outside: Callable[[], Outside]) -> None:
        self._timeline = timeline
        self._outside = outside
        self.hooks: list[Hook] = []
        self.invocations: list[Invocation] = []
        self.interleaves = False
        self.dumps_memory = False
        self.dumps: list[str] = []
        self.errors: list[str] = []
        self.log = io.StringIO()
        self._containers: dict[str, Outside] = {}
        self._running: tuple[Invocation, Outside] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a function runs, rather than the workflow or the test."""
        return self._running is not None

    def invoke(self, function: str, request: dict[str, Any], answered: dict[str, str]) -> bytes:
        """Answer as Lambda does. An order keeps its container until it is killed."""
        order_id = request["orderId"]
        try:
            answer = self.call(function, request, self._containers.setdefault(order_id, self._outside()))
        except Killed as killed:
            del self._containers[order_id]
            error = {"errorType": "Runtime.ExitError", "errorMessage": str(killed)}
        except Exception as raised:  # noqa: BLE001 - as Lambda does
            self.errors += traceback.format_exception(raised)
            error = {"errorType": type(raised).__name__, "errorMessage": str(raised)}
        else:
            return json.dumps(answer).encode()
        answered["x-amz-function-error"] = "Unhandled"
        return json.dumps(error).encode()

    def call(self, function: str, request: dict[str, Any], container: Outside | None = None) -> Any:
        """Call a handler in a container, or a new one, and return its answer as JSON gives it."""
        with self.running(function, container):
            module = _module(function)
            for handler in module.logger.handlers:
                handler.setStream(self.log)
            return json.loads(json.dumps(module.handler(request, Context(aws_request_id=str(uuid4())))))

    @contextmanager
    def running(self, function: str, container: Outside | None = None) -> Iterator[None]:
        """Use a container, or a new one, meanwhile."""
        invocation, container = Invocation(function), container or self._outside()
        self.invocations.append(invocation)
        outer, self._running = self._running, (invocation, container)
        previous = composition_root.use(container)
        try:
            yield
        finally:
            composition_root.use(previous)
            self._running = outer

    def intercept(self, operation: str, phase: str) -> None:
        """Run the hooks of a call of the running function."""
        assert self._running is not None
        invocation, _ = self._running
        if phase == "before":
            invocation.calls.append(operation)
            self._timeline.pass_by(CALL_SECONDS)
        if self.dumps_memory:
            self.dumps += _variables_of_the_service(sys._getframe())
        for hook in self.hooks:
            hook(invocation, operation, phase)
        if self.interleaves:
            self.pause(0)

    def pause(self, seconds: float) -> None:
        """Let the running function sleep, and other actors run."""
        if not self._timeline.actor_runs:
            self._timeline.pass_by(seconds)
            return
        running, self._running = self._running, None
        self._timeline.sleep(seconds)
        self._running = running
        if running is not None:
            composition_root.use(running[1])


def failing(operation: str, code: str, *, times: int = 1, phase: str = "before", function: str | None = None) -> Hook:
    """Return a hook that fails the next calls of an operation with an AWS error code, before or after they are done."""
    left = times

    def fail(invocation: Invocation, called: str, at: str) -> None:
        nonlocal left
        if called == operation and at == phase and function in {None, invocation.function} and left > 0:
            left -= 1
            status = 500 if code.startswith("Internal") else 400
            answer = {"Error": {"Code": code, "Message": "injected"}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(answer, operation)

    return fail


@cache
def _module(function: str) -> ModuleType:
    return load(f"functions/{function}/app.py", f"{function}_in_simulation")


def _variables_of_the_service(frame: FrameType | None) -> Iterator[str]:
    """Yield the ``repr`` of every variable in the service's frames, as a dump of the process would show it."""
    while frame is not None:
        if any(part in frame.f_code.co_filename for part in ("/layers/core/giftcards/", "/functions/")):
            yield from (repr(value) for value in frame.f_locals.values())
        frame = frame.f_back
