"""RecordMailStatus: note what happened to a mail that SES had accepted, and notify the shop."""

from dataclasses import dataclass

from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.link_table import LinkTable
from giftcards.adapters.mail_table import MailTable
from giftcards.adapters.mailer import LINK_TAG
from giftcards.contracts.events import LinkMailBounced, LinkMailFailed, OrderEvent
from giftcards.contracts.links import SesEvent
from giftcards.rules.mails import BounceKind, MailFailure

_SUPPRESSIONS = {"Suppressed", "OnAccountSuppressionList"}
"""Bounces that SES makes itself, without sending
(docs.aws.amazon.com/ses/latest/dg/notification-contents.html#bounce-types)."""


@dataclass(frozen=True)
class MailStatus:
    """What a report results in: the link's id, where there is one, and what was noted."""

    link_id: str | None = None
    noted: str = "IGNORED"


@dataclass(frozen=True)
class MailStatusRecording:
    """Records bounces and complaints."""

    links: LinkTable
    mails: MailTable
    bus: EventBus

    def record(self, report: SesEvent) -> MailStatus:
        """Note a bounce or complaint in the link's row and publish it. A repeat publishes it again.

        If nobody can have got the mail, the shop can name another recipient. After a complaint or a transient bounce
        (which an out-of-office reply can cause) someone may have it.
        """
        kind = _kind(report)
        link_hash = next(iter(report.detail.mail.tags.get(LINK_TAG, [])), None)
        if kind is None or link_hash is None:
            return MailStatus()
        noted = MailFailure.SUPPRESSED if report.detail.bounce.bounce_sub_type in _SUPPRESSIONS else kind
        link = self.links.mark_bounced(link_hash, noted, at=report.time)
        if link is None:
            return MailStatus(link_hash[:16])
        if kind is BounceKind.PERMANENT:
            self.mails.mark_bounced(link, at=report.time)
        event: OrderEvent
        if noted is MailFailure.SUPPRESSED:
            event = LinkMailFailed(
                order_id=link.order_id, user_id=link.user_id, occurred_at=report.time, reason=MailFailure.SUPPRESSED
            )
        else:
            event = LinkMailBounced(
                order_id=link.order_id,
                user_id=link.user_id,
                occurred_at=report.time,
                link_id=link.link_id,
                kind=kind,
            )
        self.bus.publish(event)
        return MailStatus(link.link_id, noted)


def _kind(report: SesEvent) -> BounceKind | None:
    match report.detail_type:
        case "Email Complaint Received":
            return BounceKind.COMPLAINT
        case "Email Bounced":
            return BounceKind.PERMANENT if report.detail.bounce.bounce_type == "Permanent" else BounceKind.TRANSIENT
        case "Email Rejected":
            return BounceKind.PERMANENT
        case _:
            return None
