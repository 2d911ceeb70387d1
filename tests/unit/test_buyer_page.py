"""What the buyer's page holds in each state, how it is escaped, and which headers protect it."""

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import ModuleLoader, UndefinedError

from giftcards.presentation import engine, page
from giftcards.presentation.page import HEADERS, ROBOTS_TXT, STATUS, headers_of, render_page
from giftcards.presentation.texts import catalogue
from giftcards.rules.languages import LANGUAGES
from support.page_samples import CODES, SERIALS, SHAPES, ShownCard, page_content, shown_cards

REFUSED = sorted(set(STATUS) - set(SHAPES))
EVERY_PAGE = [(state, language) for state in STATUS for language in LANGUAGES]
HOSTILE = "</bdi><script>alert('1')</script>\"&amp;{{7*7}}{n}%s"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of those that hold a secret."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.secrets: list[tuple[str, str]] = []
        self._kind: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._kind = dict(attrs).get("data-secret")
        if self._kind:
            self.secrets.append((self._kind, ""))

    def handle_data(self, data: str) -> None:
        if self._kind:
            self.secrets[-1] = (self._kind, self.secrets[-1][1] + data)

    def handle_endtag(self, _tag: str) -> None:
        self._kind = None

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]

    def fields(self) -> dict[str, str | None]:
        return {str(field["name"]): field.get("value") for field in self.named("input")}


def test_every_state_has_the_status_of_the_contract():
    assert STATUS == {
        "READY": 200,
        "SHOWN": 200,
        "WRONG_CODE": 403,
        "CODE_LOCKED": 403,
        "NOT_FOUND": 404,
        "EXPIRED": 410,
        "USED_UP": 410,
        "REPLACED": 410,
        "CARDS_EXPIRED": 410,
        "LATER": 503,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Robots-Tag", "noindex, nofollow, noarchive, nosnippet"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Strict-Transport-Security", "max-age=63072000"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        (
            "Permissions-Policy",
            "clipboard-write=(self), camera=(), geolocation=(), microphone=(), browsing-topics=()",
        ),
    ],
)
def test_header_is_that_of_the_contract(name: str, value: str):
    assert HEADERS[name] == value


def source(element: str, html: str) -> str:
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


