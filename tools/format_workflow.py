"""Format the state machine's definition: one line for each retrier, catcher and choice, and for what fits on one."""

import json
from pathlib import Path
from typing import Any

DEFINITION = Path(__file__).parents[1] / "statemachine/fulfil_order.asl.json"
MAX_COLUMNS = 120
ONE_LINE_EACH = {"Retry", "Catch", "Choices"}
MAX_LINE = 600
"""Columns of a retrier, catcher or choice on one line; the longest list of errors fits."""


def formatted(value: Any, *, key: str = "", indent: str = "", used: int = 0) -> str:
    """Return a value as JSON.

    Parameters
    ----------
    key
        The field that has the value; empty for the whole document and for an item of a list.
    indent
        Blanks at the beginning of the value's line.
    used
        Further columns of this line that are taken: by the key, and by a comma.
    """
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(indent) + used + len(line) <= MAX_COLUMNS:
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(name)}: " + formatted(field, key=name, indent=inner, used=len(name) + 5)
            for name, field in value.items()
        ]
    elif key in ONE_LINE_EACH:
        lines = [json.dumps(item, ensure_ascii=False) for item in value]
        parts = [
            line if len(line) <= MAX_LINE else formatted(item, indent=inner, used=1)
            for line, item in zip(lines, value, strict=True)
        ]
    else:
        parts = [formatted(item, indent=inner, used=1) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    separator = f",\n{inner}"
    return f"{opening}\n{inner}{separator.join(parts)}\n{indent}{closing}"


if __name__ == "__main__":
    DEFINITION.write_text(formatted(json.loads(DEFINITION.read_text())) + "\n")
