"""Read the documentation: command blocks, their output, tables and links."""

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from template.reading import ROOT

NEEDS_AWS = "<!-- needs AWS -->"
PAGES = sorted(str(page.relative_to(ROOT)) for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@dataclass(frozen=True)
class Block:
    """A block of commands of a page, with its line and the output that the page shows."""

    page: str
    line: int
    commands: str
    needs_aws: bool
    prints: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    """Return a page as written."""
    return (ROOT / page).read_text(encoding="utf-8")


def _tokens(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text_of(page))


def blocks(page: str) -> list[Block]:
    """Return the command blocks of a page in order.

    A block is fenced as ``sh``. It needs AWS if the line before it is ``<!-- needs AWS -->``. The next block that is
    fenced without a language is its output.
    """
    found: list[Block] = []
    comment = ""
    for token in _tokens(page):
        if token.type == "fence" and token.info == "sh":
            line = token.map[0] + 1 if token.map else 0
            found.append(Block(page, line, token.content, needs_aws=comment == NEEDS_AWS))
        elif token.type == "fence" and not token.info and found and not found[-1].prints:
            found[-1] = replace(found[-1], prints=token.content)
        comment = token.content.strip() if token.type == "html_block" else ""
    return found


def programs(page: str, language: str) -> list[str]:
    """Return the programs of a page that are fenced as this language, in order."""
    return [token.content for token in _tokens(page) if token.type == "fence" and token.info == language]


def links(page: str) -> list[str]:
    """Return the targets of a page's links and pictures inside this repository."""
    inline = [child for token in _tokens(page) for child in token.children or []]
    targets = [child.attrGet("href") or child.attrGet("src") for child in inline]
    return [str(target) for target in targets if target and not urlsplit(str(target)).scheme]


def anchors(page: str) -> set[str]:
    """Return the anchors of a page, which GitHub derives from its headings."""
    tokens = _tokens(page)
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(page: str, title: str) -> str:
    """Return the text under one heading of the second level."""
    return re.split(r"^## ", text_of(page).split(f"## {title}\n")[1], flags=re.M)[0]


def rows(page: str, title: str) -> list[list[str]]:
    """Return the cells of each row of the tables under one heading, without their heads."""
    return _rows(section(page, title))


def _rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line[:1] == "|"]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line, below in pairwise([*lines, ""])
        if not line.startswith("|---") and not below.startswith("|---")
    ]


def exists(page: str, target: str) -> bool:
    """Whether the target of a page's relative link exists."""
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    if not file.exists() or ROOT not in [file.resolve(), *file.resolve().parents]:
        return False
    return not anchor or anchor in anchors(str(Path(file).resolve().relative_to(ROOT)))
