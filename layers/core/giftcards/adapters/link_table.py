"""The table of buyers' links and mails. It holds no card, no token and no readable address.

``LINK#<hash>``/``LINK`` is one link. ``ORDER#<orderId>``/``USER#<userId>`` lists the links of an order and carries the
mail; the sparse index ``due-mails`` finds those that have to be sent.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from giftcards.adapters.timestamps import timestamp
from giftcards.rules.links import MAX_LINKS, VIEW_SECONDS, Delivery, Link
from giftcards.rules.mails import MAIL_LEASE_SECONDS, Mail, MailFailure

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_DUE = "DUE"
_CONFLICT_ATTEMPTS = 4
_CONFLICT_SECONDS = 0.05
_NONE: Mapping[str, str] = {}
_WITHOUT_LINK = timedelta(days=90)
"""How long the row of an order that never had a link outlives its delivery."""
_FOREVER = 4_102_444_800  # 2100-01-01


class TooManyLinksError(Exception):
    """The order has as many links as it remembers."""


@dataclass(frozen=True)
class OrderLinks:
    """The links of one order and user.

    Attributes
    ----------
    generation
        Of its current links.
    hashes
        Of all its links, the oldest first.
    current
        Of those that are neither replaced nor revoked.
    is_stored
        Whether the order has ever had a link.
    """

    order_id: str
    user_id: str
    generation: int = 0
    hashes: tuple[str, ...] = ()
    current: tuple[str, ...] = ()
    is_stored: bool = False


class LinkTable:
    """Reads and writes links and mails. Every write states what it rests on."""

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self._table_name = table_name
        self._dynamodb: Any = dynamodb

    # ------------------------------------------------------------------ links

    def get_link(self, link_hash: str) -> Link | None:
        """Read a link by the hash of its token."""
        item = self._get(_link_key(link_hash))
        return None if item is None else _link(item)

    def get_links(self, order_id: str, user_id: str) -> OrderLinks:
        """Read which links an order has; one without any is at generation 0."""
        item = self._get(_order_key(order_id, user_id)) or {}
        generation = int(item.get("generation", 0))
        entries = item.get("links", [])
        return OrderLinks(
            order_id,
            user_id,
            generation,
            tuple(entry["hash"] for entry in entries),
            tuple(entry["hash"] for entry in entries if int(entry["generation"]) == generation),
            is_stored="generation" in item,
        )

    def create(self, link: Link, *, order: OrderLinks) -> bool:
        """Add a link, if it does not exist and the order's links are still as they were read.

        Raises
        ------
        TooManyLinksError
            If the order has ``MAX_LINKS`` links.
        """
        if len(order.hashes) >= MAX_LINKS:
            raise TooManyLinksError
        return self._write_links(order, link, generation=order.generation, hashes_kept=order.hashes, replaced=())

    def replace(self, order: OrderLinks, link: Link | None, *, at: datetime) -> bool:
        """Close all links of an order, and add one of the next generation where there is one.

        Links that have been replaced before leave the list when it is full.

        Returns
        -------
        False if the order's links have changed since they were read.
        """
        kept = order.hashes[-(MAX_LINKS - 1) :]
        # DynamoDB has deleted the row of a link that ended long ago.
        open_links = [link_hash for link_hash in dict.fromkeys(order.current) if self.get_link(link_hash) is not None]
        closing = [
            {
                "Update": {
                    "TableName": self._table_name,
                    "Key": _link_key(link_hash),
                    "UpdateExpression": "SET replacedAt = if_not_exists(replacedAt, :at)",
                    "ConditionExpression": "attribute_exists(pk)",
                    "ExpressionAttributeValues": {":at": timestamp(at)},
                }
            }
            for link_hash in open_links
        ]
        return self._write_links(order, link, generation=order.generation + 1, hashes_kept=kept, replaced=closing)

    def count_code_try(self, link: Link, *, max_tries: int) -> Link | None:
        """Count an access code before it is compared; None where the link takes no more."""
        return self._update_link(
            link.hash,
            "ADD codeTries :one",
            "attribute_exists(codeHash) AND (attribute_not_exists(codeTries) OR codeTries < :max)",
            {":one": 1, ":max": max_tries},
        )

    def take_use(self, link: Link, *, at: datetime, view_hash: str) -> Link | None:
        """Use the link once; None where it has just been used up, replaced or has ended. It forgets wrong codes."""
        return self._update_link(
            link.hash,
            "SET uses = if_not_exists(uses, :none) + :one, lastUsedAt = :at, viewHash = :view, viewUntil = :until "
            "REMOVE codeTries",
            "(attribute_not_exists(uses) OR uses < maxUses) AND attribute_not_exists(replacedAt) AND expiresAt > :at "
            "AND (attribute_not_exists(viewHash) OR viewHash <> :view)",  # not again, when boto3 repeats the call
            {
                ":none": 0,
                ":one": 1,
                ":at": timestamp(at),
                ":view": view_hash,
                ":until": timestamp(at + timedelta(seconds=VIEW_SECONDS)),
            },
        )

    def give_back_use(self, used: Link, *, last_used_at: datetime | None) -> None:
        """Take a use back that showed no card.

        Parameters
        ----------
        used
            The link as ``take_use`` returned it.
        last_used_at
            When it was used before, which the row says again unless another use came in between.
        """
        if last_used_at is None:
            change, values = "SET uses = uses - :one REMOVE viewHash, viewUntil, lastUsedAt", {}
        else:
            change = "SET uses = uses - :one, lastUsedAt = :last REMOVE viewHash, viewUntil"
            values = {":last": timestamp(last_used_at)}
        condition = "uses >= :one AND viewHash = :view"
        if self._update_link(used.hash, change, condition, {":one": 1, ":view": used.view_hash, **values}) is None:
            self._update_link(used.hash, "SET uses = uses - :one", "uses >= :one", {":one": 1})

    def mark_viewed(self, link: Link, *, at: datetime) -> None:
        """Note that the shop was notified of the first view."""
        self._update_link(link.hash, "SET viewedAt = :at", "attribute_not_exists(viewedAt)", {":at": timestamp(at)})

    def mark_bounced(self, link_hash: str, kind: str, *, at: datetime) -> Link | None:
        """Note a link's bounce; None if there is no such link."""
        return self._update_link(
            link_hash,
            "SET mailBounce = :kind, mailBouncedAt = :at",
            "attribute_exists(pk)",
            {":kind": kind, ":at": timestamp(at)},
        )

    # ------------------------------------------------------------------ mails

    def get_mail(self, order_id: str, user_id: str) -> Mail | None:
        """Read the mail of an order and user."""
        item = self._get(_order_key(order_id, user_id))
        return None if item is None else _mail(item)

    def set_recipient(self, mail: Mail, *, recipient_at: datetime, row_expires_at: datetime) -> bool:
        """Store a sealed recipient; False where the order and user have one, or have had one who got the mail.

        A mail that failed makes room for another recipient.
        """
        return self._update_order(
            mail,
            "SET orderId = :order, userId = :user, recipient = :recipient, recipientAt = :at, #language = :language, "
            "#label = :label, expireAt = if_not_exists(expireAt, :expire) REMOVE mailFailure, refusedAt, claimedUntil",
            "attribute_not_exists(recipientAt) OR attribute_exists(mailFailure)",
            {
                ":order": mail.order_id,
                ":user": mail.user_id,
                ":recipient": mail.recipient,
                ":at": timestamp(recipient_at),
                ":language": mail.language,
                ":label": mail.label,
                ":expire": int(row_expires_at.timestamp()),
            },
            names={"#language": "language", "#label": "label"},
        )

    def set_delivery(self, delivery: Delivery, delivery_id: str, *, at: datetime) -> None:
        """Note that an order is delivered. A repeat changes nothing."""
        end = {} if delivery.cards_expire_at is None else {":end": timestamp(delivery.cards_expire_at)}
        self._update_order(
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
                ":expire": int((at + _WITHOUT_LINK).timestamp()),
                **end,
            },
        )

    def make_due(self, order_id: str, user_id: str, *, at: datetime) -> bool:
        """Have the mail sent, if there are a recipient and a delivery; False where nothing is to be sent (again).

        Both who stores the recipient and who notes the delivery call it afterwards, so that the later one of the two
        makes the mail due, whichever it is.
        """
        return self._update_order(
            Mail(order_id, user_id),
            "SET mailDue = :due, mailDueAt = :at, mailGeneration = if_not_exists(generation, :none)",
            "attribute_exists(recipient) AND attribute_exists(deliveryId) AND attribute_not_exists(sentAt) "
            "AND attribute_not_exists(mailDue)",
            {":due": _DUE, ":at": timestamp(at), ":none": 0},
        )

    def due_mails(self) -> Iterator[tuple[str, str, datetime]]:
        """List the order, the user and the time since when of each mail that is due, the oldest first."""
        paginator = self._dynamodb.get_paginator("query")
        for page in paginator.paginate(
            TableName=self._table_name,
            IndexName="due-mails",
            KeyConditionExpression="mailDue = :due",
            ExpressionAttributeValues={":due": _DUE},
        ):
            for item in page["Items"]:
                yield (
                    item["pk"].removeprefix("ORDER#"),
                    item["sk"].removeprefix("USER#"),
                    datetime.fromisoformat(item["mailDueAt"]),
                )

    def claim_mail(self, order_id: str, user_id: str, *, at: datetime) -> Mail | None:
        """Claim a due mail for ``MAIL_LEASE_SECONDS``; None where it is not due or another sender has it."""
        item = self._update(
            _order_key(order_id, user_id),
            "SET claimedUntil = :until ADD attempts :one",
            "attribute_exists(mailDue) AND (attribute_not_exists(claimedUntil) OR claimedUntil <= :at)",
            {":until": timestamp(at + timedelta(seconds=MAIL_LEASE_SECONDS)), ":one": 1, ":at": timestamp(at)},
        )
        return None if item is None else _mail(item)

    def release_mail(self, mail: Mail, *, refused_at: datetime | None = None) -> None:
        """Give a claim up, so that the next run tries again."""
        refused = {} if refused_at is None else {":refused": timestamp(refused_at)}
        change = "SET refusedAt = if_not_exists(refusedAt, :refused) " if refused else ""
        self._update_order(mail, f"{change}REMOVE claimedUntil", "attribute_exists(mailDue)", refused)

    def mark_sent(self, mail: Mail, link: Link, *, at: datetime) -> Mail:
        """Note that SES has accepted the mail, and forget the address. It stays due until it is published."""
        item = self._update(
            _order_key(mail.order_id, mail.user_id),
            "SET sentAt = if_not_exists(sentAt, :at), mailLinkId = :link, mailLinkExpiresAt = :end REMOVE recipient",
            "attribute_exists(pk)",
            {":at": timestamp(at), ":link": link.link_id, ":end": timestamp(link.expires_at)},
        )
        return _mail(item or {})

    def mark_failed(self, mail: Mail, failure: MailFailure) -> None:
        """Note that no mail is sent, and forget the address. It stays due until it is published."""
        self._update_order(
            mail, "SET mailFailure = :failure REMOVE recipient", "attribute_not_exists(sentAt)", {":failure": failure}
        )

    def mark_published(self, mail: Mail) -> None:
        """Note that the shop knows what happened to the mail. After a failure it can name another recipient."""
        if mail.failure is None:
            self._update_order(mail, "REMOVE mailDue, mailDueAt, claimedUntil", "attribute_exists(pk)", {})
        else:  # unless another recipient has come in the meantime, whose mail is due
            change = "REMOVE mailDue, mailDueAt, claimedUntil, recipientAt"
            self._update_order(mail, change, "attribute_exists(mailFailure)", {})

    # ---------------------------------------------------------------- calls

    def _write_links(
        self,
        order: OrderLinks,
        link: Link | None,
        *,
        generation: int,
        hashes_kept: Sequence[str],
        replaced: Sequence[Mapping[str, Any]],
    ) -> bool:
        item = self._get(_order_key(order.order_id, order.user_id)) or {}
        entries = [
            entry
            for entry in item.get("links", [])
            if entry["hash"] in hashes_kept and (link is None or entry["hash"] != link.hash)
        ]
        if link is not None:
            entries.append(
                {
                    "hash": link.hash,
                    "channel": link.channel,
                    "generation": link.generation,
                    "createdAt": timestamp(link.created_at),
                }
            )
        values: dict[str, Any] = {
            ":order": order.order_id,
            ":user": order.user_id,
            ":generation": generation,
            ":links": entries,
        }
        change = "SET orderId = :order, userId = :user, generation = :generation, links = :links"
        # The row of an order that has had a link stays: a generation that starts again would derive the tokens of
        # revoked links again.
        change += ", expireAt = :forever"
        values[":forever"] = _FOREVER
        is_unchanged = "attribute_not_exists(generation)"
        if order.is_stored:
            is_unchanged = "generation = :former AND size(links) = :count"
            values |= {":former": order.generation, ":count": len(order.hashes)}
        actions: list[Mapping[str, Any]] = [
            {
                "Update": {
                    "TableName": self._table_name,
                    "Key": _order_key(order.order_id, order.user_id),
                    "UpdateExpression": change,
                    "ConditionExpression": is_unchanged,
                    "ExpressionAttributeValues": values,
                }
            },
            *replaced,
        ]
        if link is not None:
            actions.append(
                {
                    "Put": {
                        "TableName": self._table_name,
                        "Item": _link_item(link),
                        "ConditionExpression": "attribute_not_exists(pk)",
                    }
                }
            )
        try:
            self._dynamodb.transact_write_items(TransactItems=actions)
        except self._dynamodb.exceptions.TransactionCanceledException as error:
            codes = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
            if codes <= {"None", "ConditionalCheckFailed", "TransactionConflict"}:
                return False
            raise
        return True

    def _get(self, key: Mapping[str, str]) -> dict[str, Any] | None:
        item: dict[str, Any] | None = self._dynamodb.get_item(
            TableName=self._table_name, Key=key, ConsistentRead=True
        ).get("Item")
        return item

    def _update_link(self, link_hash: str, change: str, condition: str, values: Mapping[str, Any]) -> Link | None:
        item = self._update(_link_key(link_hash), change, condition, values)
        return None if item is None else _link(item)

    def _update_order(
        self, mail: Mail, change: str, condition: str, values: Mapping[str, Any], *, names: Mapping[str, str] = _NONE
    ) -> bool:
        key = _order_key(mail.order_id, mail.user_id)
        return self._update(key, change, condition, values, names=names) is not None

    def _update(
        self,
        key: Mapping[str, str],
        change: str,
        condition: str,
        values: Mapping[str, Any],
        *,
        names: Mapping[str, str] = _NONE,
    ) -> dict[str, Any] | None:
        """Update a row and return it as it is then; None where the condition does not hold.

        A transaction on the same row makes DynamoDB refuse an update at once, which boto3 does not retry.
        """
        given: dict[str, Any] = {"ExpressionAttributeValues": dict(values)} if values else {}
        if names:
            given["ExpressionAttributeNames"] = dict(names)
        for attempt in range(1, _CONFLICT_ATTEMPTS + 1):
            try:
                item: dict[str, Any] = self._dynamodb.update_item(
                    TableName=self._table_name,
                    Key=key,
                    UpdateExpression=change,
                    ConditionExpression=condition,
                    ReturnValues="ALL_NEW",
                    **given,
                )["Attributes"]
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                return None
            except self._dynamodb.exceptions.TransactionConflictException:
                if attempt == _CONFLICT_ATTEMPTS:
                    raise
                time.sleep(_CONFLICT_SECONDS * attempt)
            else:
                return item
        return None


