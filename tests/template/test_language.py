"""Docs, messages, docstrings, comments and test names use plain English and the glossary of CONTRIBUTING.md."""

import ast
import io
import re
import subprocess
import tokenize
from pathlib import PurePosixPath

import pytest

from template.reading import ROOT

# What is banned, as a regular expression for whole words in any case, and what to write instead.
BANNED = {
    "whoever|whomever|whosoever": "anyone who, the person who",
    "whom|whence|whereby|wherein|whereupon|whilst": "rephrase",
    "thereof|therein|thereupon|hereby|hitherto|heretofore|henceforth|lest|anew|upon|beforehand": "rephrase",
    "of (?:its|their|one's|his|our) own": "its own, separate",
    "by (?:itself|themselves)": "automatically, alone",
    "tak(?:e|es|en|ing) up|took up|(?:take|takes|took|taken|taking) (?:it|them|orders|the order) up": "resume",
    "c(?:ame|omes?|oming) to(?! an end)": "result in, arrive at, reach",
    "told of|hears? of|heard of|hearing of": "notified of",
    "(?:is|are|was|were|be|been) told": "is notified, is given",
    "in hand": "in progress",
    "so many": "this many, as many",
    "for want of|by and by|all the same|in vain|to and fro|as it were": "rephrase",
    "he|she|his|him": "they, the operator",
    "announc(?:e|es|ed|er|ing|ement|ements)|unannounced": "publish, place, event",
    "troubles?": "failure, fault, problem",
    "nobody may": "calls are blocked, no one can",
    "gate (?:is|was|be|stays) (?:open|closed)|(?:open|closed|closes|closing|opens|opening) (?:the )?gate": (
        "blocked, unblocked"
    ),
    "places? at the (?:supplier )?gate|(?:no|three|a few) places?": "slot",
    "g(?:ive|ives|ave|iven|iving) (?:it |them |a place |the place |its place )?back": "release",
    "differences?": "discrepancy; what differs",
    "what (?:becomes|became) of|comes of it": "what happens to",
    "mend(?:s|ed|ing)?": "fix",
    "left alone|leave (?:it |us )?alone": "rate limit; wait",
    "unasked": "without a call",
    "ends? without an end|without a word": "rephrase",
    "the former (?:one|version|value|release|key|content)": "the previous",
    "go(?:es)? on|went on|going on": "continue, resume",
    "belongs it|knows it not|knows not": "rephrase",
    "besides": "in addition",
    "hence": "so",
    "somebody|anybody|everybody": "someone, anyone, everyone",
    "(?:told|tells?|telling) apart": "distinguish",
    "rings?|rang|ringing": "fires (an alarm)",
    "may not do without|has to do with": "rephrase",
    "as is fit|as is due|in due course|at its leisure": "rephrase",
}
BANNED_VARIABLES = {"told", "said", "known", "there", "made", "one"}
EXCEPT = re.compile(r"`[^`]*`|https?://\S+|\]\([^)]*\)|<!--[^>]*-->")
"""Names in code quotes and addresses are looked at where they are defined."""

PUBLIC_VALUES = {"cli/giftcards_cli/output.py": {"announced as delayed", "announced"}}
"""Values in JSON documents, which programs rely on."""

_SUFFIXES = {".md", ".py", ".yaml", ".yml", ".json", ".toml", ".mk", ".in", ""}
_PATTERNS = {re.compile(rf"\b(?:{words})\b", re.IGNORECASE): instead for words, instead in BANNED.items()}


def tracked() -> list[str]:
    """Return the text files that git tracks and that people write."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [
        path
        for path in listed.splitlines()
        if PurePosixPath(path).suffix in _SUFFIXES and path not in ("LICENSE", "tests/template/test_language.py")
    ]


def texts(path: str, content: str) -> list[tuple[int, str]]:
    """Return what a person reads in a file, with line numbers: all of it, or the comments and texts of Python."""
    if not path.endswith(".py"):
        return list(enumerate(content.splitlines(), 1))
    found = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(content).readline)
        if token.type == tokenize.COMMENT
    ]
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:  # the others are names
            found += [(node.lineno + offset, line) for offset, line in enumerate(node.value.splitlines())]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            found.append((node.lineno, node.name.replace("_", " ")))
    return sorted(found)


def variables(content: str) -> list[tuple[int, str]]:
    """Return the variables and parameters of Python code, with line numbers."""
    return [
        (node.lineno, node.arg if isinstance(node, ast.arg) else node.id)
        for node in ast.walk(ast.parse(content))
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    ]


def problems(path: str, content: str) -> list[str]:
    """Return the banned words and variables of a file, and what to write instead."""
    unnamed = [
        f"{path}:{line}: variable {name}, write: a noun that says what it is"
        for line, name in (variables(content) if path.endswith(".py") else [])
        if name in BANNED_VARIABLES
    ]
    return unnamed + [
        f"{path}:{line}: “{match[0]}”, write: {instead}"
        for line, text in texts(path, content)
        if text not in PUBLIC_VALUES.get(path, ())
        for pattern, instead in _PATTERNS.items()
        for match in pattern.finditer(EXCEPT.sub(" ", text))
    ]


@pytest.mark.parametrize("path", tracked())
def test_file_has_no_banned_words(path: str):
    assert problems(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("page.md", "Orders whose key is refused wait by themselves."),
        ("page.md", "The gate is closed."),
        ("code.py", '"""Take up an order."""'),
        ("code.py", "x = 1  # told of by mail"),
        ("code.py", "told = 1"),
        ("code.py", 'print(f"{x} orders came to nothing")'),
        ("code.py", "def test_order_is_announced_once(): ..."),
        ("workflow.json", '{"Comment": "Announce the order"}'),
    ],
)
def test_banned_words_are_found(path: str, content: str):
    assert problems(path, content)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("page.md", "The attribute `announcedAt` and [an announcement](events.md#announced)"),
        ("code.py", "announced_at = order.announce()"),
        ("code.py", "cache = 1  # the other values; mother; there"),
    ],
)
def test_names_in_code_and_parts_of_words_are_allowed(path: str, content: str):
    assert problems(path, content) == ["page.md:1: “announcement”, write: publish, place, event"] * (path == "page.md")


def main() -> None:
    """List every problem."""
    for path in tracked():
        for problem in problems(path, (ROOT / path).read_text(encoding="utf-8")):
            print(problem)  # noqa: T201


if __name__ == "__main__":
    main()
