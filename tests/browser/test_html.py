"""The HTML of page and mail is correct to the letter, whatever they hold."""

from collections.abc import Callable

import html5lib
import pytest

from giftcards.presentation.page import STATUS, render_page
from giftcards.rules.languages import LANGUAGES
from support.page_samples import page_content, shown_cards


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("state", STATUS)
def test_page_is_correct_html(state: str, language: str):
    html5lib.HTMLParser(strict=True).parse(render_page(page_content(state, language)))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": 401, "cards": shown_cards(201, 400), "page_number": 2},
        {"shop_name": "<b>\"'&amp;</bdi></p>", "label": "</style></script>-->", "shop_contact": "a&b=<c>"},
        {"shop_name": "", "shop_contact": "", "label": None, "quantity": None, "max_uses": None, "view": None},
    ],
    ids=["paged", "hostile", "empty"],
)
def test_shown_page_is_correct_html_whatever_it_holds(changes: dict[str, object], language: str):
    html5lib.HTMLParser(strict=True).parse(render_page(page_content("SHOWN", language, **changes)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_mail_is_correct_html(mail_html: Callable[[str], str], language: str):
    html5lib.HTMLParser(strict=True).parse(mail_html(language))


def test_wrong_html_is_noticed():
    with pytest.raises(html5lib.html5parser.ParseError):
        html5lib.HTMLParser(strict=True).parse("<!DOCTYPE html><title>x</title><p><b>x</p>")
