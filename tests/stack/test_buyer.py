"""The buyer's side on the local cloud: mail, link, page and cards over HTTP, with enforced roles."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from giftcards.presentation.page import HEADERS
from giftcards_local.supplier import cards_of
from stack.buyer_links import WEB, delivered, link_in, mails_to, shown_cards, until_mailed, url_of
from support.service import Service

pytestmark = pytest.mark.usefixtures("unknown_orders")  # the fixture sets the API key
BOTS = ("Slackbot-LinkExpanding 1.0", "facebookexternalhit/1.1", "WhatsApp/2.23", "Mozilla/5.0 (Windows; Safelinks)")


def test_buyer_gets_a_mail_and_sees_the_cards_twice(service: Service) -> None:
    address = f"alice-{uuid4().hex}@mail.example"
    order_id = delivered(service, 2, email=address, language="en", label="2 × PlayStation Store")
    mail = until_mailed(service, address)
    url = link_in(mail)
    expected = [(card["value"], card["serial"]) for card in cards_of(order_id, 2)]
    assert not any(secret in json.dumps(mail) for card in expected for secret in card)

    for views in range(2):
        page = WEB.get(url)
        assert page.status_code == 200
        assert ("viewed before" in page.text) is (views > 0)
        assert shown_cards(page.text) == []
        shown = WEB.post(url, data={})
        assert shown.status_code == 200
        assert shown_cards(shown.text) == expected

    sent = service.until_event(order_id, "LinkMailSent")
    viewed = service.until_event(order_id, "CardsViewed")
    assert (viewed["linkId"], viewed["count"]) == (sent["linkId"], 2)
    events = json.dumps(service.bus.events_about(order_id))
    assert url.rpartition("/")[2] not in events
    assert not any(secret in events for card in expected for secret in card)
    service.giftcards("links", order_id)
    assert order_id not in [mail["text"] for mail in mails_to(service, address)]


def test_link_is_the_same_each_time_and_can_be_revoked(service: Service) -> None:
    order_id = delivered(service)
    url = url_of(service, order_id)
    assert url_of(service, order_id) == url
    assert WEB.get(url).status_code == 200
    revoked = service.giftcards("revoke-links", order_id)
    assert revoked.returncode == 0, revoked.stderr
    assert WEB.get(url).status_code == 410
    assert WEB.post(url).status_code == 410
    assert url_of(service, order_id) != url
    listed = json.loads(service.giftcards("links", order_id, "--json").stdout)
    assert [link["state"] for link in listed] == ["REPLACED", "READY"]
    assert {"linkId", "channel", "createdAt", "expiresAt", "uses", "maxUses", "lastUsedAt", "state"} == set(listed[0])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--user", "mallory"), 1),
        (("--user", "alice", "--uses", "0"), 2),
        (("--user", "alice", "--code", "12"), 2),
        (("--user", "alice", "--language", "de"), 2),
        (("--user", "alice", "--mail", "Alice <a@b.c>"), 2),
    ],
)
def test_wrong_use_of_the_command_is_one_line(service: Service, arguments: tuple[str, ...], code: int) -> None:
    order_id = delivered(service)
    finished = service.giftcards("link", order_id, *arguments)
    assert finished.returncode == code
    assert len(finished.stderr.strip().splitlines()) == 1


def test_previews_change_nothing(service: Service) -> None:
    order_id = delivered(service)
    url = url_of(service, order_id, "--uses", "1")
    for number in range(30):
        headers = {"User-Agent": BOTS[number % len(BOTS)]}
        answer = WEB.request("HEAD" if number % 2 else "GET", url, headers=headers)
        assert answer.status_code == 200
    assert shown_cards(WEB.post(url).text)
    assert WEB.post(url).status_code == 410


def test_every_answer_has_the_headers_of_the_contract(service: Service) -> None:
    order_id = delivered(service)
    url = url_of(service, order_id)
    base = url.rpartition("/c/")[0]
    for answer in (
        WEB.get(url),
        WEB.head(url),
        WEB.post(url),
        WEB.get(f"{base}/c/{'a' * 32}"),
        WEB.get(f"{base}/anything/else"),
        WEB.get(f"{base}/robots.txt"),
    ):
        for name, value in HEADERS.items():
            if name != "Content-Type":
                assert answer.headers.get(name) == value, (answer.url, name)
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("tail", [".", ")", "?utm_source=mail", "%3E"])
def test_what_a_mail_program_appends_is_ignored(service: Service, tail: str) -> None:
    url = url_of(service, delivered(service))
    assert WEB.get(url + tail).status_code == 200
    assert WEB.get(url.replace(url.rpartition("/")[2], url.rpartition("/")[2].upper())).status_code == 200


def test_guess_of_another_link_is_not_found(service: Service) -> None:
    url = url_of(service, delivered(service))
    base, _, token = url.rpartition("/")
    guess = token[:-1] + ("a" if token[-1] != "a" else "b")
    for path in (guess, token[:-1], token + "a", "..%2Frobots.txt"):
        for method in ("GET", "POST"):
            assert WEB.request(method, f"{base}/{path}").status_code == 404


def test_access_code_opens_and_locks(service: Service) -> None:
    order_id = delivered(service)
    url = url_of(service, order_id, "--code", "4711", "--language", "ar")
    assert WEB.post(url, data={"code": "٤٧١١"}).status_code == 200
    assert [WEB.post(url, data={"code": "0000"}).status_code for _ in range(5)] == [403] * 5
    assert WEB.post(url, data={"code": "4711"}).status_code == 403


def test_fifteen_views_five_at_once_show_nine_uses(service: Service) -> None:
    order_id = delivered(service)
    url = url_of(service, order_id, "--uses", "9")
    # Five at once: each needs two cold starts, and with more of them a small machine exceeds the timeout.
    with ThreadPoolExecutor(5) as pool:
        statuses = list(pool.map(lambda _: WEB.post(url).status_code, range(15)))
    assert statuses.count(200) == 9
    assert set(statuses) <= {200, 410, 503}
    assert WEB.post(url).status_code == 410
