"""Everything that a run leaves behind, read back so that it can be searched for what must not be in it."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Leak:
    """A secret in a place where it must not be. The text names the place and never the secret."""

    place: str
    form: str


def function_logs(logs: Any) -> Iterator[tuple[str, bytes]]:
    """Read every log group."""
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            for events in logs.get_paginator("filter_log_events").paginate(logGroupName=name):
                for event in events["events"]:
                    yield f"log {name}", event["message"].encode()


def workflow_history(step_functions: Any, state_machine_arn: str) -> Iterator[tuple[str, bytes]]:
    """Read every event of every execution."""
    for page in step_functions.get_paginator("list_executions").paginate(stateMachineArn=state_machine_arn):
        for execution in page["executions"]:
            history = step_functions.get_paginator("get_execution_history")
            for events in history.paginate(executionArn=execution["executionArn"]):
                for event in events["events"]:
                    yield f"history {execution['name']}", json.dumps(event, default=str).encode()


def table(dynamodb: Any, table_name: str) -> Iterator[tuple[str, bytes]]:
    """Read every item, binary attributes as their bytes."""
    for page in dynamodb.get_paginator("scan").paginate(TableName=table_name):
        for item in page["Items"]:
            yield f"table {table_name}", json.dumps(item, default=repr).encode()
            for value in item.values():
                if isinstance(value.get("B") if isinstance(value, Mapping) else None, bytes):
                    yield f"table {table_name}", value["B"]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Read every file below a folder."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink():
            yield f"file {file.relative_to(folder)}", file.read_bytes()


def search(evidence: Iterable[tuple[str, bytes]], secrets: Iterable[str]) -> tuple[int, list[Leak]]:
    """Search evidence for secrets, as they are and as they are commonly written.

    Returns
    -------
    The number of bytes searched, and every leak found.
    """
    needles = [(form, written) for secret in secrets for form, written in _forms(secret)]
    searched, leaks = 0, []
    for place, content in evidence:
        searched += len(content)
        leaks += [Leak(place, form) for form, written in needles if written in content]
    return searched, leaks


_FORMS: tuple[tuple[str, Callable[[str], bytes]], ...] = (
    ("plain", lambda secret: secret.encode()),
    ("JSON-escaped", lambda secret: json.dumps(secret)[1:-1].encode()),
    ("hex", lambda secret: secret.encode().hex().encode()),
    ("UTF-16", lambda secret: secret.encode("utf-16-le")),
)


def _forms(secret: str) -> Iterator[tuple[str, bytes]]:
    for form, write in _FORMS:
        yield form, write(secret)
    for shift in range(3):  # base64 of a text that holds the secret at any offset
        encoded = base64.b64encode(b"\0" * shift + secret.encode()).rstrip(b"=")
        yield "base64", encoded[(0, 2, 3)[shift] : len(encoded) - 1]
