"""The buyer's page and mail say the same in three languages."""

import json
import re
import string
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from giftcards.presentation import texts
from giftcards.presentation.page import STATUS
from giftcards.presentation.texts import catalogue, choose_language, filled
from giftcards.rules.languages import LANGUAGES

FOLDER = Path(texts.__file__).parent / "texts"


def keys_of(document: dict[str, Any], prefix: str = "") -> dict[str, frozenset[str]]:
    """Return the placeholders of each text by its key."""
    found: dict[str, frozenset[str]] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            found |= keys_of(value, f"{prefix}{key}.")
        elif isinstance(value, str):
            found[prefix + key] = frozenset(name for _, name, _, _ in string.Formatter().parse(value) if name)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_texts_with_the_same_placeholders(language: str):
    documents = {name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in (language, "en")}

    assert keys_of(documents[language]) == keys_of(documents["en"])
    assert len(documents[language]["months"]) == 12


def test_there_is_one_catalogue_per_language():
    assert {path.stem for path in FOLDER.iterdir()} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_says_something_and_no_digit_is_hard_to_read(language: str):
    content = (FOLDER / f"{language}.json").read_text(encoding="utf-8")

    assert '""' not in content
    assert not re.search(r"(?![0-9])\d", content)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_without_cards_has_a_title_and_a_text(language: str):
    assert set(catalogue(language).states) == set(STATUS) - {"READY", "SHOWN", "WRONG_CODE"}


@pytest.mark.parametrize(
    ("language", "day", "expected"),
    [
        ("en", 26, "26 November 2026"),
        ("fr", 26, "26 novembre 2026"),
        ("ar", 26, "26 نوفمبر 2026"),
        ("en", 1, "1 November 2026"),
        ("fr", 1, "1er novembre 2026"),
    ],
)
def test_date_names_its_month(language: str, day: int, expected: str):
    assert catalogue(language).date(datetime(2026, 11, day, 12, tzinfo=UTC)) == expected


def test_date_is_the_day_in_utc():
    algiers = timezone(timedelta(hours=1))

    assert catalogue("en").date(datetime(2026, 12, 1, 0, 30, tzinfo=algiers)) == "30 November 2026"


@pytest.mark.parametrize(
    ("requested", "stored", "default", "expected"),
    [
        ("fr", "en", "ar", "fr"),
        ("FR", None, "ar", "fr"),
        (None, "en", "ar", "en"),
        ("", "en", "ar", "en"),
        ("de", "xx", "fr", "fr"),
        ("../en", None, "fr", "fr"),
        (None, None, "xx", "ar"),
    ],
)
def test_language_is_the_first_that_there_is(requested: str | None, stored: str | None, default: str, expected: str):
    assert choose_language(requested, stored, default) == expected


def test_filled_text_escapes_and_isolates_what_is_filled_in():
    assert filled("a < {x}", x="<b>") == "a &lt; <bdi>&lt;b&gt;</bdi>"
