"""docs/decisions/ has every decision once, complete, and in its index with the same status."""

import re
from itertools import pairwise

import pytest

from template.reading import ROOT

FOLDER = ROOT / "docs/decisions"
PAGES = {page.name: page.read_text(encoding="utf-8") for page in FOLDER.glob("*.md")}
INDEX = PAGES.pop("README.md")
ENTRY = re.compile(
    r"## (?P<number>\d+)\. (?P<title>[^\n]+)\n\n\*(?P<date>\d{4}-\d\d-\d\d), (?P<status>[^\n]+)\.\*\n\n"
    r"(?P<text>.+?)(?=\n## |\Z)",
    re.DOTALL,
)
PARTS = ("Options", "Choice", "Why", "Revert")


def entries() -> list[tuple[str, re.Match[str]]]:
    return [(page, entry) for page, text in PAGES.items() for entry in ENTRY.finditer(text)]


def numbered(page: str) -> list[int]:
    return [int(entry["number"]) for name, entry in entries() if name == page]


def test_every_heading_is_an_entry_with_date_and_status():
    assert len(entries()) == sum(len(re.findall(r"^## ", text, re.M)) for text in PAGES.values())


def test_numbers_are_unique_and_in_order_on_each_page():
    numbers = [int(entry["number"]) for _, entry in entries()]
    assert len(set(numbers)) == len(numbers)
    assert all(first < second for page in PAGES for first, second in pairwise(numbered(page)))


@pytest.mark.parametrize("entry", [entry for _, entry in entries()], ids=[entry["number"] for _, entry in entries()])
def test_entry_has_every_part_in_order(entry: re.Match[str]):
    places = [entry["text"].find(f"- **{part}.**") for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)


def test_index_lists_every_entry_with_its_page_and_status():
    listed = re.findall(r"\| (\d+) \| \[(.+)\]\(([a-z-]+\.md)#\S+\) \| (.+) \|", INDEX)
    unlinked = re.compile(r"\[(\d+)\]\([^)]*\)")
    assert sorted(listed) == sorted(
        (entry["number"], entry["title"], page, unlinked.sub(r"\1", entry["status"])) for page, entry in entries()
    )


def test_superseded_entry_names_a_later_entry():
    statuses = {entry["number"]: entry["status"] for _, entry in entries()}
    for number, status in statuses.items():
        for successor in re.findall(r"superseded by \[(\d+)\]", status):
            assert int(successor) > int(number)
            assert successor in statuses
