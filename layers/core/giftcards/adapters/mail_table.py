"""The mails that bring links, in the table of links (``link_rows``). The sparse index ``due-mails`` finds what is due.

A mail becomes due when its order is delivered and its recipient is known. Until then, a recipient's row is due at the
end of the address's retention, so that the shop is notified of a mail that was never sent.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from giftcards.adapters.link_rows import NO_NAMES, LinkRows, order_key, time_in
from giftcards.adapters.timestamps import timestamp
from giftcards.rules.links import Delivery, Link
from giftcards.rules.mails import MAIL_LEASE_SECONDS, Mail, MailFailure

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_DUE = "DUE"
_WITHOUT_RECIPIENT = timedelta(days=90)
"""How long the row of an order without a link or a recipient outlives its delivery."""
_GRACE = timedelta(days=2)
"""Time to publish that a mail has expired, before DynamoDB deletes its row."""


class MailTable:
    """Reads and writes mails. Every write is conditional on the state that it relies on."""

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self._rows = LinkRows(table_name, dynamodb)

    def get(self, order_id: str, user_id: str) -> Mail | None:
        """Read the mail of an order and user."""
        item = self._rows.get(order_key(order_id, user_id))
        return None if item is None else _mail(item)

    def set_recipient(self, mail: Mail, *, at: datetime, keep_until: datetime) -> bool:
        """Store a sealed recipient; False where the order and user have one already.

        A mail that failed or bounced makes room for another recipient.
        """
        expire = int((keep_until + _GRACE).timestamp())
        is_stored = self._update(
            mail,
            "SET orderId = :order, userId = :user, recipient = :recipient, recipientAt = :at, #language = :language, "
            "#label = :label, mailDue = :due, mailDueAt = :end, expireAt = if_not_exists(expireAt, :expire) "
            "REMOVE mailFailure, refusedAt, claimedUntil, sentAt, bouncedAt, mailLinkId, mailLinkExpiresAt",
            "attribute_not_exists(recipientAt) OR attribute_exists(mailFailure) OR attribute_exists(bouncedAt)",
            {
                ":order": mail.order_id,
                ":user": mail.user_id,
                ":recipient": mail.recipient,
                ":at": timestamp(at),
                ":language": mail.language,
                ":label": mail.label,
                ":due": _DUE,
                ":end": timestamp(keep_until),
                ":expire": expire,
            },
            names={"#language": "language", "#label": "label"},
        )
        # The row of a delivery can be older than its recipient, and must not be deleted before the mail ends.
        self._update(
            mail, "SET expireAt = :expire", "attribute_exists(recipient) AND expireAt < :expire", {":expire": expire}
        )
        return is_stored

    def set_delivery(self, delivery: Delivery, delivery_id: str, *, at: datetime) -> None:
        """Note that an order is delivered. A repeat changes nothing."""
        end = {} if delivery.cards_expire_at is None else {":end": timestamp(delivery.cards_expire_at)}
        self._update(
            Mail(delivery.order_id, delivery.user_id),
            "SET orderId = :order, userId = :user, deliveryId = :delivery, quantity = :quantity, "
            "fulfilledQuantity = :fulfilled, expireAt = if_not_exists(expireAt, :expire)"
            + (", cardsExpireAt = :end" if end else ""),
            "attribute_not_exists(deliveryId)",
            {
                ":order": delivery.order_id,
                ":user": delivery.user_id,
                ":delivery": delivery_id,
                ":quantity": delivery.quantity,
                ":fulfilled": delivery.fulfilled_quantity,
                ":expire": int((at + _WITHOUT_RECIPIENT).timestamp()),
                **end,
            },
        )

    def make_due(self, order_id: str, user_id: str, *, at: datetime) -> bool:
        """Have the mail sent, if there are a recipient and a delivery; False where nothing is to be sent (again).

        Both who stores the recipient and who notes the delivery call it afterwards, so that the later one of the two
        makes the mail due, whichever it is.
        """
        return self._update(
            Mail(order_id, user_id),
            "SET mailDue = :due, mailDueAt = :at, mailGeneration = if_not_exists(generation, :none)",
            "attribute_exists(recipient) AND attribute_exists(deliveryId) AND attribute_not_exists(sentAt) "
            "AND (attribute_not_exists(mailDue) OR mailDueAt > :at)",
            {":due": _DUE, ":at": timestamp(at), ":none": 0},
        )

    def due(self, at: datetime) -> Iterator[tuple[str, str, datetime]]:
        """List the order, the user and the time since when of each mail that is due, the oldest first."""
        paginator = self._rows.dynamodb.get_paginator("query")
        for page in paginator.paginate(
            TableName=self._rows.table_name,
            IndexName="due-mails",
            KeyConditionExpression="mailDue = :due AND mailDueAt <= :at",
            ExpressionAttributeValues={":due": _DUE, ":at": timestamp(at)},
        ):
            for item in page["Items"]:
                yield (
                    item["pk"].removeprefix("ORDER#"),
                    item["sk"].removeprefix("USER#"),
                    datetime.fromisoformat(item["mailDueAt"]),
                )

    def claim(self, order_id: str, user_id: str, *, at: datetime) -> Mail | None:
        """Claim a due mail for ``MAIL_LEASE_SECONDS``; None where it is not due or another sender has it."""
        item = self._rows.update(
            order_key(order_id, user_id),
            "SET claimedUntil = :until ADD attempts :one",
            "attribute_exists(mailDue) AND mailDueAt <= :at "
            "AND (attribute_not_exists(claimedUntil) OR claimedUntil <= :at)",
            {":until": timestamp(at + timedelta(seconds=MAIL_LEASE_SECONDS)), ":one": 1, ":at": timestamp(at)},
        )
        return None if item is None else _mail(item)

    def release(self, mail: Mail, *, refused_at: datetime | None = None) -> None:
        """Give a claim up, so that the next run tries again."""
        refused = {} if refused_at is None else {":refused": timestamp(refused_at)}
        change = "SET refusedAt = if_not_exists(refusedAt, :refused) " if refused else ""
        self._update(mail, f"{change}REMOVE claimedUntil", "attribute_exists(mailDue)", refused)

    def mark_sent(self, mail: Mail, link: Link, *, at: datetime) -> Mail:
        """Note that SES has accepted the mail, and forget the address. It stays due until it is published."""
        item = self._rows.update(
            order_key(mail.order_id, mail.user_id),
            "SET sentAt = if_not_exists(sentAt, :at), mailLinkId = :link, mailLinkExpiresAt = :end REMOVE recipient",
            "attribute_exists(pk)",
            {":at": timestamp(at), ":link": link.link_id, ":end": timestamp(link.expires_at)},
        )
        return _mail(item or {})

    def mark_failed(self, mail: Mail, failure: MailFailure) -> None:
        """Note that no mail is sent, and forget the address. It stays due until it is published."""
        self._update(
            mail, "SET mailFailure = :failure REMOVE recipient", "attribute_not_exists(sentAt)", {":failure": failure}
        )

    def mark_published(self, mail: Mail) -> None:
        """Note that the shop knows what happened to the mail. After a failure it can name another recipient."""
        if mail.failure is None:
            self._update(mail, "REMOVE mailDue, mailDueAt, claimedUntil", "attribute_exists(pk)", {})
        else:  # unless another recipient has come in the meantime, whose mail is due
            change = "REMOVE mailDue, mailDueAt, claimedUntil, recipientAt"
            self._update(mail, change, "attribute_exists(mailFailure)", {})

    def mark_bounced(self, link: Link, *, at: datetime) -> None:
        """Let the shop name another recipient, because nobody got the mail.

        A report that is older than the last mail, such as a repeat about an earlier recipient, changes nothing.
        """
        self._update(
            Mail(link.order_id, link.user_id),
            "SET bouncedAt = :at",
            "mailLinkId = :link AND sentAt <= :at",
            {":at": timestamp(at), ":link": link.link_id},
        )

    def _update(
        self,
        mail: Mail,
        change: str,
        condition: str,
        values: Mapping[str, Any],
        *,
        names: Mapping[str, str] = NO_NAMES,
    ) -> bool:
        key = order_key(mail.order_id, mail.user_id)
        return self._rows.update(key, change, condition, values, names=names) is not None


def _whole(item: Mapping[str, Any], name: str) -> int | None:
    return int(item[name]) if name in item else None


def _mail(item: Mapping[str, Any]) -> Mail:
    recipient = item.get("recipient")
    failure = item.get("mailFailure")
    generation = int(item.get("generation", 0))
    return Mail(
        order_id=item["orderId"],
        user_id=item["userId"],
        is_revoked=generation != int(item.get("mailGeneration", generation)),
        recipient=None if recipient is None else bytes(recipient),
        recipient_at=time_in(item, "recipientAt"),
        language=item.get("language"),
        label=item.get("label"),
        delivery_id=item.get("deliveryId"),
        quantity=_whole(item, "quantity"),
        fulfilled_quantity=_whole(item, "fulfilledQuantity"),
        cards_expire_at=time_in(item, "cardsExpireAt"),
        attempts=int(item.get("attempts", 0)),
        due_at=time_in(item, "mailDueAt"),
        refused_at=time_in(item, "refusedAt"),
        sent_at=time_in(item, "sentAt"),
        link_id=item.get("mailLinkId"),
        link_expires_at=time_in(item, "mailLinkExpiresAt"),
        failure=None if failure is None else MailFailure(failure),
    )
