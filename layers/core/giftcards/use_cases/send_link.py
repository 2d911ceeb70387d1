"""SendLink: mail the buyer a link, at least once and always the same one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.link_table import LinkTable
from giftcards.adapters.mail_table import MailTable
from giftcards.adapters.mailer import MailRefusedError
from giftcards.adapters.recipient_cipher import RecipientCipher, RecipientUnreadableError
from giftcards.contracts.events import CardsDelivered, LinkMailFailed, LinkMailSent
from giftcards.metrics import Meter, Metric
from giftcards.rules.links import MAIL_CHANNEL, Delivery, LinkOptions, LinkState
from giftcards.rules.mails import REFUSED_AFTER, Mail, MailFailure, MailPolicy
from giftcards.use_cases.issue_link import LinkIssue, LinksChangingError
from giftcards.use_cases.mail_link import LinkMailer


class MailOutcome(StrEnum):
    """What an attempt to send a mail results in."""

    SENT = "SENT"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    """SES refuses for now; the mail stays due."""
    BUSY = "BUSY"
    """Others are changing the order's links; the mail stays due."""
    NOT_DUE = "NOT_DUE"
    """There is no recipient yet, it has been sent, or another run is sending it."""


@dataclass(frozen=True)
class MailResult:
    """The result of one mail; ``note`` is the error code of SES."""

    outcome: MailOutcome
    note: str = ""


class _MailFailedError(Exception):
    def __init__(self, failure: MailFailure) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True)
class LinkMailing:
    """Sends mails that are due."""

    mails: MailTable
    links: LinkTable
    issue: LinkIssue
    cipher: RecipientCipher
    mailer: LinkMailer
    bus: EventBus
    policy: MailPolicy
    measure: Meter

    def deliver(self, delivered: CardsDelivered, *, now: datetime) -> MailResult:
        """Note a delivery, and send its mail if its recipient is known."""
        retention = self.policy.card_retention
        end = None if retention is None else (delivered.occurred_at + retention).replace(microsecond=0)
        delivery = Delivery(
            delivered.order_id, delivered.user_id, delivered.quantity, delivered.fulfilled_quantity, end
        )
        self.mails.set_delivery(delivery, delivered.delivery_id, at=now)
        self.mails.make_due(delivered.order_id, delivered.user_id, at=now)
        return self.send(delivered.order_id, delivered.user_id, now=now)

    def send_due(self, clock: Callable[[], datetime], *, may_go_on: Callable[[], bool]) -> list[MailResult]:
        """Send every mail that is due, the oldest first, for as long as there is time.

        Raises
        ------
        Exception
            The first unexpected failure, after the others were tried.
        """
        results: list[MailResult] = []
        failure: Exception | None = None
        oldest: datetime | None = None
        for order_id, user_id, due_at in self.mails.due(clock()):
            oldest = oldest or due_at
            if not may_go_on():
                break
            try:
                results.append(self.send(order_id, user_id, now=clock()))
            except Exception as error:  # noqa: BLE001 - one mail's failure must not stop the others; raised below
                failure = failure or error
        waiting = timedelta(0) if oldest is None else clock() - oldest
        self.measure(Metric.OLDEST_MAIL_DUE, waiting.total_seconds())
        if failure is not None:
            raise failure
        return results

    def send(self, order_id: str, user_id: str, *, now: datetime) -> MailResult:
        """Send one mail if it is due.

        The result is stored before it is published, so that a failing bus repeats the event and not the mail.
        """
        mail = self.mails.claim(order_id, user_id, at=now)
        if mail is None:
            return MailResult(MailOutcome.NOT_DUE)
        if mail.sent_at is not None:
            return self._publish_sent(mail, now)
        if mail.failure is not None:
            return self._publish_failed(mail, mail.failure, now)
        try:
            return self._send(mail, now)
        except _MailFailedError as error:
            failure = error.failure
        except MailRefusedError as error:
            if mail.refused_at is None or now < mail.refused_at + REFUSED_AFTER:
                self.mails.release(mail, refused_at=now)
                self.measure(Metric.MAIL_REFUSED, 1)
                return MailResult(MailOutcome.REFUSED, str(error))
            failure = MailFailure.REFUSED
        self.mails.mark_failed(mail, failure)
        return self._publish_failed(mail, failure, now)

    def _send(self, mail: Mail, now: datetime) -> MailResult:
        policy = self.policy
        has_expired = mail.delivery_id is None or mail.has_expired(now, policy.recipient_retention)
        if mail.is_revoked or mail.recipient is None or has_expired:
            raise _MailFailedError(MailFailure.EXPIRED)
        delivery = Delivery(
            mail.order_id, mail.user_id, mail.quantity or 0, mail.fulfilled_quantity or 0, mail.cards_expire_at
        )
        options = LinkOptions(
            channel=MAIL_CHANNEL,
            language=mail.language or policy.language,
            label=mail.label,
            uses=policy.link_uses,
            days=policy.link_days,
        )
        try:
            issued = self.issue.issue(delivery, options, now=now)
        except LinksChangingError:
            self.mails.release(mail)
            return MailResult(MailOutcome.BUSY)
        if issued.is_new:
            self.measure(Metric.LINK_CREATED, 1)
        link = issued.link
        if link.state(now) is not LinkState.READY:
            raise _MailFailedError(MailFailure.EXPIRED)
        try:
            address = self.cipher.open(mail.order_id, mail.user_id, mail.recipient)
        except RecipientUnreadableError:
            raise _MailFailedError(MailFailure.INVALID_RECIPIENT) from None
        if link.mail_bounce is not None:
            self.links.forget_bounce(link)
        self.mailer.send(address, issued)
        return self._publish_sent(self.mails.mark_sent(mail, link, at=now), now)

    def _publish_sent(self, mail: Mail, now: datetime) -> MailResult:
        self.bus.publish(
            LinkMailSent(
                order_id=mail.order_id,
                user_id=mail.user_id,
                occurred_at=mail.sent_at or now,
                delivery_id=mail.delivery_id or "",
                link_id=mail.link_id or "",
                expires_at=mail.link_expires_at or now,
            )
        )
        self.mails.mark_published(mail)
        return MailResult(MailOutcome.SENT)

    def _publish_failed(self, mail: Mail, failure: MailFailure, now: datetime) -> MailResult:
        self.bus.publish(LinkMailFailed(order_id=mail.order_id, user_id=mail.user_id, occurred_at=now, reason=failure))
        self.mails.mark_published(replace(mail, failure=failure))
        return MailResult(MailOutcome.FAILED, failure)