@pytest.mark.parametrize(("state", "language"), EVERY_PAGE)
def test_security_policy_allows_the_style_and_the_script_of_the_page_and_nothing_else(state: str, language: str):
    html = render_page(page_content(state, language))

    assert HEADERS["Content-Security-Policy"] == (
        f"default-src 'none'; style-src {source('style', html)}; script-src {source('script', html)}; "
        "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


@pytest.mark.parametrize("state", STATUS)
def test_only_later_says_when_to_try_again(state: str):
    assert set(headers_of(state)) - set(HEADERS) == ({"Retry-After"} if state == "LATER" else set())


def test_robots_are_kept_out():
    assert ROBOTS_TXT.split("\n") == ["User-agent: *", "Disallow: /", ""]


@pytest.mark.parametrize(("state", "language"), EVERY_PAGE)
def test_page_is_in_its_language_and_reading_direction(state: str, language: str):
    (html,) = Elements(render_page(page_content(state, language))).named("html")

    assert html == {"lang": language, "dir": "rtl" if language == "ar" else "ltr", "translate": "no"}


@pytest.mark.parametrize("state", STATUS)
def test_page_loads_nothing_and_needs_no_exception_from_the_policy(state: str):
    for tag, attributes in Elements(render_page(page_content(state))).found:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert "src" not in attributes
        assert tag not in {"img", "iframe", "object", "embed", "base"}
        if tag == "link":
            assert str(attributes["href"]).startswith("data:")


@pytest.mark.parametrize("state", sorted(set(STATUS) - {"SHOWN"}))
def test_no_state_but_shown_has_a_place_for_a_card(state: str):
    html = render_page(page_content(state, cards=shown_cards(1, 2)))

    assert Elements(html).secrets == []
    assert "CODE-0001" not in html


@pytest.mark.parametrize("state", REFUSED)
def test_refused_link_tells_nothing_about_the_order(state: str):
    html = render_page(page_content(state, label="Label", quantity=3, uses=1, max_uses=10))

    assert "Label" not in html
    assert catalogue("en").states[state]["title"] in html
    assert Elements(html).named("form") == []


def test_shown_cards_are_whole_elements_in_their_order():
    assert Elements(render_page(page_content("SHOWN"))).secrets == [
        ("value", CODES[0]),
        ("serial", SERIALS[0]),
        ("value", CODES[1]),
        ("serial", SERIALS[1]),
    ]


def test_card_without_a_serial_has_no_line_for_it():
    html = render_page(page_content("SHOWN", cards=(ShownCard(1, "A"),)))

    assert Elements(html).secrets == [("value", "A")]
    assert "Serial" not in html


def test_code_of_300_characters_and_spaces_stands_unchanged():
    code = "  A B\t" + "9" * 294
    assert Elements(render_page(page_content("SHOWN", cards=(ShownCard(1, code),)))).secrets == [("value", code)]


@pytest.mark.parametrize(
    ("state", "name"),
    [
        *((state, name) for state in STATUS for name in ("shop_name", "shop_contact")),
        *((state, "label") for state in SHAPES),
        ("SHOWN", "view"),
    ],
)
def test_text_from_outside_is_escaped(state: str, name: str):
    html = render_page(page_content(state, **{name: HOSTILE}))

    assert "alert(&#39;1&#39;)" in html
    assert "<script>alert" not in html
    assert len(Elements(html).named("script")) == 1


@pytest.mark.parametrize(("value", "serial"), [(HOSTILE, None), ("A", HOSTILE)])
def test_card_value_and_serial_are_escaped(value: str, serial: str | None):
    elements = Elements(render_page(page_content("SHOWN", cards=(ShownCard(1, value, serial),))))

    assert HOSTILE in dict(elements.secrets).values()
    assert len(elements.named("script")) == 1


def test_ready_page_has_one_button_that_posts_to_the_same_address():
    elements = Elements(render_page(page_content("READY", "fr")))

    assert elements.named("form") == [{"method": "post", "action": "?l=fr"}]
    assert elements.named("button") == [{"class": "button"}]
    assert elements.fields() == {}


def test_script_never_submits():
    assert not re.search(r"\.(submit|requestSubmit|click)\(|fetch|XMLHttp|sendBeacon|cookie|Storage", page._SCRIPT)


@pytest.mark.parametrize("state", ["READY", "WRONG_CODE"])
def test_access_code_is_asked_for_where_the_shop_gave_one(state: str):
    assert set(Elements(render_page(page_content(state, needs_code=True))).fields()) == {"code"}


def test_wrong_code_says_how_many_attempts_are_left():
    assert "Attempts left: <bdi>4</bdi>" in render_page(page_content("WRONG_CODE"))


def test_ready_page_says_that_the_cards_were_shown_before():
    page = render_page(page_content("WRONG_CODE"))
    assert 'class="notice">These cards were viewed before. Views: <bdi>2</bdi>' in page
    assert "most recently on <bdi>24 November 2026</bdi>" in page
    assert "viewed before" not in render_page(page_content("READY"))


@pytest.mark.parametrize(("uses", "left"), [(0, 10), (9, 1), (10, 0), (11, 0)])
def test_page_says_until_when_and_how_often_the_link_works(uses: int, left: int):
    html = render_page(page_content("SHOWN", uses=uses))

    assert f"until <bdi>26 December 2026</bdi>. Views left: <bdi>{left}</bdi>." in html


@pytest.mark.parametrize("state", ["READY", "SHOWN"])
def test_partly_supplied_order_says_so_in_place_of_the_count(state: str):
    html = render_page(page_content(state, quantity=5, fulfilled_quantity=3))

    assert "<bdi>3</bdi> of <bdi>5</bdi> cards" in html
    assert "Number of cards" not in html


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("aide@eldjazair.example", "mailto:aide@eldjazair.example"),
        ("+213 (0)21 23 45 67", "tel:+213021234567"),
        ("https://shop.example/help?a=1", "https://shop.example/help?a=1"),
        ("javascript:alert(1)", None),
        ("http://shop.example", None),
        ("WhatsApp: 0555", None),
    ],
)
def test_contact_becomes_a_link_where_it_is_an_address(contact: str, link: str | None):
    links = [a["href"] for a in Elements(render_page(page_content("READY", shop_contact=contact))).named("a")]

    assert [href for href in links if not str(href).startswith("?l=")] == ([link] if link else [])


