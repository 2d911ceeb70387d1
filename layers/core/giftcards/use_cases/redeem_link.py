"""RedeemLink: decrypt the cards of an order for the holder of its link."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.link_key import LinkKey
from giftcards.adapters.link_table import LinkTable
from giftcards.contracts.events import CardsViewed
from giftcards.contracts.links import RedeemRequest
from giftcards.contracts.supplier import Card
from giftcards.metrics import Meter, Metric
from giftcards.rules.links import (
    CARDS_PER_PAGE,
    MAX_CODE_TRIES,
    Link,
    LinkState,
    digits_of,
    hash_of,
    token_in,
)
from giftcards.use_cases.reveal_cards import CardReveal, RevealOutcome, RevealRequest, card_as_json


@dataclass(frozen=True)
class Redeemed:
    """What a link answers.

    Attributes
    ----------
    link
        The link as it is now; None where there is none.
    cards
        Of the page that was asked for, by index; empty unless the state is SHOWN.
    page
        Which page, from 1.
    view
        Ticket that shows the other pages of this view.
    note
        For the log.
    """

    state: LinkState
    link: Link | None = None
    cards: Mapping[int, Card] = field(default_factory=dict, repr=False)
    page: int = 1
    view: str | None = field(default=None, repr=False)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Write the answer for ServePage: the only place where its cards leave this function."""
        return {
            "state": self.state,
            "page": self.page,
            "view": self.view,
            "uses": self.link.uses if self.link else 0,
            "codeTries": self.link.code_tries if self.link else 0,
            "cards": [card_as_json(index, card) for index, card in sorted(self.cards.items())],
        }


@dataclass(frozen=True)
class LinkRedemption:
    """Shows cards to the holder of a link.

    Attributes
    ----------
    new_ticket
        Draws a random ticket for a view.
    """

    links: LinkTable
    key: LinkKey
    reveal: CardReveal
    bus: EventBus
    new_ticket: Callable[[], str]
    measure: Meter

    def redeem(self, request: RedeemRequest, *, request_id: str, now: datetime) -> Redeemed:
        """Use a link once and show a page of its cards.

        The use is counted before anything is decrypted, and returned if no card is shown. The audit record is
        written before the answer.
        """
        redeemed = self._redeem(request, request_id, now)
        if redeemed.state is LinkState.SHOWN:
            self.measure(Metric.VIEW, 1)
        else:
            self.measure(Metric.of_refused_view(redeemed.state), 1)
            self.measure(Metric.VIEW_REFUSED, 1)
        return redeemed

    def _redeem(self, request: RedeemRequest, request_id: str, now: datetime) -> Redeemed:
        token = token_in(request.token.get_secret_value())
        link = None if token is None else self.links.get_link(hash_of(token))
        if link is None or token is None:
            return Redeemed(LinkState.NOT_FOUND)
        if not self.key.is_genuine(link, token):
            return Redeemed(LinkState.LATER, link, note="NOT_GENUINE")
        page = min(request.page, link.pages)
        ticket = None if request.view is None else request.view.get_secret_value()
        if link.shows_page_again(ticket, now):
            return self._show(link, page, ticket, request_id, now)
        state = link.state(now)
        if state is not LinkState.READY:
            return Redeemed(state, link)
        checked = self._check_code(link, token, request)
        return self._use(link, page, request_id, now) if checked is None else checked

    def _use(self, link: Link, page: int, request_id: str, now: datetime) -> Redeemed:
        """Take a use and show a page, or return the use."""
        ticket = self.new_ticket()
        used = self.links.take_use(link, at=now, view_hash=hash_of(ticket))
        if used is None:  # used up or replaced since it was read
            current = self.links.get_link(link.hash) or link
            if current.view_hash != hash_of(ticket):
                state = current.state(now)
                return Redeemed(LinkState.LATER if state is LinkState.READY else state, current)
            used = current  # the answer was lost, and boto3 repeated the call
        try:
            shown = self._show(used, page, ticket, request_id, now)
        except Exception:
            self.links.give_back_use(used, last_used_at=link.last_used_at)
            raise
        if shown.state is LinkState.SHOWN:
            return self._notify_of_first_view(shown, used, now)
        self.links.give_back_use(used, last_used_at=link.last_used_at)
        return shown

    def _check_code(self, link: Link, token: str, request: RedeemRequest) -> Redeemed | None:
        """Compare the access code; None where it is right or the link needs none."""
        if link.code_hash is None:
            return None
        code = None if request.code is None else digits_of(request.code.get_secret_value())
        if code is None:  # it cannot be right, so it reveals nothing and costs no try
            return Redeemed(LinkState.WRONG_CODE, link)
        counted = self.links.count_code_try(link, max_tries=MAX_CODE_TRIES)
        if counted is None:
            return Redeemed(LinkState.CODE_LOCKED, link)
        if counted.accepts(token, code):
            return None
        is_locked = counted.code_tries >= MAX_CODE_TRIES
        return Redeemed(LinkState.CODE_LOCKED if is_locked else LinkState.WRONG_CODE, counted)

    def _show(self, link: Link, page: int, ticket: str | None, request_id: str, now: datetime) -> Redeemed:
        first = (page - 1) * CARDS_PER_PAGE + 1
        revealed = self.reveal.reveal(
            RevealRequest(
                order_id=link.order_id,
                user_id=link.user_id,
                requested_by=f"link:{link.link_id}",
                reason=f"page {page} of {link.pages}",
            ),
            request_id=request_id,
            now=now,
            indexes=range(first, min(first + CARDS_PER_PAGE, link.fulfilled_quantity + 1)),
        )
        if revealed.outcome is RevealOutcome.REVEALED:
            return Redeemed(LinkState.SHOWN, link, revealed.cards, page, ticket)
        state = LinkState.CARDS_EXPIRED if revealed.outcome is RevealOutcome.CARDS_EXPIRED else LinkState.LATER
        return Redeemed(state, link, note=f"{revealed.outcome} {revealed.detail}".strip())

    def _notify_of_first_view(self, shown: Redeemed, link: Link, now: datetime) -> Redeemed:
        """Publish the first view; the next view does where the bus fails, since this buyer has the cards already."""
        if link.viewed_at is not None:
            return shown
        event = CardsViewed(
            order_id=link.order_id,
            user_id=link.user_id,
            occurred_at=now,
            link_id=link.link_id,
            count=link.fulfilled_quantity,
        )
        try:
            self.bus.publish(event)
            self.links.mark_viewed(link, at=now)
        except Exception as error:  # noqa: BLE001 - whatever fails here, the buyer's cards are decrypted already
            return Redeemed(shown.state, link, shown.cards, shown.page, shown.view, note=type(error).__name__)
        return shown
