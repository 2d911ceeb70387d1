"""What every interpreter of the workflow's definition shares: placeholders, expressions, null, and error matching.

https://docs.aws.amazon.com/step-functions/latest/dg/concepts-amazon-states-language.html
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeDeserializer
from jsonata.utils import Utils


def load_definition(path: Path, substitutions: Mapping[str, str]) -> dict[str, Any]:
    """Read a definition and fill in its placeholders. A placeholder without a substitution becomes its name."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\$\{(\w+)\}", lambda found: substitutions.get(found[1], found[1]), text)
    machine: dict[str, Any] = json.loads(text)
    return machine


def resolve(part: Any, evaluate: Callable[[str], Any]) -> Any:
    """Return a part of a definition with each ``{% expression %}`` replaced by its value."""
    if isinstance(part, Mapping):
        return {name: resolve(inner, evaluate) for name, inner in part.items()}
    if isinstance(part, list):
        return [resolve(inner, evaluate) for inner in part]
    is_expression = isinstance(part, str) and part.startswith("{% ")
    return evaluate(part[3:-3].strip()) if is_expression else part


def first_match(rules: Iterable[Mapping[str, Any]], error: str) -> Mapping[str, Any] | None:
    """Return the first retrier or catcher that matches an error; None if there is none."""
    anything = {"States.ALL"} if error == "States.Timeout" else {"States.ALL", "States.TaskFailed"}
    return next((rule for rule in rules if {error, *anything} & set(rule["ErrorEquals"])), None)


def with_nulls(value: Any) -> Any:
    """Convert None to JSONata's null, because JSONata takes None as undefined."""
    if isinstance(value, Mapping):
        return {name: with_nulls(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [with_nulls(part) for part in value]
    return Utils.NULL_VALUE if value is None else value


def without_nulls(value: Any) -> Any:
    """Return what JSONata gives as JSON has it: None for its null, and int for a whole number."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {name: without_nulls(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nulls(part) for part in value]
    return None if value is Utils.NULL_VALUE else value


def dynamodb_call(action: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a DynamoDB Task's operation and arguments as boto3 names them, with Python's types."""
    operation = re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", action)
    typed = ("Item", "Key", "ExpressionAttributeValues")
    return operation, {
        name: {key: TypeDeserializer().deserialize(item) for key, item in value.items()} if name in typed else value
        for name, value in arguments.items()
    }
