"""Reads everything a run leaves behind, and searches it for cards, keys and other secrets."""

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
    """A secret in the wrong place. It names the place and the encoding, never the secret."""

    place: str
    form: str


def function_logs(logs: Any) -> Iterator[tuple[str, bytes]]:
    """Read the events of every log group."""
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
    """Read every item; binary attributes also as bytes."""
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
    """Search evidence for secrets, in plain text and in common encodings.

    Parameters
    ----------
    evidence
        Pairs of a place and its content.
    pieces
        Whether to search for every substring of ``PIECE_LENGTH`` characters too.

    Returns
    -------
    The number of bytes searched, and the leaks.
    """
    wanted = list(dict.fromkeys(secrets))
    needles = list(dict.fromkeys(form for secret in wanted for form in _forms(secret)))
    if pieces:
        needles += [("a piece", piece.encode()) for piece in _pieces(wanted)]
    candidates_in = _by_prefix(needles) if len(needles) > MAX_SEQUENTIAL_NEEDLES else lambda _: needles
    searched, leaks = 0, []
    for place, content in evidence:
        searched += len(content)
        leaks += [Leak(place, form) for form, written in candidates_in(content) if written in content]
    return searched, leaks


PIECE_LENGTH = 8
MAX_SEQUENTIAL_NEEDLES = 500
"""Up to this number, searching for the needles one by one is faster than building the index of their prefixes."""
_FORMS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("plain", str),
    ("URL-encoded", lambda secret: quote(secret, safe="")),
    ("reversed", lambda secret: secret[::-1]),
    ("hex", lambda secret: secret.encode().hex()),
)
JSON_LEVELS = 3
"""Levels of JSON inside JSON strings, as in a workflow's history."""


def _by_prefix(needles: Iterable[tuple[str, bytes]]) -> Callable[[bytes], list[tuple[str, bytes]]]:
    """Return a function that finds the needles whose first ``PIECE_LENGTH`` bytes occur in a content."""
    short: list[tuple[str, bytes]] = []
    long: dict[bytes, list[tuple[str, bytes]]] = defaultdict(list)
    for form, written in needles:
        (short if len(written) < PIECE_LENGTH else long[written[:PIECE_LENGTH]]).append((form, written))
    prefixes = frozenset(long)

    def candidates_in(content: bytes) -> list[tuple[str, bytes]]:
        present = prefixes.intersection(
            content[at : at + PIECE_LENGTH] for at in range(len(content) - PIECE_LENGTH + 1)
        )
        return [*short, *(needle for prefix in present for needle in long[prefix])]

    return candidates_in


def _forms(secret: str) -> Iterator[tuple[str, bytes]]:
    for form, write in _FORMS:
        written = write(secret)
        for _ in range(JSON_LEVELS):
            yield form, written.encode()
            yield form, json.dumps(written)[1:-1].encode()
            written = json.dumps(written, ensure_ascii=False)[1:-1]
    yield "UTF-16", secret.encode("utf-16-le")
    for shift in range(3):  # base64 of a text that contains the secret at any offset
        encoded = base64.b64encode(b"\0" * shift + secret.encode()).rstrip(b"=")
        yield "base64", encoded[(0, 2, 3)[shift] : len(encoded) - 1]


def _pieces(secrets: Sequence[str]) -> Iterator[str]:
    """Yield the substrings that occur in one secret only; those in several are the common prefix of cards."""
    counts = Counter(
        piece
        for secret in secrets
        for piece in {secret[start : start + PIECE_LENGTH] for start in range(len(secret) - PIECE_LENGTH + 1)}
    )
    yield from (piece for piece, count in counts.items() if count == 1 or len(secrets) == 1)
