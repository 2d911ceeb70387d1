"""The links of buyers, in the table of links (``link_rows``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from giftcards.adapters.link_rows import LinkRows, link_key, order_key, time_in
from giftcards.adapters.timestamps import timestamp
from giftcards.rules.links import MAIL_CHANNEL, MAX_LINKS, VIEW_SECONDS, Link

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_FOREVER = 4_102_444_800  # 2100-01-01


class TooManyLinksError(Exception):
    """The order has as many open links as it may have."""


@dataclass(frozen=True)
class LinkEntry:
    """What the order's row says of one link."""

    hash: str
    channel: str
    generation: int
    created_at: str


@dataclass(frozen=True)
class OrderLinks:
    """The links of one order and user.

    Attributes
    ----------
    generation
        Of its open links.
    entries
        All its links, the oldest first.
    is_stored
        Whether the order has ever had a link.
    """

    order_id: str
    user_id: str
    generation: int = 0
    entries: tuple[LinkEntry, ...] = ()
    is_stored: bool = False

    @property
    def hashes(self) -> tuple[str, ...]:
        """All links, the oldest first."""
        return tuple(entry.hash for entry in self.entries)

    @property
    def open(self) -> tuple[LinkEntry, ...]:
        """Those that are neither replaced nor revoked."""
        return tuple(entry for entry in self.entries if entry.generation == self.generation)

    def has_room_for(self, channel: str) -> bool:
        """Whether another link may be created. The link that SendLink mails is always possible."""
        others = [entry for entry in self.open if entry.channel != MAIL_CHANNEL]
        return channel == MAIL_CHANNEL or len(others) < MAX_LINKS


