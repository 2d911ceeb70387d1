"""The functions of the stack as Lambda calls them, in one container, with their logs and metrics."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from giftcards import composition_root
from giftcards.adapters.oneclickdz.supplier import Supplier
from scaling.parameters import parameter_variables
from support.cloud import Cloud, card_cipher, template
from support.examples import NOW, ORDER_ID, ROOT, USER_ID, step_request
from support.scripts import load
from support.supplier import BASE_URL, SupplierDouble

SERVICE = "giftcards-test"
FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
STEP = step_request().model_dump(mode="json", by_alias=True)
ASKED = {"orderId": ORDER_ID, "userId": USER_ID, "requestedBy": "shop", "reason": "first look"}
HELD = {
    "detail-type": "OrderHeld",
    "source": "giftcards",
    "resources": ["arn:aws:states:eu-west-1:123456789012:execution:fulfil-order:event-1"],
    "detail": {"orderId": ORDER_ID, "userId": USER_ID, "reason": "DEADLINE_PASSED", "message": "It took too long."},
}


@dataclass(frozen=True)
class Context(LambdaContext):
    """Lambda's context object."""

    function_name: str = "function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:function:live"
    aws_request_id: str = "request-1"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Return a constant; Lambda counts down."""
        return 300_000


class Container:
    """One container with all functions of the stack, and its logs."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._modules: dict[str, Any] = {}
        self._stdout = io.StringIO()
        self._caplog = caplog

    def module(self, name: str) -> Any:
        """Import a function's app.py, once, as Lambda does."""
        if name not in self._modules:
            self._modules[name] = module = load(f"functions/{name}/app.py", f"{name}_app")
            for handler in module.logger.handlers:
                handler.setStream(self._stdout)
        return self._modules[name]

    def call(self, name: str, event: Any, **context: str) -> dict[str, Any]:
        """Invoke a function and return its answer as JSON gives it."""
        answer = self.module(name).handler(event, Context(**context))
        parsed: dict[str, Any] = json.loads(json.dumps(answer))
        return parsed

    @property
    def log(self) -> list[dict[str, Any]]:
        """The functions' own log, line by line."""
        return [json.loads(line) for line in self._stdout.getvalue().splitlines()]

    @property
    def everything_logged(self) -> str:
        """The functions' log and the libraries' logs, with tracebacks."""
        formatter = logging.Formatter()
        return self._stdout.getvalue() + "\n".join(map(formatter.format, self._caplog.records))


@pytest.fixture
def container(
    cloud: Cloud, supplier: SupplierDouble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Container]:
    """Return a container 60 s after the claim, with a key in the secret and the supplier's double."""
    values = parameter_variables(template()) | {
        "POWERTOOLS_SERVICE_NAME": SERVICE,
        "STAGE_NAME": "test",
        "SUPPLIER_BASE_URL": BASE_URL,
        "SUPPLIER_API_KEY_SECRET_ARN": cloud.secret_arn,
        "GATE_TABLE_NAME": cloud.gate_table,
        "CARD_TABLE_NAME": cloud.card_table,
        "AUDIT_TABLE_NAME": cloud.audit_table,
        "DIFFERENCE_TABLE_NAME": cloud.discrepancy_table,
        "CARD_KEY_ARN": cloud.key_arn,
        "ORDER_BUS_NAME": cloud.bus,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    composition_root.logger.cache_clear()
    previous = composition_root.use(
        composition_root.Outside(
            now=lambda: NOW,
            jitter=lambda: 0.0,
            pause=lambda _: None,
            supplier=lambda base_url: Supplier(base_url, supplier.client()),
            card_cipher=card_cipher,
        )
    )
    cloud.set_api_key()
    caplog.set_level(logging.DEBUG)
    yield Container(caplog)
    composition_root.use(previous)
    composition_root.logger.cache_clear()


def measured(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the lines in embedded metric format."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