def _link_key(link_hash: str) -> dict[str, str]:
    return {"pk": f"LINK#{link_hash}", "sk": "LINK"}


def _order_key(order_id: str, user_id: str) -> dict[str, str]:
    return {"pk": f"ORDER#{order_id}", "sk": f"USER#{user_id}"}


def _time(item: Mapping[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(item[name]) if name in item else None


def _whole(item: Mapping[str, Any], name: str) -> int | None:
    return int(item[name]) if name in item else None


def _link_item(link: Link) -> dict[str, Any]:
    optional = {
        "label": link.label,
        "codeHash": link.code_hash,
        "cardsExpireAt": link.cards_expire_at and timestamp(link.cards_expire_at),
    }
    return {
        **_link_key(link.hash),
        "orderId": link.order_id,
        "userId": link.user_id,
        "channel": link.channel,
        "generation": link.generation,
        "language": link.language,
        "quantity": link.quantity,
        "fulfilledQuantity": link.fulfilled_quantity,
        "createdAt": timestamp(link.created_at),
        "expiresAt": timestamp(link.expires_at),
        "maxUses": link.max_uses,
        "uses": link.uses,
        "expireAt": int(link.row_expires_at.timestamp()),
        **{name: value for name, value in optional.items() if value is not None},
    }


def _link(item: Mapping[str, Any]) -> Link:
    return Link(
        hash=item["pk"].removeprefix("LINK#"),
        order_id=item["orderId"],
        user_id=item["userId"],
        channel=item["channel"],
        generation=int(item["generation"]),
        language=item["language"],
        label=item.get("label"),
        quantity=int(item["quantity"]),
        fulfilled_quantity=int(item["fulfilledQuantity"]),
        created_at=datetime.fromisoformat(item["createdAt"]),
        expires_at=datetime.fromisoformat(item["expiresAt"]),
        cards_expire_at=_time(item, "cardsExpireAt"),
        max_uses=int(item["maxUses"]),
        uses=int(item.get("uses", 0)),
        last_used_at=_time(item, "lastUsedAt"),
        code_hash=item.get("codeHash"),
        code_tries=int(item.get("codeTries", 0)),
        replaced_at=_time(item, "replacedAt"),
        view_hash=item.get("viewHash"),
        view_until=_time(item, "viewUntil"),
        viewed_at=_time(item, "viewedAt"),
        mail_bounce=item.get("mailBounce"),
    )


def _mail(item: Mapping[str, Any]) -> Mail:
    recipient = item.get("recipient")
    failure = item.get("mailFailure")
    return Mail(
        order_id=item["orderId"],
        user_id=item["userId"],
        is_revoked=int(item.get("generation", 0)) != int(item.get("mailGeneration", item.get("generation", 0))),
        recipient=None if recipient is None else bytes(recipient),
        recipient_at=_time(item, "recipientAt"),
        language=item.get("language"),
        label=item.get("label"),
        delivery_id=item.get("deliveryId"),
        quantity=_whole(item, "quantity"),
        fulfilled_quantity=_whole(item, "fulfilledQuantity"),
        cards_expire_at=_time(item, "cardsExpireAt"),
        attempts=int(item.get("attempts", 0)),
        due_at=_time(item, "mailDueAt"),
        refused_at=_time(item, "refusedAt"),
        sent_at=_time(item, "sentAt"),
        link_id=item.get("mailLinkId"),
        link_expires_at=_time(item, "mailLinkExpiresAt"),
        failure=None if failure is None else MailFailure(failure),
    )
