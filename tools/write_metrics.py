"""Write the table of metrics into docs/observability.md, from giftcards.metrics."""

import re
from pathlib import Path

from giftcards.metrics import Metric

PAGE = Path(__file__).parents[1] / "docs/observability.md"
BEGIN, END = "<!-- metrics: written by `make docs` -->", "<!-- end of metrics -->"


def table() -> str:
    """Return the table of metrics in Markdown."""
    rows = [f"| `{metric.label}` | {metric.unit} | {metric.emitted_by} | {metric.meaning} |" for metric in Metric]
    return "\n".join(["| metric | unit | emitted by | meaning |", "|---|---|---|---|", *rows])


def page(text: str) -> str:
    """Return the page's text with the current table."""
    return re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", f"{BEGIN}\n{table()}\n{END}", text, flags=re.S)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
