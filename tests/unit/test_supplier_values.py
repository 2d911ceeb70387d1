"""Single values of the supplier's answers: what is a card, a count, an amount."""

import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giftcards.rules.supplier_values import MAX_COUNT, amount_of, count_of, has_visible_character, text_of

INVISIBLE = {
    "nothing": "",
    "blank": " ",
    "no-break space": "\u00a0",
    "ideographic space": "\u3000",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "right-to-left override": "\u202e",
    "soft hyphen": "\u00ad",
    "line separator": "\u2028",
    "null": "\x00",
    "tab and line": "\t\r\n",
    "delete": "\x7f",
    "braille blank": "\u2800",
    "Hangul filler": "\u3164",
    "halfwidth Hangul filler": "\uffa0",
    "Hangul choseong filler": "\u115f",
    "Hangul jungseong filler": "\u1160",
    "combining accent alone": "\u0301",
    "combining grapheme joiner": "\u034f",
    "variation selector": "\ufe0f",
    "tag": "\U000e0041",
    "Mongolian vowel separator": "\u180e",
    "object replacement": "\ufffc",
    "musical null notehead": "\U0001d159",
    "private use": "\ue000",
    "unassigned": "\u0378",
    "no character": "\uffff",
    "half a surrogate pair": "\ud800",
    "several": " \u200b\u2800\u0301\ufeff\t",
}


@pytest.mark.parametrize("name", INVISIBLE)
def test_text_without_a_glyph_shows_nothing(name: str):
    assert not has_visible_character(INVISIBLE[name])


@given(st.text(st.characters(categories=["Z", "C", "M"])))
def test_spaces_controls_and_marks_are_invisible(text: str):
    assert not has_visible_character(text)


@given(st.text(st.sampled_from(sorted(set("".join(INVISIBLE.values())))), max_size=20), st.integers(0, 20))
def test_one_visible_character_anywhere_is_enough(invisible: str, place: int):
    assert has_visible_character(invisible[:place] + "7" + invisible[place:])


@given(st.characters(min_codepoint=0x21, max_codepoint=0x7E))
def test_every_printable_ascii_character_is_visible(character: str):
    assert has_visible_character(character)


@pytest.mark.parametrize("text", ["-", "0", "\u0645", "\u5361", "e\u0301", "\U0001f0a1", "\u20ac", " x "])
def test_text_of_any_script_is_visible(text: str):
    assert has_visible_character(text)


def test_fillers_and_blanks_are_invisible():
    names = [(chr(point), unicodedata.name(chr(point), "")) for point in range(0x110000)]
    blank = [sign for sign, name in names if (name.startswith("HANGUL") and name.endswith("FILLER")) or "BLANK" in name]

    assert len(blank) >= 5
    assert [sign for sign in blank if has_visible_character(sign)] == ["\u2422"]


@given(st.integers(0, 10**60))
def test_whole_number_is_the_text_of_its_digits(number: int):
    assert text_of(Decimal(str(number))) == text_of(number) == str(number)


@pytest.mark.parametrize("value", [Decimal("1.0"), Decimal("1E+5"), Decimal(-1), Decimal("NaN"), True, None, "x", [1]])
def test_anything_else_stays_what_it_is(value: object):
    assert text_of(value) is value


@given(st.integers(0, MAX_COUNT), st.sampled_from(["{}", "{}.0", " {} ", "{}.000"]))
def test_count_is_read_from_a_number_and_from_a_text(number: int, written: str):
    assert count_of(written.format(number)) == number
    assert count_of(Decimal(written.format(number).strip())) == number


@given(st.one_of(st.text(), st.decimals(), st.floats(), st.booleans(), st.none(), st.lists(st.integers())))
def test_count_is_a_whole_number_or_nothing(value: object):
    try:
        count = count_of(value)
    except ValueError:
        return
    assert 0 <= count <= MAX_COUNT
    assert Decimal(str(value).strip()) == count


@pytest.mark.parametrize(
    "value", ["", "2,0", "2.5", "-2", "+2", "2e0", "\u0662", "0x2", "1_0", MAX_COUNT + 1, 1e300, True]
)
def test_count_that_could_mean_two_things_is_none(value: object):
    with pytest.raises(ValueError, match="number"):
        count_of(value)


@given(
    st.one_of(st.text(), st.decimals(), st.floats(), st.booleans(), st.none(), st.dictionaries(st.text(), st.text()))
)
def test_amount_is_a_number_that_can_be_stored_or_nothing(value: object):
    amount = amount_of(value)

    assert amount is None or (amount.is_finite() and amount >= 0 and len(amount.as_tuple().digits) <= 38)
    assert amount is None or amount == Decimal(str(value).strip())
