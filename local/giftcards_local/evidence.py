"""Everything that a run leaves behind, read back so that it can be searched for what must not be in it."""

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote


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


def search(
    evidence: Iterable[tuple[str, bytes]], secrets: Iterable[str], *, pieces: bool = False
) -> tuple[int, list[Leak]]:
    """Search evidence for secrets, as they are and as they are commonly written.

    Parameters
    ----------
    evidence
        Places and what is in them.
    secrets
        What must not be found.
    pieces
        Whether to search for every ``PIECE`` characters of a secret too.

    Returns
    -------
    The number of bytes searched, and every leak found.
    """
    wanted = list(dict.fromkeys(secrets))
    needles = list(dict.fromkeys(form for secret in wanted for form in _forms(secret)))
    if pieces:
        needles += [("a piece", piece.encode()) for piece in _pieces(wanted)]
    likely_in = _by_beginning(needles) if len(needles) > FEW else lambda _: needles
    searched, leaks = 0, []
    for place, content in evidence:
        searched += len(content)
        leaks += [Leak(place, form) for form, written in likely_in(content) if written in content]
    return searched, leaks


PIECE = 8
FEW = 500
"""So many needles are looked for one by one in the time that it takes to look at each place of a haystack once."""
_FORMS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("plain", str),
    ("URL-encoded", lambda secret: quote(secret, safe="")),
    ("reversed", lambda secret: secret[::-1]),
    ("hex", lambda secret: secret.encode().hex()),
)
JSON_IN_JSON = 3
"""How deep a text can lie in JSON that is itself text in JSON, as in a workflow's history."""


def _by_beginning(needles: Iterable[tuple[str, bytes]]) -> Callable[[bytes], list[tuple[str, bytes]]]:
    """Return what finds the needles whose first ``PIECE`` bytes lie in a haystack, however many needles there are."""
    short: list[tuple[str, bytes]] = []
    long: dict[bytes, list[tuple[str, bytes]]] = defaultdict(list)
    for form, written in needles:
        (short if len(written) < PIECE else long[written[:PIECE]]).append((form, written))
    beginnings = frozenset(long)

    def likely_in(content: bytes) -> list[tuple[str, bytes]]:
        there = beginnings.intersection(content[at : at + PIECE] for at in range(len(content) - PIECE + 1))
        return [*short, *(needle for beginning in there for needle in long[beginning])]

    return likely_in


def _forms(secret: str) -> Iterator[tuple[str, bytes]]:
    for form, write in _FORMS:
        written = write(secret)
        for _ in range(JSON_IN_JSON):
            yield form, written.encode()
            yield form, json.dumps(written)[1:-1].encode()
            written = json.dumps(written, ensure_ascii=False)[1:-1]
    yield "UTF-16", secret.encode("utf-16-le")
    for shift in range(3):  # base64 of a text that holds the secret at any offset
        encoded = base64.b64encode(b"\0" * shift + secret.encode()).rstrip(b"=")
        yield "base64", encoded[(0, 2, 3)[shift] : len(encoded) - 1]


def _pieces(secrets: Sequence[str]) -> Iterator[str]:
    """Give every piece of a secret, but for those that several have: they are what all cards begin with."""
    found = Counter(
        piece
        for secret in secrets
        for piece in {secret[start : start + PIECE] for start in range(len(secret) - PIECE + 1)}
    )
    yield from (piece for piece, times in found.items() if times == 1 or len(secrets) == 1)
