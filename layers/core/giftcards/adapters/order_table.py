"""Orders and their encrypted cards in DynamoDB."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.base import Contract, invalid_fields
from giftcards.contracts.events import HeldReason
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.card_rows import MAX_CARD_ROWS, MAX_ORDER_BYTES
from giftcards.rules.orders import CLOSING_FIELDS, Acceptance, Order

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_READ_ITEMS = 100
"""Maximum of BatchGetItem and TransactGetItems
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html)."""
TRIES = 5
FIRST_PAUSE_SECONDS = 0.1
"""Before the first retry for items that DynamoDB left out; doubled each time, 1.5 s in total."""
ORDER_ATTRIBUTES = tuple(sorted(str(field.alias) for field in Order.model_fields.values()))
"""Attributes of an order row. A projection on them never reads a ciphertext, in any row."""


class OrderNotOpenError(Exception):
    """The order is not open: another delivery has closed it, or it is held."""


class CardsTooLargeError(Exception):
    """The cards do not fit into one transaction, and nothing was written. The message says how large they are."""


class CardsNotReadError(Exception):
    """DynamoDB is writing these cards, or throttles. It says nothing about the cards."""


class OrdersNotReadError(Exception):
    """DynamoDB left out some rows in all retries. The message says how many."""


@dataclass(frozen=True)
class UnreadableOrder:
    """An order row with invalid attributes.

    Attributes
    ----------
    order_id
        From the row's key.
    fields
        Names of the invalid attributes.
    """

    order_id: str
    fields: tuple[str, ...]


class UnreadableOrderError(Exception):
    """The requested order has an unreadable row. The message has the names of its attributes, never their values."""

    def __init__(self, row: UnreadableOrder) -> None:
        super().__init__(f"order {row.order_id} cannot be read: {', '.join(row.fields)}")
        self.row = row


def _in_index(index: str, attribute: str, value: str) -> dict[str, Any]:
    return {
        "IndexName": index,
        "KeyConditionExpression": "#key = :key",
        "ExpressionAttributeNames": {"#key": attribute},
        "ExpressionAttributeValues": {":key": value},
    }


def order_key(order_id: str) -> dict[str, str]:
    """Return the key of an order row. Its cards have the same ``pk``."""
    return {"pk": f"ORDER#{order_id}", "sk": "ORDER"}


def card_keys(order: Order, indexes: range | None = None) -> dict[int, dict[str, str]]:
    """Return the keys of a closed order's card rows, by the index of the first card in each.

    Parameters
    ----------
    indexes
        Only rows that hold some of these cards; None is all.
    """
    pk, total = order_key(order.order_id)["pk"], order.fulfilled_quantity or 0
    if order.card_rows is None:  # closed by an earlier release, with a row for each card
        firsts, prefix, digits = tuple(range(1, total + 1)), "CARD#", 4
    else:
        firsts, prefix, digits = order.card_rows, "CARDS#", 5
    wanted = range(1, total + 1) if indexes is None else indexes
    return {
        first: {"pk": pk, "sk": f"{prefix}{first:0{digits}d}"}
        for first, next_first in zip(firsts, (*firsts[1:], total + 1), strict=False)
        if first < wanted.stop and wanted.start < next_first
    }


def _ciphertext_in(item: Mapping[str, Any], now: datetime) -> bytes | None:
    """Return a card row's ciphertext; None if it has expired or is not a row of a delivery."""
    with suppress(KeyError, TypeError, ValueError):
        if item.get("expiresAt", math.inf) > now.timestamp():
            return bytes(item["ciphertext"])
    return None


