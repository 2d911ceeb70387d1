"""Parsers for values of the supplier's answers: liberal if a value has only one meaning."""

import re
import unicodedata
from decimal import Decimal
from typing import Any

MAX_COUNT = 1_000_000_000
"""Counts and amounts fit into a DynamoDB number (38 digits), so that they and a discrepancy in them can be stored."""
_MAX_DIGITS = 38
_COUNT = re.compile(r"[0-9]{1,10}(?:\.0{1,10})?")
_AMOUNT = re.compile(r"[0-9]{1,38}(?:\.[0-9]{1,20})?")
_INVISIBLE_LETTERS_AND_SYMBOLS = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufffc\U0001d159\U00013441\U00013442")
"""Fillers and blanks that Unicode counts among letters and symbols (Default_Ignorable_Code_Point and blank glyphs,
https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point)."""


def has_visible_character(text: str) -> bool:
    """Return whether a text has a letter, number, punctuation mark or symbol with a glyph.

    Spaces, control and format characters, private and unassigned characters have none; marks alone do not count.
    """
    return any(
        unicodedata.category(character)[0] in "LNPS" and character not in _INVISIBLE_LETTERS_AND_SYMBOLS
        for character in text
    )


def text_of(value: Any) -> Any:
    """Return a whole number as the text of its digits, and anything else as it is.

    JSON numbers have no leading zeros, so the digits are unambiguous. A fraction or an exponent can be written in
    several ways and stays a number.
    """
    if isinstance(value, Decimal) and value.is_finite() and value.as_tuple().exponent == 0 and not value.is_signed():
        return str(value)
    return str(value) if type(value) is int and value >= 0 else value


def count_of(value: Any) -> int:
    """Parse a count: 2, 2.0, "2" and "2.0" are two.

    Raises
    ------
    ValueError
        If it is not a whole number from 0 to ``MAX_COUNT``.
    """
    text = _digits_of(value)
    if not _COUNT.fullmatch(text) or Decimal(text) > MAX_COUNT:
        raise ValueError("not a whole number")
    return int(Decimal(text))


def amount_of(value: Any) -> Decimal | None:
    """Parse an amount of money; None if it is absent, negative, not finite, too long, or not a number."""
    text = _digits_of(value)
    if not _AMOUNT.fullmatch(text):
        return None
    amount = Decimal(text)
    return amount if len(amount.as_tuple().digits) <= _MAX_DIGITS else None


def _digits_of(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return ""
    number = Decimal(str(value))
    return format(number, "f") if number.is_finite() and abs(number.adjusted()) <= _MAX_DIGITS else ""
