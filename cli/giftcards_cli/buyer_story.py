"""The demo's last story: a buyer gets a mail, opens its link twice and sees the cards; a guess shows nothing."""

import json
import re
from dataclasses import dataclass, field
from html import unescape

import httpx
from rich.table import Table

from giftcards_local.cloud import LocalCloud
from giftcards_local.processes import wait_for

ADDRESS = "alice@mail.example"
LABEL = "2 × Example Card"
_LINK = re.compile(r"^http\S+/c/([a-z2-7]{32})\r?$", re.MULTILINE)
_SECRET = re.compile(r'data-secret="(value|serial)"[^>]*>([^<]*)<')


@dataclass
class BuyerStory:
    """What happens to one order's buyer.

    Attributes
    ----------
    cards
        The cards that the buyer must see.
    failures
        How what happened differs from what is expected.
    token
        The secret part of the link; empty before the mail.
    """

    cloud: LocalCloud
    order_id: str
    user: str
    cards: list[dict[str, str]]
    within_seconds: float
    failures: list[str] = field(default_factory=list)
    token: str = ""

    def name_recipient(self, bus_name: str) -> None:
        """Publish RecipientSet, as a shop does."""
        detail = {
            "orderId": self.order_id,
            "userId": self.user,
            "email": ADDRESS,
            "language": "en",
            "label": LABEL,
        }
        entry = {
            "EventBusName": bus_name,
            "Source": "shop",
            "DetailType": "RecipientSet",
            "Detail": json.dumps(detail),
        }
        self.cloud.client("events").put_events(Entries=[entry])

    def run(self) -> Table:
        """Wait for the mail, visit the page as the buyer and as a guesser, and return what happened."""
        grid = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("STEP", "STATUS", "RESULT"):
            grid.add_column(column, overflow="fold")
        wait_for(lambda: bool(self._mails()), within_seconds=self.within_seconds)
        link = self._read_mail(grid)
        if link is not None:
            with httpx.Client(timeout=60, trust_env=False) as browser:
                for _ in range(2):
                    self._show(grid, browser.get(link), "the link is opened", [])
                    self._show(grid, browser.post(link, data={}), "the button is pressed", self.cards)
                self._guess(grid, browser, link)
        return grid

    def secrets(self) -> list[str]:
        """Return what may be in the mail only."""
        return [ADDRESS, self.token] if self.token else [ADDRESS]

    def _mails(self) -> list[dict[str, str]]:
        return [mail for mail in self.cloud.sent_mails() if mail["to"] == ADDRESS]

    def _read_mail(self, grid: Table) -> str | None:
        mails = self._mails()
        text = "".join(part for mail in mails for part in mail.values())
        links = [found for mail in mails for found in _LINK.finditer(mail["text"])]
        if self._expect(len(mails) == len(links) == 1, "buyer: not exactly one mail with one link"):
            is_clean = not any(secret in text for card in self.cards for secret in card.values())
            self._expect(is_clean, "buyer: the mail contains a card")
            grid.add_row(f"a mail to {ADDRESS}", "", f"“{mails[0]['subject']}”, with a link and no card")
            self.token = links[0].group(1)
            return links[0].group().strip()
        return None

    def _show(self, grid: Table, answer: httpx.Response, step: str, expected: list[dict[str, str]]) -> None:
        texts = [unescape(text) for _, text in _SECRET.findall(answer.text)]
        cards = [{"value": value, "serial": serial} for value, serial in zip(texts[::2], texts[1::2], strict=False)]
        is_right = answer.status_code == httpx.codes.OK and cards == expected
        self._expect(is_right, f"buyer: {step}: {answer.status_code}, {len(cards)} cards")
        values = ", ".join(card["value"] for card in cards)
        grid.add_row(step, str(answer.status_code), values or "a button, no card")

    def _guess(self, grid: Table, browser: httpx.Client, link: str) -> None:
        guess = link[:-1] + ("a" if link[-1] != "a" else "b")
        answer = browser.post(guess, data={})
        is_refused = answer.status_code == httpx.codes.NOT_FOUND and not _SECRET.search(answer.text)
        self._expect(is_refused, f"buyer: a guessed link answers {answer.status_code}")
        grid.add_row("mallory guesses a link", str(answer.status_code), "no card")

    def _expect(self, holds: bool, failure: str) -> bool:  # noqa: FBT001 - the condition is the point
        if not holds:
            self.failures.append(failure)
        return holds
