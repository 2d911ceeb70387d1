"""A release of the service in virtual time: its definition, its handlers, its use cases, rules and adapters.

What is simulated is outside of it: the supplier's answers, AWS, the clock, and random numbers. Cards are not encrypted,
which takes no time that matters here; bench/handlers.py measures it.
"""

import importlib.util
import os
import random
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import httpx
from samtranslator.yaml_helper import yaml_parse

from scaling.clock import VirtualTime
from scaling.cloud import TABLE_SECONDS, Cloud
from scaling.parameters import parameter_variables
from scaling.state_language import dynamodb_call
from scaling.supplier import BASE_URL, SimulatedOrder, Supplier, Transport, moment
from scaling.workflow import Call, Execution, Failed, Steps, Wait, Workflow

INVOKE_SECONDS = 0.02
"""Between a Task and the start of a warm function. Cold starts are left out: they add a second at most."""
BUILDERS = {"CheckStatus": "status_check", "DeliverCards": "card_delivery"}
_FOLDERS = {"CheckStatus": "check_status", "DeliverCards": "deliver_cards"}
_TABLES = {"CARD_TABLE_NAME": "cards", "GATE_TABLE_NAME": "gate"}
_KEY_ARN = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000"


@dataclass
class Context:
    """What Lambda passes to a handler."""

    function_name: str
    remaining: Callable[[], float]
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn"
    aws_request_id: str = "request"
    function_version: str = "1"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.remaining() * 1000)


@dataclass
class Invocations:
    """What Lambda has run of one function.

    Attributes
    ----------
    seconds
        Billed duration of all of them.
    results
        Their outcomes, counted.
    """

    count: int = 0
    seconds: float = 0.0
    results: Counter[str] = field(default_factory=Counter)