class LinkTable:
    """Reads and writes links. Every write is conditional on the state that it relies on."""

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self._rows = LinkRows(table_name, dynamodb)

    def get_link(self, link_hash: str) -> Link | None:
        """Read a link by the hash of its token."""
        item = self._rows.get(link_key(link_hash))
        return None if item is None else _link(item)

    def get_links(self, order_id: str, user_id: str) -> OrderLinks:
        """Read which links an order has; one without any is at generation 0."""
        item = self._rows.get(order_key(order_id, user_id)) or {}
        entries = (
            LinkEntry(entry["hash"], entry["channel"], int(entry["generation"]), entry["createdAt"])
            for entry in item.get("links", [])
        )
        return OrderLinks(
            order_id, user_id, int(item.get("generation", 0)), tuple(entries), is_stored="generation" in item
        )

    def create(self, link: Link, *, order: OrderLinks) -> bool:
        """Add a link, if it does not exist and the order's links are still as they were read.

        Raises
        ------
        TooManyLinksError
            If the order has ``MAX_LINKS`` open links.
        """
        if not order.has_room_for(link.channel):
            raise TooManyLinksError
        entries = [*order.entries, _entry(link)]
        return self._write(order, entries, generation=order.generation, actions=[self._put(link)])

    def replace(self, order: OrderLinks, link: Link | None, *, at: datetime) -> bool:
        """Close all links of an order, and add one of the next generation where there is one.

        The order remembers its last ``MAX_LINKS`` closed links.

        Returns
        -------
        False if the order's links have changed since they were read.
        """
        # DynamoDB has deleted the row of a link that ended long ago.
        stored = [entry.hash for entry in order.open if self.get_link(entry.hash) is not None]
        actions: list[Mapping[str, Any]] = [
            {
                "Update": {
                    "TableName": self._rows.table_name,
                    "Key": link_key(link_hash),
                    "UpdateExpression": "SET replacedAt = if_not_exists(replacedAt, :at)",
                    "ConditionExpression": "attribute_exists(pk)",
                    "ExpressionAttributeValues": {":at": timestamp(at)},
                }
            }
            for link_hash in stored
        ]
        entries = list(order.entries[-MAX_LINKS:])
        if link is not None:
            entries.append(_entry(link))
            actions.append(self._put(link))
        return self._write(order, entries, generation=order.generation + 1, actions=actions)

    def count_code_try(self, link: Link, *, max_tries: int) -> Link | None:
        """Count an access code before it is compared; None where the link takes no more."""
        return self._update(
            link.hash,
            "ADD codeTries :one",
            "attribute_exists(codeHash) AND (attribute_not_exists(codeTries) OR codeTries < :max)",
            {":one": 1, ":max": max_tries},
        )

    def take_use(self, link: Link, *, at: datetime, view_hash: str) -> Link | None:
        """Use the link once; None where it has just been used up, replaced or has ended. It forgets wrong codes."""
        return self._update(
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
        if self._update(used.hash, change, condition, {":one": 1, ":view": used.view_hash, **values}) is None:
            self._update(used.hash, "SET uses = uses - :one", "uses >= :one", {":one": 1})

    def mark_viewed(self, link: Link, *, at: datetime) -> None:
        """Note that the shop was notified of the first view."""
        self._update(link.hash, "SET viewedAt = :at", "attribute_not_exists(viewedAt)", {":at": timestamp(at)})

    def mark_bounced(self, link_hash: str, kind: str, *, at: datetime) -> Link | None:
        """Note a link's bounce; None if there is no such link."""
        return self._update(
            link_hash,
            "SET mailBounce = :kind, mailBouncedAt = :at",
            "attribute_exists(pk)",
            {":kind": kind, ":at": timestamp(at)},
        )

    def forget_bounce(self, link: Link) -> None:
        """Forget that an earlier mail with this link bounced, before another is sent."""
        self._update(link.hash, "REMOVE mailBounce, mailBouncedAt", "attribute_exists(mailBounce)", {})

    def _put(self, link: Link) -> Mapping[str, Any]:
        return {
            "Put": {
                "TableName": self._rows.table_name,
                "Item": _link_item(link),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }

    def _write(
        self, order: OrderLinks, entries: Sequence[LinkEntry], *, generation: int, actions: Sequence[Mapping[str, Any]]
    ) -> bool:
        values: dict[str, Any] = {
            ":order": order.order_id,
            ":user": order.user_id,
            ":generation": generation,
            ":links": [
                {
                    "hash": entry.hash,
                    "channel": entry.channel,
                    "generation": entry.generation,
                    "createdAt": entry.created_at,
                }
                for entry in entries
            ],
            # The row of an order that has had a link stays: a generation that starts again would derive the tokens of
            # revoked links again.
            ":forever": _FOREVER,
        }
        is_unchanged = "attribute_not_exists(generation)"
        if order.is_stored:  # without a new generation, the list only grows
            is_unchanged = "generation = :former AND size(links) = :count"
            values |= {":former": order.generation, ":count": len(order.entries)}
        update = {
            "Update": {
                "TableName": self._rows.table_name,
                "Key": order_key(order.order_id, order.user_id),
                "UpdateExpression": "SET orderId = :order, userId = :user, generation = :generation, links = :links, "
                "expireAt = :forever",
                "ConditionExpression": is_unchanged,
                "ExpressionAttributeValues": values,
            }
        }
        dynamodb = self._rows.dynamodb
        try:
            dynamodb.transact_write_items(TransactItems=[update, *actions])
        except dynamodb.exceptions.TransactionCanceledException as error:
            codes = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
            if codes <= {"None", "ConditionalCheckFailed", "TransactionConflict"}:
                return False
            raise
        return True

    def _update(self, link_hash: str, change: str, condition: str, values: Mapping[str, Any]) -> Link | None:
        item = self._rows.update(link_key(link_hash), change, condition, values)
        return None if item is None else _link(item)


def _entry(link: Link) -> LinkEntry:
    return LinkEntry(link.hash, link.channel, link.generation, timestamp(link.created_at))


def _link_item(link: Link) -> dict[str, Any]:
    optional = {
        "label": link.label,
        "codeHash": link.code_hash,
        "cardsExpireAt": link.cards_expire_at and timestamp(link.cards_expire_at),
    }
    return {
        **link_key(link.hash),
        "orderId": link.order_id,
        "userId": link.user_id,
        "channel": link.channel,
        "generation": link.generation,
        "macTail": link.mac_tail,
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
        mac_tail=item["macTail"],
        language=item["language"],
        label=item.get("label"),
        quantity=int(item["quantity"]),
        fulfilled_quantity=int(item["fulfilledQuantity"]),
        created_at=datetime.fromisoformat(item["createdAt"]),
        expires_at=datetime.fromisoformat(item["expiresAt"]),
        cards_expire_at=time_in(item, "cardsExpireAt"),
        max_uses=int(item["maxUses"]),
        uses=int(item.get("uses", 0)),
        last_used_at=time_in(item, "lastUsedAt"),
        code_hash=item.get("codeHash"),
        code_tries=int(item.get("codeTries", 0)),
        replaced_at=time_in(item, "replacedAt"),
        view_hash=item.get("viewHash"),
        view_until=time_in(item, "viewUntil"),
        viewed_at=time_in(item, "viewedAt"),
        mail_bounce=item.get("mailBounce"),
    )
