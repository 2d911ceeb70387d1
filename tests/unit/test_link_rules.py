"""Tokens, access codes and the states of a link."""

import dataclasses
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from giftcards.rules.links import (
    MAX_CODE_TRIES,
    Delivery,
    Link,
    LinkOptions,
    LinkState,
    code_hash,
    digits_of,
    hash_of,
    is_label,
    mac_of,
    new_link,
    token_in,
    token_message,
    token_of,
)
from support.examples import NOW, ORDER_ID, USER_ID

MAC = bytes(range(32))
TOKEN = token_of(MAC)
OPTIONS = LinkOptions("shop", "fr", None, uses=3, days=30, code="4711")
IDENTIFIERS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)


def link(cards_expire_at: datetime | None = None, **changes: object) -> Link:
    new = new_link(MAC, 0, Delivery(ORDER_ID, USER_ID, 2, 2, cards_expire_at), OPTIONS, NOW)
    return dataclasses.replace(new, **changes)  # type: ignore[arg-type]


def test_token_has_160_bits_in_characters_that_mail_keeps():
    assert len(TOKEN) == 32
    assert set(TOKEN) <= set("abcdefghijklmnopqrstuvwxyz234567")


def test_token_and_tail_are_the_whole_mac():
    assert mac_of(TOKEN, link().mac_tail) == MAC
    assert MAC.hex() not in link().mac_tail + TOKEN


@given(
    st.lists(st.tuples(IDENTIFIERS, IDENTIFIERS, IDENTIFIERS, st.integers(0, 99)), min_size=2, max_size=2, unique=True)
)
def test_no_two_links_share_the_message_of_their_token(names: list[tuple[str, str, str, int]]):
    assert token_message(*names[0]) != token_message(*names[1])


@pytest.mark.parametrize("tail", ["", ".", ",", ")", ">", "%3E", "?l=fr", "/", "\u200b", "\u3002"])
def test_token_is_read_whatever_a_mail_program_appends(tail: str):
    assert token_in(TOKEN + tail) == TOKEN
    assert token_in(TOKEN.upper() + tail) == TOKEN


@pytest.mark.parametrize(
    "path", ["", TOKEN[:-1], TOKEN + "a", TOKEN + "9", "x" + TOKEN, "1" * 32, TOKEN[:16] + "/" + TOKEN[16:]]
)
def test_malformed_token_is_none(path: str):
    assert token_in(path) is None


@pytest.mark.parametrize("code", ["4711", " 47 11 ", "47-11", "٤٧١١", "۴۷۱۱", "\u200f٤٧١١\u200f"])  # noqa: RUF001
def test_access_code_is_read_as_people_type_it(code: str):
    assert digits_of(code) == "4711"


@pytest.mark.parametrize("code", ["", "471", "1" * 13, "47a1", "4" * 300, "４７１¹", "\u0664\u0667x"])
def test_what_cannot_be_an_access_code_is_none(code: str):
    assert digits_of(code) is None


def test_access_code_opens_its_own_link_only():
    other = token_of(bytes(32))
    assert link().accepts(TOKEN, "4711")
    assert not link().accepts(TOKEN, "4712")
    assert not link().accepts(other, "4711")
    assert code_hash(TOKEN, "4711") != code_hash(other, "4711")


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, LinkState.READY),
        ({"uses": 3}, LinkState.USED_UP),
        ({"code_tries": MAX_CODE_TRIES}, LinkState.CODE_LOCKED),
        ({"code_tries": MAX_CODE_TRIES, "code_hash": None}, LinkState.READY),
        ({"expires_at": NOW}, LinkState.EXPIRED),
        ({"expires_at": NOW, "cards_expire_at": NOW}, LinkState.CARDS_EXPIRED),
        ({"replaced_at": NOW, "uses": 3, "expires_at": NOW}, LinkState.REPLACED),
    ],
)
def test_state_of_a_link(changes: dict[str, object], state: LinkState):
    assert link(**changes).state(NOW) is state  # type: ignore[arg-type]


def test_link_ends_with_the_cards_where_they_end_earlier():
    assert link().expires_at == NOW + timedelta(days=30)
    assert link(NOW + timedelta(days=3)).expires_at == NOW + timedelta(days=3)
    assert link(NOW + timedelta(days=300)).expires_at == NOW + timedelta(days=30)


def test_ticket_shows_more_pages_for_a_while_only():
    viewed = link(view_hash=hash_of("ticket"), view_until=NOW + timedelta(seconds=1))
    assert viewed.shows_page_again("ticket", NOW)
    assert not viewed.shows_page_again("other", NOW)
    assert not viewed.shows_page_again(None, NOW)
    assert not viewed.shows_page_again("ticket", NOW + timedelta(seconds=1))
    assert not dataclasses.replace(viewed, replaced_at=NOW).shows_page_again("ticket", NOW)
    assert not link().shows_page_again("ticket", NOW)


@pytest.mark.parametrize("label", ["2 × PlayStation Store 20 $", "بطاقة ٢٠", "x" * 120, "\U0001f468\u200d\U0001f469"])
def test_label_can_be_any_visible_text(label: str):
    assert is_label(label)


@pytest.mark.parametrize(
    "label", ["", "x" * 121, "a\nb", "a\r\nBcc: x", "\u202eabc", "a\u2066b", "a\u2028b", "\x00", "\ud800"]
)
def test_label_cannot_change_the_text_around_it(label: str):
    assert not is_label(label)
