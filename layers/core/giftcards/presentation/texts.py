"""The texts of the buyer's page and mail: one catalogue per language, all with the same keys."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup, escape

from giftcards.rules.languages import LANGUAGES

_FOLDER = Path(__file__).parent / "texts"


@dataclass(frozen=True)
class Catalogue:
    """The texts of one language.

    Attributes
    ----------
    name
        The language's name in that language.
    direction
        ``ltr`` or ``rtl``.
    months
        As Algerian readers write them: Arabic uses the French-derived names.
    page, mail
        Texts by key, with placeholders in braces.
    states
        ``title`` and ``text`` of each state in which a link shows no card.
    """

    language: str
    name: str
    direction: str
    first_of_month: str
    months: tuple[str, ...]
    page: Mapping[str, str]
    states: Mapping[str, Mapping[str, str]]
    mail: Mapping[str, str]

    @classmethod
    def read(cls, language: str) -> "Catalogue":
        """Read the catalogue of one of ``LANGUAGES``."""
        document = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
        return cls(language=language, **document | {"months": tuple(document["months"])})

    def date(self, moment: datetime) -> str:
        """Write the UTC date in words, so that no reader takes the month for the day. Digits are Western."""
        utc = moment.astimezone(UTC)
        day = self.first_of_month if utc.day == 1 else str(utc.day)
        return f"{day} {self.months[utc.month - 1]} {utc.year}"


_CATALOGUES = {language: Catalogue.read(language) for language in LANGUAGES}


def catalogue(language: str) -> Catalogue:
    """Return the texts of a language.

    Raises
    ------
    KeyError
        It is none of ``LANGUAGES``.
    """
    return _CATALOGUES[language]


def choose_language(requested: str | None, stored: str | None, default: str) -> str:
    """Return the first of the three that is one of ``LANGUAGES``, and Arabic if none is.

    Parameters
    ----------
    requested
        The address's ``l``; any text.
    stored
        The link's language.
    default
        The shop's language.
    """
    wanted = (language.lower() for language in (requested, stored, default) if language)
    return next((language for language in wanted if language in LANGUAGES), LANGUAGES[0])


def filled(text: str, **values: object) -> Markup:
    """Escape a text and fill its placeholders, each isolated so that it does not reorder the sentence around it."""
    return escape(text).format(**{name: _isolated(value) for name, value in values.items()})


def _isolated(value: object) -> Markup:
    return value if isinstance(value, Markup) else Markup("<bdi>{}</bdi>").format(value)
