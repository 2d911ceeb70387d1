"""StoreRecipient: seal a buyer's address until the mail with the link has been sent."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.mail_table import MailTable
from giftcards.adapters.recipient_cipher import RecipientCipher
from giftcards.contracts.base import Contract, Identifier
from giftcards.contracts.events import LinkMailFailed
from giftcards.contracts.links import RecipientSet
from giftcards.rules.mails import Mail, MailFailure


class RecipientOutcome(StrEnum):
    """What an event that names a recipient results in."""

    STORED = "STORED"
    ALREADY_SET = "ALREADY_SET"
    INVALID_RECIPIENT = "INVALID_RECIPIENT"
    INVALID_REQUEST = "INVALID_REQUEST"


class UnusableRecipient(Contract):
    """What is left of a RecipientSet whose address is invalid."""

    order_id: Identifier
    user_id: Identifier


@dataclass(frozen=True)
class RecipientStorage:
    """Stores recipients.

    Attributes
    ----------
    retention
        How long an address may be kept.
    """

    mails: MailTable
    cipher: RecipientCipher
    bus: EventBus
    retention: timedelta

    def store(self, recipient: RecipientSet, *, now: datetime) -> RecipientOutcome:
        """Seal an address. The first one for an order and user counts, until its mail has failed or bounced."""
        order_id, user_id = recipient.order_id, recipient.user_id
        mail = Mail(
            order_id,
            user_id,
            recipient=self.cipher.seal(order_id, user_id, recipient.email),
            language=recipient.language,
            label=recipient.label,
        )
        is_stored = self.mails.set_recipient(mail, at=now, keep_until=now + self.retention)
        # Also on a repeat: the run that stored it may have been killed before this.
        self.mails.make_due(order_id, user_id, at=now)
        return RecipientOutcome.STORED if is_stored else RecipientOutcome.ALREADY_SET

    def refuse(self, recipient: UnusableRecipient, *, now: datetime) -> RecipientOutcome:
        """Notify the shop that an address is invalid. A valid one can follow."""
        self.bus.publish(
            LinkMailFailed(
                order_id=recipient.order_id,
                user_id=recipient.user_id,
                occurred_at=now,
                reason=MailFailure.INVALID_RECIPIENT,
            )
        )
        return RecipientOutcome.INVALID_RECIPIENT
