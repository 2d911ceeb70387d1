"""The dashboard's body as CloudWatch gets it, for a sample stack."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from template.reading import load, properties

SAMPLE_STACK = {
    "AWS::StackName": "giftcards",
    "AWS::Region": "us-east-1",
    "AWS::Partition": "aws",
    "AWS::AccountId": "123456789012",
    "Stage": "prod",
}


class Row(NamedTuple):
    """A metric of a widget, or an expression over metrics, and its rendering options."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    options: Mapping[str, Any]

    @property
    def expression(self) -> str | None:
        """None for a metric."""
        return self.options.get("expression")


def load_body() -> dict[str, Any]:
    """Return the body. References to resources are replaced by their logical ids."""
    text, variables = properties(load(), "Dashboard")["DashboardBody"]["Fn::Sub"]
    values = {name: _value(value) for name, value in variables.items()}
    body: dict[str, Any] = json.loads(_fill(text, SAMPLE_STACK | values))
    return body


def _value(variable: Mapping[str, Any]) -> str:
    """Give a variable's value where all conditions are met."""
    if "Fn::If" in variable:
        _, met, _ = variable["Fn::If"]
        return str(met["Ref"])
    return _fill(variable["Fn::Sub"], SAMPLE_STACK)


def _fill(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\$\{([^}]+)\}", lambda match: values.get(match[1], match[1]), text)


def rows(widget: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the rows of a widget, with "." replaced by what it stands for: the value in the row above."""
    above: list[str] = []
    for line in widget["properties"].get("metrics", []):
        options = line[-1] if isinstance(line[-1], dict) else {}
        names = [part for part in line if isinstance(part, str)]
        if not names:
            yield Row("", "", {}, options)
            continue
        above = [above[position] if part == "." else part for position, part in enumerate(names)]
        namespace, name, *dimensions = above
        yield Row(namespace, name, dict(zip(dimensions[::2], dimensions[1::2], strict=True)), options)
