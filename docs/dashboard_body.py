"""Read the dashboard of template.yaml as CloudWatch gets it, its references filled in with those of a sample stack."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cfnlint.decode

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/dashboard.png"
DRAWN_BY = [ROOT / "docs" / name for name in ("dashboard_body.py", "draw_dashboard.py", "sample_day.py")]
SAMPLE_STACK = {
    "AWS::StackName": "giftcards",
    "AWS::Region": "us-east-1",
    "AWS::Partition": "aws",
    "AWS::AccountId": "123456789012",
    "Stage": "prod",
}


class Row(NamedTuple):
    """A line of a widget's list: a metric or an expression over metrics, and how it is shown."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    options: Mapping[str, Any]

    @property
    def expression(self) -> str | None:
        """The expression; None for a metric."""
        return self.options.get("expression")


def load() -> dict[str, Any]:
    """Return the dashboard's body; what it refers to, and is not of the sample stack, keeps its name."""
    template, problems = cfnlint.decode.decode(str(ROOT / "template.yaml"))
    if problems:
        raise ValueError(f"template.yaml cannot be parsed: {problems}")
    text, variables = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    known = {name: _fill(value["Fn::Sub"], SAMPLE_STACK) for name, value in variables.items()}
    body: dict[str, Any] = json.loads(_fill(text, {**SAMPLE_STACK, **known}))
    return body


def _fill(text: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\$\{([^}]+)\}", lambda found: known.get(found[1], found[1]), text)


def rows(widget: Mapping[str, Any]) -> Iterator[Row]:
    """Give the lines of a widget, with "." standing for what the line above has in that place."""
    above: list[str] = []
    for line in widget["properties"].get("metrics", []):
        options = line[-1] if isinstance(line[-1], dict) else {}
        names = [part for part in line if isinstance(part, str)]
        if not names:
            yield Row("", "", {}, options)
            continue
        above = [above[place] if part == "." else part for place, part in enumerate(names)]
        namespace, name, *dimensions = above
        yield Row(namespace, name, dict(zip(dimensions[::2], dimensions[1::2], strict=True)), options)


def stamp(body: Mapping[str, Any]) -> str:
    """Return what tells in the picture from which dashboard it was drawn, and how."""
    how = b"".join(path.read_bytes() for path in DRAWN_BY)
    return f"drawn from {hashlib.sha256(json.dumps(body).encode() + how).hexdigest()}"