def test_shop_without_a_name_or_contact_leaves_no_gap():
    html = render_page(page_content("READY", shop_name="", shop_contact=""))

    assert "<title>Your gift cards are ready</title>" in html
    assert "Questions" not in html


@pytest.mark.parametrize("number", [1, 3, 5])
def test_thousand_cards_are_shown_in_pages_that_share_one_view(number: int):
    cards = shown_cards(number * 200 - 199, number * 200)
    elements = Elements(
        render_page(page_content("SHOWN", quantity=1000, cards=cards, page_number=number, view="a ticket"))
    )

    assert len(elements.secrets) == 400
    assert [button["value"] for button in elements.named("button") if button.get("name") == "page"] == [
        str(other) for other in range(1, 6) if other != number
    ]
    assert elements.fields() == {"view": "a ticket", "page": str(number)}


def test_page_buttons_say_which_cards_they_show():
    html = render_page(page_content("SHOWN", quantity=401, cards=shown_cards(1, 200)))

    assert re.findall(r'value="\d">Card <bdi dir="ltr">([^<]+)', html) == ["201–400", "401"]


def test_other_language_of_a_view_takes_no_other_use():
    languages = [
        (button["formaction"], button["lang"])
        for button in Elements(render_page(page_content("SHOWN"))).named("button")
        if "formaction" in button
    ]

    assert languages == [(f"?l={other}", other) for other in LANGUAGES if other != "en"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_page_of_ten_cards_is_small(language: str):
    html = render_page(page_content("SHOWN", language, quantity=10, cards=shown_cards(1, 10)))

    assert len(html.encode()) < 20_000


def test_representation_shows_no_card_and_no_ticket():
    content = page_content("SHOWN", view="ticket-1234")

    assert not any(secret in repr((content, content.cards)) for secret in (*CODES, *SERIALS, "ticket-1234"))


def test_unknown_state_or_language_is_an_error():
    with pytest.raises(KeyError):
        render_page(page_content("OTHER"))
    with pytest.raises(KeyError):
        render_page(page_content("READY", "de"))


def test_missing_name_in_a_template_is_an_error():
    with pytest.raises(UndefinedError):
        engine._ENVIRONMENT.from_string("{{ missing }}").render()


def test_templates_compiled_by_the_build_give_the_same_page(tmp_path: Path):
    subprocess.run([sys.executable, "-m", "giftcards.presentation.engine", tmp_path], check=True, timeout=60)
    compiled = engine._ENVIRONMENT.overlay(loader=ModuleLoader(tmp_path), cache_size=0)
    content = page_content("SHOWN", label=HOSTILE)
    expected = render_page(content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_PAGE", compiled.get_template("page.html"))
        assert render_page(content) == expected
    assert compiled.get_template("mail.html")


def test_page_imports_the_standard_library_and_its_template_engine_alone():
    def imported(statement: str) -> set[str]:
        program = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
        return set(
            subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
        )

    new = imported("import giftcards.presentation.page") - imported("pass") - set(sys.stdlib_module_names)
    assert {name for name in new if not name.startswith("_")} == {"giftcards", "jinja2", "markupsafe"}
    assert "email" not in imported("import giftcards.presentation.page")
