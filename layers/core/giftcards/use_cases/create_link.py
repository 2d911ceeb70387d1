"""CreateLink: give the shop or an operator the link to an order's cards, or mail it."""

from dataclasses import dataclass
from datetime import datetime

from giftcards.adapters.link_table import TooManyLinksError
from giftcards.adapters.mailer import MailRefusedError
from giftcards.adapters.order_table import OrderTable, UnreadableOrderError
from giftcards.contracts.links import LinkCreated, LinkOutcome, LinkRequest
from giftcards.metrics import Meter, Metric
from giftcards.rules.links import Delivery, LinkOptions, LinkState, differing_options
from giftcards.rules.mails import MailPolicy
from giftcards.rules.orders import Order
from giftcards.use_cases.issue_link import IssuedLink, LinkIssue, LinksChangingError
from giftcards.use_cases.mail_link import LinkMailer

MESSAGES = {
    LinkOutcome.NOT_FOUND: "This user has no order with this id.",
    LinkOutcome.NOT_DELIVERED: "The order has not been delivered yet.",
    LinkOutcome.CARDS_EXPIRED: "The retention of the order's cards has ended; they are deleted.",
    LinkOutcome.TOO_MANY_LINKS: "The order has 20 open links. Add replace to close them and create this one.",
    LinkOutcome.MAIL_DISABLED: "This stack sends no mail: its parameter MailFrom is none.",
    LinkOutcome.BUSY: "The order's links are being changed by others. Try again.",
}


@dataclass(frozen=True)
class LinkAnswer:
    """The link, or why there is none. ``str()`` never shows the url."""

    outcome: LinkOutcome
    message: str = ""
    created: LinkCreated | None = None

    def __repr__(self) -> str:
        """Leave the url out."""
        return f"LinkAnswer({self.outcome})"


@dataclass(frozen=True)
class LinkCreation:
    """Creates links for delivered orders.

    Attributes
    ----------
    mailer
        None where the stack sends no mail.
    """

    orders: OrderTable
    issue: LinkIssue
    mailer: LinkMailer | None
    policy: MailPolicy
    measure: Meter

    def create(self, request: LinkRequest, *, now: datetime) -> LinkAnswer:
        """Return the link of an order's channel, and create it where there is none."""
        if request.mail is not None and self.mailer is None:
            return _refused(LinkOutcome.MAIL_DISABLED)
        order = self._order(request, now)
        if isinstance(order, LinkOutcome):
            return _refused(order)
        try:
            issued = self.issue.issue(_delivery(order), self._options(request), now=now, replace=request.replace)
        except TooManyLinksError:
            return _refused(LinkOutcome.TOO_MANY_LINKS)
        except LinksChangingError:
            return _refused(LinkOutcome.BUSY)
        if issued.is_new:
            self.measure(Metric.LINK_CREATED, 1)
        return (None if issued.is_new else _unusable(request, issued, now)) or self._mailed(request, issued)

    def _order(self, request: LinkRequest, now: datetime) -> Order | LinkOutcome:
        try:
            order = self.orders.get_by_attributes(request.order_id)
        except UnreadableOrderError:
            order = None
        if order is None or order.user_id != request.user_id:
            return LinkOutcome.NOT_FOUND
        if not order.status.is_delivered:
            return LinkOutcome.NOT_DELIVERED
        if order.cards_expire_at is not None and order.cards_expire_at <= now:
            return LinkOutcome.CARDS_EXPIRED
        return order

    def _mailed(self, request: LinkRequest, issued: IssuedLink) -> LinkAnswer:
        """Answer with a link, after mailing it where that was asked for."""
        if request.mail is not None and self.mailer is not None:
            try:
                self.mailer.send(request.mail, issued)
            except MailRefusedError as error:
                message = f"Amazon SES did not accept the mail ({error}). The same call without mail returns the link."
                return LinkAnswer(LinkOutcome.MAIL_NOT_SENT, message)
        link = issued.link
        created = LinkCreated(
            order_id=link.order_id,
            user_id=link.user_id,
            url=issued.url(self.policy.page_url),
            link_id=link.link_id,
            channel=link.channel,
            expires_at=link.expires_at,
            uses=link.max_uses,
        )
        return LinkAnswer(LinkOutcome.CREATED if issued.is_new else LinkOutcome.EXISTS, created=created)

    def _options(self, request: LinkRequest) -> LinkOptions:
        return LinkOptions(
            channel=request.channel,
            language=request.language or self.policy.language,
            label=request.label,
            uses=request.uses or self.policy.link_uses,
            days=request.days or self.policy.link_days,
            code=None if request.code is None else request.code.get_secret_value(),
        )


def _refused(outcome: LinkOutcome) -> LinkAnswer:
    return LinkAnswer(outcome, MESSAGES[outcome])


def _unusable(request: LinkRequest, issued: IssuedLink, now: datetime) -> LinkAnswer | None:
    """Say why an existing link is not what was asked for; None if it is."""
    state = issued.link.state(now)
    if state is not LinkState.READY:
        message = f"The link of this channel has ended ({state}). Add replace to create another."
        return LinkAnswer(LinkOutcome.ENDED, message)
    others = _other_options(request, issued)
    if others:
        message = f"The link exists with another {' and '.join(others)}. Leave that out, or add replace."
        return LinkAnswer(LinkOutcome.OTHER_OPTIONS, message)
    return None


def _delivery(order: Order) -> Delivery:
    return Delivery(
        order.order_id, order.user_id, order.quantity or 0, order.fulfilled_quantity or 0, order.cards_expire_at
    )


def _other_options(request: LinkRequest, issued: IssuedLink) -> list[str]:
    asked = request.model_dump(include={"language", "label", "uses", "days"})
    code = None if request.code is None else request.code.get_secret_value()
    return list(differing_options(issued.link, issued.token, {**asked, "code": code}))
