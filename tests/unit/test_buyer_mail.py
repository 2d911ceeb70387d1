"""What the mail with a link says, byte for byte, and that nothing gets into its headers."""

import email
import email.policy
import re
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from giftcards.presentation.mail import MailContent, is_mail_address, render_mail
from giftcards.presentation.texts import catalogue
from giftcards.rules.languages import LANGUAGES
from support.page_samples import URL, mail_content


def parsed(content: MailContent) -> EmailMessage:
    message = email.message_from_bytes(render_mail(content), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def body(content: MailContent, kind: str) -> str:
    part = parsed(content).get_body((kind,))
    assert part is not None
    return str(part.get_content())


@pytest.mark.parametrize("language", LANGUAGES)
def test_mail_has_exactly_these_headers(language: str):
    message = parsed(mail_content(language))

    assert {name: str(value) for name, value in message.items() if name != "Content-Type"} == {
        "From": "Boutique El Djazair <cards@eldjazair.example>",
        "To": "alice@buyer.example",
        "Subject": catalogue(language).mail["subject"],
        "Reply-To": "aide@eldjazair.example",
        "Auto-Submitted": "auto-generated",
        "Content-Language": language,
        "MIME-Version": "1.0",
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_parts_are_base64_so_that_no_line_break_falls_into_the_link(language: str):
    parts = [
        (part.get_content_type(), part["Content-Transfer-Encoding"])
        for part in parsed(mail_content(language)).iter_parts()
    ]

    assert parts == [("text/plain", "base64"), ("text/html", "base64")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_same_content_gives_the_same_bytes(language: str):
    assert render_mail(mail_content(language)) == render_mail(mail_content(language))


def test_other_link_has_another_boundary():
    first, second = (parsed(mail_content(link_id=link_id)).get_boundary() for link_id in ("1" * 16, "2" * 16))

    assert first != second


@pytest.mark.parametrize("language", LANGUAGES)
def test_mail_is_ascii_in_lines_that_every_relay_takes(language: str):
    lines = render_mail(mail_content(language, shop_name="متجر " * 20)).decode("ascii").split("\r\n")

    assert max(map(len, lines)) <= 998
    assert not any("\r" in line or "\n" in line for line in lines)


@pytest.mark.parametrize("language", LANGUAGES)
def test_address_stands_alone_on_its_line(language: str):
    assert body(mail_content(language), "plain").splitlines().count(URL) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_html_part_has_the_address_as_a_button_and_in_full(language: str):
    html = body(mail_content(language), "html")

    assert html.count(f'href="{URL}"') == 2
    assert f">{URL}</a>" in html


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_block_of_the_html_part_says_its_direction(language: str):
    blocks = re.findall(r"<(?:html|body|div|p|h\d|table|td)\b[^>]*>", body(mail_content(language), "html"))

    assert len(blocks) > 8
    assert all(' dir="' in block for block in blocks)


@pytest.mark.parametrize("kind", ["plain", "html"])
def test_mail_says_how_many_cards_until_when_and_who_to_ask(kind: str):
    text = re.sub(r"</?bdi>", "", body(mail_content(), kind))

    assert "Number of cards: 2." in text
    assert "until 26 December 2026." in text
    assert "Questions: aide@eldjazair.example" in text


@pytest.mark.parametrize("contact", ["+213 21 23 45 67", "https://shop.example", "", "a@b.example, c@d.example"])
def test_answers_go_to_a_contact_that_is_a_mail_address(contact: str):
    assert parsed(mail_content(shop_contact=contact))["Reply-To"] is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "alice",
        "alice@localhost",
        "Alice <alice@buyer.example>",
        "alice@buyer.example, mallory@evil.example",
        "alice@buyer.example\r\nBcc: mallory@evil.example",
        "alice@buyer.example\n",
        "alice @buyer.example",
        "ālice@buyer.example",
        "a" * 64 + "@" + "b" * 190 + ".example",
    ],
)
def test_anything_but_one_bare_address_is_refused(address: str):
    assert not is_mail_address(address)
    for field in ("to", "mail_from"):
        with pytest.raises(ValueError, match="must each be one bare ASCII mail address"):
            render_mail(mail_content(**{field: address}))


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://a.example/c/\r\nx", "https://a.example/ c", "/c/abc", ""]
)
def test_anything_but_a_web_address_is_refused_as_a_link(url: str):
    with pytest.raises(ValueError, match="URL"):
        render_mail(mail_content(url=url))


@given(name=st.text(max_size=80), contact=st.text(max_size=80))
@example(name="Shop\r\nBcc: mallory@evil.example\r\n\r\n<h1>", contact="x@y.example\nBcc: mallory@evil.example")
@example(name='Shop" <mallory@evil.example>, "', contact="")
@example(name="=?utf-8?q?Shop=0ABcc=3A_mallory=40evil.example?=", contact="")
@example(name="متجر, <mallory@evil.example>; " * 3, contact="")
def test_shop_name_and_contact_add_no_header_and_no_address(name: str, contact: str):
    message = parsed(mail_content(shop_name=name, shop_contact=contact))

    assert set(message.keys()) - {"Reply-To"} == {
        "From",
        "To",
        "Subject",
        "Auto-Submitted",
        "Content-Language",
        "MIME-Version",
        "Content-Type",
    }
    assert [address.addr_spec for address in message["From"].addresses] == ["cards@eldjazair.example"]
    assert [address.addr_spec for address in message["To"].addresses] == ["alice@buyer.example"]
    assert len(list(message.iter_parts())) == 2


def test_line_breaks_and_overrides_are_taken_out_of_the_shop_name():
    content = mail_content(shop_name="El\r\n Djazair\u202e\u2028\x00 Cards")

    assert parsed(content)["From"].addresses[0].display_name == "El Djazair Cards"
    assert body(content, "plain").splitlines()[-1] == "El Djazair Cards"


@pytest.mark.parametrize("field", ["shop_name", "shop_contact"])
def test_text_from_outside_is_escaped_in_the_html_part(field: str):
    html = body(mail_content(**{field: "<script>alert(1)</script>"}), "html")

    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_representation_shows_neither_address_nor_link():
    assert "alice" not in repr(mail_content())
    assert URL not in repr(mail_content())
