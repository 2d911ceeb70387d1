"""The demo's last story succeeds with the real page and mail, and fails if a buyer sees too little or too much."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from rich.console import Console

from giftcards.adapters import aws
from giftcards.contracts.links import RecipientSet
from giftcards_cli import buyer_story
from giftcards_cli.buyer_story import BuyerStory
from support.cloud import Cloud
from support.examples import ORDER_ID, USER_ID
from support.links import Buyer, new_buyer
from support.secrets import cards

CARDS = [{"value": card.value.get_secret_value(), "serial": card.serial.get_secret_value()} for card in cards(2)]  # type: ignore[union-attr]
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def buyer(cloud: Cloud) -> Buyer:
    """Return the buyer of a delivered order who gets a mail."""
    buyer = new_buyer(cloud)
    buyer.deliver()
    buyer.name_recipient(email=buyer_story.ADDRESS, language="en")
    buyer.announce()
    return buyer


def page_of(buyer: Buyer) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        page = buyer.visit(request.method, urlsplit(str(request.url)).path.rpartition("/")[2])
        return httpx.Response(page.status, headers=dict(page.headers), text=page.body)

    return answer


def mails_of(buyer: Buyer) -> list[dict[str, str]]:
    return [
        {
            "to": str(mail["To"]),
            "subject": str(mail["Subject"]),
            "text": mail.get_body(("plain",)).get_content(),  # type: ignore[union-attr]
            "html": mail.get_body(("html",)).get_content(),  # type: ignore[union-attr]
        }
        for mail in buyer.mails()
    ]


@pytest.fixture
def story(buyer: Buyer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[BuyerStory, str]]:
    """Return a function that runs the story and returns it with what it prints."""
    client = httpx.Client

    def run(answer: Answer | None = None, mails: list[dict[str, str]] | None = None) -> tuple[BuyerStory, str]:
        transport = httpx.MockTransport(answer or page_of(buyer))
        monkeypatch.setattr(buyer_story.httpx, "Client", lambda **_: client(transport=transport))
        sent = mails_of(buyer) if mails is None else mails
        cloud: Any = SimpleNamespace(sent_mails=lambda: sent, client=lambda _: aws.event_bridge())
        story = BuyerStory(cloud, ORDER_ID, USER_ID, CARDS, within_seconds=0)
        console = Console(width=200, record=True, file=None, quiet=False)
        with console.capture() as captured:
            console.print(story.run())
        return story, captured.get()

    return run


def test_buyer_sees_the_cards_twice_and_a_guess_nothing(story: Callable[..., tuple[BuyerStory, str]], buyer: Buyer):
    visit, printed = story()
    assert visit.failures == []
    assert [printed.count(f"-value-{index}-") for index in (1, 2)] == [2, 2]
    assert printed.count("404") == 1
    assert visit.secrets() == [buyer_story.ADDRESS, buyer.mailed_token()]
    assert visit.token not in printed


@pytest.mark.parametrize("part", ["subject", "text", "html"])
def test_mail_with_a_card_fails(story: Callable[..., tuple[BuyerStory, str]], buyer: Buyer, part: str):
    (mail,) = mails_of(buyer)
    visit, _ = story(mails=[mail | {part: mail[part] + CARDS[0]["value"]}])
    assert visit.failures == ["buyer: the mail contains a card"]


@pytest.mark.parametrize("times", [0, 2])
def test_no_mail_and_two_mails_fail(story: Callable[..., tuple[BuyerStory, str]], buyer: Buyer, times: int):
    visit, _ = story(mails=mails_of(buyer) * times)
    assert len(visit.failures) == 1


def test_link_that_shows_cards_without_the_button_fails(story: Callable[..., tuple[BuyerStory, str]], buyer: Buyer):
    page = page_of(buyer)
    visit, _ = story(lambda request: page(httpx.Request("POST", request.url)))
    assert len(visit.failures) == 2


def test_guess_that_shows_cards_fails(story: Callable[..., tuple[BuyerStory, str]], buyer: Buyer):
    page, token = page_of(buyer), buyer.mailed_token()
    visit, _ = story(lambda request: page(httpx.Request(request.method, f"https://shop.example/c/{token}")))
    assert visit.failures == ["buyer: a guessed link answers 200"]


def test_recipient_is_published_as_a_shop_does(story: Callable[..., tuple[BuyerStory, str]], buyer: Buyer):
    visit, _ = story()
    buyer.cloud.forget()
    visit.name_recipient(buyer.cloud.bus)
    ((entry,),) = (params["Entries"] for params in buyer.cloud.sent("PutEvents"))
    assert (entry["EventBusName"], entry["DetailType"]) == (buyer.cloud.bus, "RecipientSet")
    assert RecipientSet.model_validate_json(entry["Detail"]).email.get_secret_value() == buyer_story.ADDRESS