class Service:
    """A release.

    Parameters
    ----------
    code
        Folder of its sources. ``giftcards`` must be importable from it.
    concurrency
        Lambda's limit of concurrent functions.
    """

    def __init__(self, code: Path, clock: VirtualTime, supplier: Supplier, seed: int, concurrency: int = 1000) -> None:
        self.clock = clock
        self.supplier = supplier
        self.key: Callable[[], str] = lambda: ""
        self.cloud = Cloud(clock.sleep, lambda: self.key())  # noqa: PLW0108 - the key is set later
        self.invocations = {name: Invocations() for name in BUILDERS}
        self.running = 0
        self.most_running = 0
        self.throttled = 0
        self.measured: dict[str, float] = defaultdict(float)
        self._chance = random.Random(seed)
        self._concurrency = concurrency
        self._code = code
        self._containers: dict[str, list[Any]] = {name: [] for name in BUILDERS}
        self._building = ""
        self._built: Any = None
        template = _template(code)
        self._parameters = {name: str(value.get("Default", "")) for name, value in template["Parameters"].items()}
        resources = template["Resources"]
        self._functions = {name: resources[f"{name}Function"]["Properties"] for name in BUILDERS}
        self.memory_gb = {
            name: properties.get("MemorySize", template["Globals"]["Function"]["MemorySize"]) / 1024
            for name, properties in self._functions.items()
        }
        self.workflow = Workflow(
            code / "statemachine" / "fulfil_order.asl.json",
            {**self._parameters, "CardTableName": "cards"},
            self._chance.random,
            lambda: moment(clock.seconds),
        )
        self._handlers: dict[str, Any] = {}

    def environment(self) -> dict[str, str]:
        """Return the functions' environment: the template's values, and names of what is simulated."""
        return (
            parameter_variables(_template(self._code))
            | _TABLES
            | {
                "POWERTOOLS_SERVICE_NAME": "bench",
                "POWERTOOLS_METRICS_DISABLED": "true",
                "STAGE_NAME": "bench",
                "RELEASE_NAME": "bench",
                "SUPPLIER_BASE_URL": BASE_URL,
                "SUPPLIER_API_KEY_SECRET_ARN": "secret",
                "CARD_KEY_ARN": _KEY_ARN,
                "ORDER_BUS_NAME": "bus",
            }
        )

    def installed(self) -> AbstractContextManager[Any]:
        """Put the simulation into the release's composition root."""
        from giftcards import composition_root  # noqa: PLC0415 - of the release that this process runs
        from giftcards.adapters import aws  # noqa: PLC0415
        from giftcards.adapters.card_cipher import CardCipher  # noqa: PLC0415
        from giftcards.adapters.oneclickdz.supplier import Supplier as Adapter  # noqa: PLC0415

        warnings.simplefilter("ignore")  # metrics are counted here and not published
        stack = ExitStack()
        stack.enter_context(patch.dict(os.environ, self.environment() | {"AWS_DEFAULT_REGION": "us-east-1"}))
        stack.enter_context(patch("aws_encryption_sdk.EncryptionSDKClient.encrypt", _sealed))
        cipher = CardCipher(_KEY_ARN)

        def adapter(base_url: str) -> Adapter:
            transport = Transport(self.supplier, self._building)
            return Adapter(base_url, httpx.AsyncClient(transport=transport, trust_env=False))

        outside = composition_root.Outside(
            environment=self.environment(),
            jitter=self._chance.random,
            pause=self.clock.sleep,
            supplier=adapter,
            card_cipher=lambda _: cipher,
        )
        composition_root.use(outside)
        stack.callback(composition_root.use, composition_root.Outside())
        self._build = {name: getattr(composition_root, builder) for name, builder in BUILDERS.items()}
        for name in BUILDERS.values():
            stack.enter_context(patch.object(composition_root, name, lambda: self._built))
        stack.enter_context(patch.object(composition_root, "measure", self._measure))
        for name in ("dynamodb", "secrets_manager", "event_bridge"):
            stack.enter_context(patch.object(aws, name, lambda name=name: getattr(self.cloud, name)))
        self._handlers = {
            name: _load(self._code / "functions" / folder / "app.py") for name, folder in _FOLDERS.items()
        }
        return stack

    def _measure(self, metric: Any, value: float) -> None:
        self.measured[metric.label] += value

    def place(self, order: SimulatedOrder) -> None:
        """Place an order at the supplier and publish it."""
        self.supplier.add(order)
        execution = Execution(f"execution-{order.order_id}", moment(self.clock.seconds))
        detail = {"orderId": order.order_id, "userId": "user", "placedAt": moment(order.placed_at)}
        self._step(self.workflow.run(execution, {"detail": detail}), execution, order, None)

    def _step(self, steps: Steps, execution: Execution, order: SimulatedOrder, value: Any) -> None:
        """Let an execution continue to its next wait or call."""
        try:
            step = steps.send(value)
        except StopIteration:
            order.ended, order.transitions = execution.entered[-1], execution.transitions
            return
        advance = partial(self._step, steps, execution, order)
        if isinstance(step, Wait):
            self.clock.after(step.seconds, partial(advance, None))
        elif step.service == "lambda:invoke":
            name = step.arguments["FunctionName"].removesuffix("FunctionArn")
            self._invoke(name, step.arguments["Payload"], partial(self._answered, order, advance))
        else:
            self.clock.after(TABLE_SECONDS / 2, lambda: self._perform(step, advance))

    def _perform(self, step: Call, advance: Callable[[Any], None]) -> None:
        service, _, action = step.service.partition(":")
        result: Any = {}
        if service == "dynamodb":
            result = self._in_table(action, step.arguments)
        self.clock.after(TABLE_SECONDS / 2, partial(advance, result))

    def _in_table(self, action: str, arguments: Mapping[str, Any]) -> Any:
        try:
            answer = self.cloud.tables.execute(*dynamodb_call(action, arguments))
        except Exception as error:
            if type(error).__name__ != "ConditionalCheckFailedException":
                raise
            return Failed("DynamoDB.ConditionalCheckFailedException")
        return {part: {name: {"S": value} for name, value in item.items()} for part, item in answer.items()}

    def _invoke(self, name: str, payload: Mapping[str, Any], done: Callable[[Any], None]) -> None:
        if self.running >= self._concurrency:
            self.throttled += 1
            self.clock.after(INVOKE_SECONDS, partial(done, Failed("Lambda.TooManyRequestsException")))
            return
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.clock.after(INVOKE_SECONDS, lambda: self.clock.spawn(partial(self._run, name, payload), done))

    def _run(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Run a handler in a container, which keeps what it has built, such as its copy of the key."""
        idle, began = self._containers[name], self.clock.seconds
        self._building = name
        built = idle.pop() if idle else self._build[name].__wrapped__()
        ends = began + self._functions[name]["Timeout"]
        context = Context(f"{name}Function", lambda: ends - self.clock.seconds)
        try:
            self._built = built  # the handler asks for it before it first sleeps
            result: dict[str, Any] = self._handlers[name].handler(dict(payload), context)
        finally:
            idle.append(built)
            self.running -= 1
        if self.clock.seconds > ends:
            raise RuntimeError(f"{name} ran into its timeout")
        invocations = self.invocations[name]
        invocations.count += 1
        invocations.seconds += self.clock.seconds - began
        invocations.results[result["outcome"]] += 1
        return result

    def _answered(self, order: SimulatedOrder, advance: Callable[[Any], None], result: Any) -> None:
        if not isinstance(result, Failed):
            if result["outcome"] == "SETTLED" and order.detected_at is None:
                order.detected_at = self.clock.seconds
            if result["outcome"] == "CLOSED":
                order.delivered_at = self.clock.seconds
            result = {"Payload": result}
        advance(result)


@cache
def _template(code: Path) -> Mapping[str, Any]:
    parsed: Mapping[str, Any] = yaml_parse((code / "template.yaml").read_text(encoding="utf-8"))
    return parsed


def _sealed(_client: Any, source: bytes, **_options: Any) -> tuple[bytes, None]:
    return source + bytes(400), None


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"scaling_{path.parent.name}", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} does not exist")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.logger.setLevel("CRITICAL")
    return module