def _attributes(model: Contract, fields: Set[str] | None = None) -> dict[str, Any]:
    """Return a model's fields, or those named, as attributes of a row; None is left out."""
    values = model.model_dump(by_alias=True, include=None if fields is None else set(fields), exclude_none=True)
    return {name: timestamp(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _read(row: Mapping[str, Any]) -> Order | UnreadableOrder:
    try:
        return Order.model_validate(row)
    except ValidationError as error:
        return UnreadableOrder(row["pk"].removeprefix("ORDER#"), invalid_fields(error))


def _readable(item: Mapping[str, Any]) -> Order:
    row = _read(item)
    if isinstance(row, UnreadableOrder):
        raise UnreadableOrderError(row)
    return row


class OrderTable:
    """One row for an order, and some for its cards: ``rules/card_rows.py``. A reader trusts only the order row.

    Parameters
    ----------
    dynamodb
        A client that takes and returns Python types.
    pause
        Waits for a number of seconds.
    """

    def __init__(
        self, table_name: str, dynamodb: "DynamoDBClient", *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._table_name = table_name
        self._dynamodb: Any = dynamodb
        self._pause = pause

    def get(self, order_id: str) -> Order | None:
        """Read an order, strongly consistent.

        Raises
        ------
        UnreadableOrderError
            If its row has invalid attributes.
        """
        key = order_key(order_id)
        item = self._dynamodb.get_item(TableName=self._table_name, Key=key, ConsistentRead=True).get("Item")
        return None if item is None else _readable(item)

    def get_by_attributes(self, order_id: str) -> Order | None:
        """Read an order by the names of its attributes, as a role has to that may read no card.

        Raises
        ------
        UnreadableOrderError
            If its row breaks the rules of its fields.
        """
        names = {f"#{attribute}": attribute for attribute in ("pk", *ORDER_ATTRIBUTES)}
        item = self._dynamodb.get_item(
            TableName=self._table_name,
            Key=order_key(order_id),
            ConsistentRead=True,
            ProjectionExpression=", ".join(names),
            ExpressionAttributeNames=names,
        ).get("Item")
        return None if item is None else _readable(item)

    def get_many(self, order_ids: Sequence[str]) -> dict[str, Order | UnreadableOrder]:
        """Read orders by id, strongly consistent, including unreadable rows. Orders without a row are left out.

        Raises
        ------
        OrdersNotReadError
            If DynamoDB does not return all of them within ``TRIES`` calls.
        """
        keys = [order_key(order_id) for order_id in dict.fromkeys(order_ids)]
        batches = [keys[start : start + MAX_READ_ITEMS] for start in range(0, len(keys), MAX_READ_ITEMS)]
        rows = (row for batch in batches for row in self._batch(batch))
        return {row["pk"].removeprefix("ORDER#"): _read(row) for row in rows}

    def get_ciphertexts(self, order: Order, indexes: range, *, now: datetime) -> dict[int, bytes]:
        """Read the card rows of a closed order that hold some of these cards, by the index of the first card in each.

        Rows that are missing, malformed or expired are left out: DynamoDB deletes expired rows within days, and not all
        at once. TransactGetItems, unlike a query, fails while the transaction that closes the order is in progress
        (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-isolation).

        Raises
        ------
        CardsNotReadError
            If DynamoDB does not return them within ``TRIES`` calls.
        """
        keys = list(card_keys(order, indexes).items())
        found: dict[int, bytes | None] = {}
        for start in range(0, len(keys), MAX_READ_ITEMS):
            part = keys[start : start + MAX_READ_ITEMS]
            for (first, _), item in zip(part, self._get_in_transaction([key for _, key in part]), strict=True):
                found[first] = _ciphertext_in(item, now)
        return {first: ciphertext for first, ciphertext in found.items() if ciphertext is not None}

    def list(
        self, *, status: OrderStatus | None = None, user_id: str | None = None
    ) -> Iterator[Order | UnreadableOrder]:
        """List orders, newest first if an index exists for the query, otherwise unsorted by a scan.

        Unreadable rows are included for every status.
        """
        if user_id is not None:
            rows = self._by_index("orders-by-user", "userId", user_id)
        elif status is not None and not status.is_final:
            rows = self._by_index("open-orders", "openStatus", status)
        else:
            condition = {"FilterExpression": "sk = :order", "ExpressionAttributeValues": {":order": "ORDER"}}
            rows = self._pages("scan", condition)
        for row in map(_read, rows):
            if isinstance(row, UnreadableOrder) or status is None or row.status is status:
                yield row

    def list_since(self, since: datetime) -> Iterator[Order | UnreadableOrder]:
        """List orders that were closed since then or are open now, unsorted, without the ciphertexts.

        No index has the time when an order was closed, so DynamoDB reads, and charges for, the whole table including
        the cards, but returns only orders.
        """
        names = {f"#{attribute}": attribute for attribute in ("pk", *ORDER_ATTRIBUTES)}
        condition = {
            "FilterExpression": "sk = :order AND "
            "(#deliveredAt >= :since OR #refundedAt >= :since OR #status IN (:handling, :held))",
            "ProjectionExpression": ", ".join(names),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {
                ":order": "ORDER",
                ":since": timestamp(since),
                ":handling": OrderStatus.HANDLING,
                ":held": OrderStatus.HELD,
            },
        }
        yield from map(_read, self._pages("scan", condition))

    def list_open(self, open_status: OrderStatus) -> Iterator[Order | UnreadableOrder]:
        """List the orders in the index of open orders, oldest claim first, including unreadable rows.

        Parameters
        ----------
        open_status
            HELD, or HANDLING, which includes closed orders whose event is not published yet.
        """
        for item in self._by_index("open-orders", "openStatus", open_status, newest_first=False):
            yield _read(item)

    def count_open(self, open_status: OrderStatus) -> int:
        """Count the rows of ``list_open``."""
        condition = _in_index("open-orders", "openStatus", open_status) | {"Select": "COUNT"}
        pages = self._dynamodb.get_paginator("query").paginate(TableName=self._table_name, **condition)
        return sum(page["Count"] for page in pages)

    def oldest_claim(self, open_status: OrderStatus) -> datetime | None:
        """Return the time of the oldest claim in ``list_open``; None if there is none, or its row cannot be read."""
        condition = _in_index("open-orders", "openStatus", open_status) | {"Limit": 1}
        oldest = [_read(item) for item in self._dynamodb.query(TableName=self._table_name, **condition)["Items"]]
        return oldest[0].claimed_at if oldest and isinstance(oldest[0], Order) else None

    def release(self, order: Order, *, at: datetime, unless_since: datetime) -> bool:
        """Release an open order from an execution that is gone, and return whether this was done.

        The workflow can then resume it. Of several concurrent callers, only one releases it.

        Parameters
        ----------
        order
            As it was read. It is not released if it has changed since.
        unless_since
            The order is not released if it was swept after this time.
        """
        is_open = order.model_copy(update={"status": OrderStatus.HANDLING})
        return self._sweep(is_open, "REMOVE executionArn SET sweptAt = :at", at, unless_since)

    def mark_swept(self, order: Order, *, at: datetime, unless_since: datetime) -> bool:
        """Record that the event of a closed order will be published again, and return whether this was done.

        It is not done if the event has been published since the order was read. Parameters are those of ``release``.
        """
        return self._sweep(order, "SET sweptAt = :at", at, unless_since)

    def close(self, order: Order, ciphertexts: Mapping[int, bytes]) -> None:
        """Store the cards and close the order, in one transaction.

        Parameters
        ----------
        order
            The closed order.
        ciphertexts
            By the index of the first card in each.

        Raises
        ------
        CardsTooLargeError
            If they do not fit into a transaction. Nothing was written.
        OrderNotOpenError
            If the order is no longer open.
        """
        size = sum(map(len, ciphertexts.values()))
        if size > MAX_ORDER_BYTES or len(ciphertexts) > MAX_CARD_ROWS:
            raise CardsTooLargeError(
                f"No card is stored: all {order.fulfilled_quantity} take {size} bytes in {len(ciphertexts)} rows, "
                f"and one transaction holds {MAX_ORDER_BYTES} bytes in {MAX_CARD_ROWS} rows."
            )
        stored = order.model_copy(update={"card_rows": tuple(ciphertexts) or None})
        keys = card_keys(stored)
        puts = [self._put(keys[first] | self._card_attributes(order, text)) for first, text in ciphertexts.items()]
        self._transact([*puts, {"Update": self._closing(stored)}])

    def accept_cards(self, order: Order, acceptance: Acceptance) -> bool:
        """Record that an operator accepts the cards of an order that is held as SUPPLIER_CONTRACT_BROKEN.

        Returns whether this was done. It is not if the order was resumed since it was read, or if someone has accepted
        its cards. The condition reads only attributes of the hold, because IAM lets an operator write
        each attribute that a condition names (``dynamodb:Attributes``).
        """
        if order.held_at is None:
            return False
        try:
            self._dynamodb.update_item(
                TableName=self._table_name,
                Key=order_key(order.order_id),
                UpdateExpression="SET acceptCards = :acceptance",
                ConditionExpression="heldReason = :reason AND heldAt = :heldAt AND attribute_not_exists(acceptCards)",
                ExpressionAttributeValues={
                    ":acceptance": _attributes(acceptance),
                    ":reason": HeldReason.SUPPLIER_CONTRACT_BROKEN,
                    ":heldAt": timestamp(order.held_at),
                },
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def mark_published(self, order: Order, at: datetime) -> None:
        """Record that the event of a closed order is published; the order leaves the index of open orders.

        The condition requires the status that was published: a row that was lost and is open again must stay in this
        index, or no sweep would find it.
        """
        self._dynamodb.update_item(
            TableName=self._table_name,
            Key=order_key(order.order_id),
            UpdateExpression="SET announcedAt = if_not_exists(announcedAt, :at) REMOVE openStatus",
            ConditionExpression="#status = :status",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":status": order.status, ":at": timestamp(at)},
        )

    def restore(self, order: Mapping[str, Any], cards: Sequence[Mapping[str, Any]]) -> bool:
        """Write the rows of an order that has no row, and return whether this was done.

        The order row is written last, because a reader trusts the cards once it exists. Each transaction requires that
        there is no order row: if the order is claimed meanwhile, no reader uses what was written so far.
        """
        key = {"pk": order["pk"], "sk": order["sk"]}
        no_row = {"TableName": self._table_name, "ConditionExpression": "attribute_not_exists(pk)"}
        *earlier, last = self._transactions_of(cards)
        try:
            for puts in earlier:
                self._transact([*puts, {"ConditionCheck": no_row | {"Key": key}}])
            self._transact([*last, {"Put": no_row | {"Item": order}}])
        except OrderNotOpenError:
            return False
        return True

    def restore_cards(self, order: Order, cards: Sequence[Mapping[str, Any]]) -> bool:
        """Write the cards of a delivered order as they were stored, and return whether this was done.

        It is not done unless the order row is of the same delivery, which its time identifies: cards are bound to it.
        """
        check = {
            "TableName": self._table_name,
            "Key": order_key(order.order_id),
            "ConditionExpression": "deliveredAt = :deliveredAt",
            "ExpressionAttributeValues": {":deliveredAt": order.delivered_at and timestamp(order.delivered_at)},
        }
        try:
            for puts in self._transactions_of(cards):
                self._transact([*puts, {"ConditionCheck": check}])
        except OrderNotOpenError:
            return False
        return True

    def _transactions_of(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Sequence[dict[str, Any]]]:
        """Divide rows into transactions. Only an order of an earlier release, with a row a card, needs several."""
        puts = [self._put(row) for row in rows]
        return [puts[start : start + MAX_CARD_ROWS] for start in range(0, len(puts), MAX_CARD_ROWS)] or [[]]

    def _put(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {"Put": {"TableName": self._table_name, "Item": row}}

    def _batch(self, keys: Sequence[Mapping[str, str]]) -> Iterator[dict[str, Any]]:
        names = {f"#{attribute}": attribute for attribute in ("pk", *ORDER_ATTRIBUTES)}
        waiting: Mapping[str, Any] = {
            self._table_name: {
                "Keys": keys,
                "ConsistentRead": True,
                "ProjectionExpression": ", ".join(names),
                "ExpressionAttributeNames": names,
            }
        }
        for attempt in range(TRIES):
            if attempt:
                self._pause(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            answer = self._dynamodb.batch_get_item(RequestItems=waiting)
            yield from answer["Responses"].get(self._table_name, [])
            waiting = answer.get("UnprocessedKeys") or {}
            if not waiting:
                return
        left = len(waiting[self._table_name]["Keys"])
        raise OrdersNotReadError(f"DynamoDB did not return {left} of {len(keys)} orders in {TRIES} calls.")

    def _get_in_transaction(self, keys: Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, Any]]:
        gets = [{"Get": {"TableName": self._table_name, "Key": key}} for key in keys]
        for attempt in range(TRIES):
            if attempt:
                self._pause(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            with suppress(self._dynamodb.exceptions.TransactionCanceledException):
                answer = self._dynamodb.transact_get_items(TransactItems=gets)
                return [response.get("Item", {}) for response in answer["Responses"]]
        raise CardsNotReadError(f"DynamoDB did not return {len(keys)} card rows in {TRIES} calls.")

    def _sweep(self, order: Order, update: str, at: datetime, unless_since: datetime) -> bool:
        values = {
            ":status": order.status,
            ":at": timestamp(at),
            ":since": timestamp(unless_since),
        }
        execution = "attribute_not_exists(executionArn)"
        if order.execution_arn is not None:
            execution = "executionArn = :dead"
            values[":dead"] = order.execution_arn
        try:
            self._dynamodb.update_item(
                TableName=self._table_name,
                Key=order_key(order.order_id),
                UpdateExpression=update,
                ConditionExpression=f"#status = :status AND {execution} AND attribute_not_exists(announcedAt) "
                "AND (attribute_not_exists(sweptAt) OR sweptAt <= :since)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues=values,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    @staticmethod
    def _card_attributes(order: Order, ciphertext: bytes) -> dict[str, Any]:
        attributes = {
            "ciphertext": ciphertext,
            "userId": order.user_id,
            "deliveredAt": order.delivered_at and timestamp(order.delivered_at),
        }
        expiry = order.cards_expire_at
        return attributes if expiry is None else attributes | {"expiresAt": int(expiry.timestamp())}

    def _closing(self, order: Order) -> dict[str, Any]:
        """Close an open order. A delivery of the previous release that broke off can have left its attempt's id."""
        values = _attributes(order, CLOSING_FIELDS)
        return {
            "TableName": self._table_name,
            "Key": order_key(order.order_id),
            "UpdateExpression": f"SET {', '.join(f'#{name} = :new_{name}' for name in values)} REMOVE deliveryAttempt",
            "ConditionExpression": "#status = :handling AND userId = :userId",
            "ExpressionAttributeNames": {f"#{name}": name for name in values},
            "ExpressionAttributeValues": {f":new_{name}": value for name, value in values.items()}
            | {":handling": OrderStatus.HANDLING, ":userId": order.user_id},
        }

    def _transact(self, actions: Sequence[Mapping[str, Any]]) -> None:
        try:
            self._dynamodb.transact_write_items(TransactItems=actions)
        except self._dynamodb.exceptions.TransactionCanceledException as error:
            reasons = error.response.get("CancellationReasons", [])
            if any(reason.get("Code") == "ConditionalCheckFailed" for reason in reasons):
                raise OrderNotOpenError("the order is not open") from None
            raise

    def _by_index(
        self, index: str, attribute: str, value: str, *, newest_first: bool = True
    ) -> Iterator[dict[str, Any]]:
        return self._pages("query", _in_index(index, attribute, value) | {"ScanIndexForward": not newest_first})

    def _pages(self, operation: str, condition: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for page in self._dynamodb.get_paginator(operation).paginate(TableName=self._table_name, **condition):
            yield from page["Items"]
