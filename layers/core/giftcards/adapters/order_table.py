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
from giftcards.rules.orders import CLOSING_FIELDS, Acceptance, Order

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TRANSACTION_ITEMS = 100
BATCH_ITEMS = 100
"""Maxima of TransactWriteItems and BatchGetItem
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html)."""
TRIES = 5
FIRST_PAUSE_SECONDS = 0.1
"""Before the first retry for items that DynamoDB left out; doubled each time, 1.5 s in total."""
_CARD = "CARD#"
ORDER_ATTRIBUTES = tuple(sorted(str(field.alias) for field in Order.model_fields.values()))
"""Attributes of an order row. A projection on them never reads a ciphertext, in any row."""


class OrderNotOpenError(Exception):
    """The order is not open: another delivery has closed it, or it is held."""


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


def card_keys(order: Order) -> list[dict[str, str]]:
    """Return the keys of a closed order's cards, sorted by index."""
    pk = order_key(order.order_id)["pk"]
    return [{"pk": pk, "sk": _card_sk(index)} for index in range(1, (order.fulfilled_quantity or 0) + 1)]


def _card_sk(index: int) -> str:
    return f"{_CARD}{index:04d}"


def _ciphertext_in(item: Mapping[str, Any], now: datetime) -> dict[int, bytes]:
    """Return a card's ciphertext by its index; nothing if it has expired or is not a row of a delivery."""
    with suppress(KeyError, TypeError, ValueError):
        if item.get("expiresAt", math.inf) > now.timestamp():
            return {int(item["sk"].removeprefix(_CARD)): bytes(item["ciphertext"])}
    return {}


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
    """One row for an order, one for each card. A reader trusts only the order row.

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
        batches = [keys[start : start + BATCH_ITEMS] for start in range(0, len(keys), BATCH_ITEMS)]
        rows = (row for batch in batches for row in self._batch(batch))
        return {row["pk"].removeprefix("ORDER#"): _read(row) for row in rows}

    def get_with_cards(self, order_id: str, *, now: datetime) -> tuple[Order | None, dict[int, bytes]]:
        """Read an order and its cards' ciphertexts by index, from 1, without expired ones.

        DynamoDB deletes expired rows within days, and not all at once.

        Raises
        ------
        UnreadableOrderError
            If the order row has invalid attributes.
        """
        order, cards = None, dict[int, bytes]()
        condition = {
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": order_key(order_id)["pk"]},
            "ConsistentRead": True,
            # The order row first: the cards that it counts were stored before it.
            "ScanIndexForward": False,
        }
        for item in self._pages("query", condition):
            if item["sk"] == "ORDER":
                order = _readable(item)
            else:
                cards |= _ciphertext_in(item, now)
        return order, cards

    def get_cards_again(self, order: Order, *, now: datetime) -> dict[int, bytes]:
        """Read the cards of a delivered order, isolated from the transaction that closed it.

        A query is isolated from a transaction only for each item: it can return the closed order row without the cards
        of the same transaction. TransactGetItems fails while such a transaction is in progress.
        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-isolation
        """
        keys = card_keys(order)
        cards = dict[int, bytes]()
        for start in range(0, len(keys), TRANSACTION_ITEMS - 1):  # as many as close() writes, at most 4 MB
            for item in self._get_in_transaction(keys[start : start + TRANSACTION_ITEMS - 1]):
                cards |= _ciphertext_in(item, now)
        return cards

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

    def close(self, order: Order, cards: Sequence[bytes]) -> None:
        """Store the cards and close the order, atomically for a reader.

        Up to 99 cards and the order row are one transaction. More cards are written in several transactions, the order
        row last. The first one writes this attempt's id into the order row and the others require it, so that of two
        concurrent attempts the later one writes everything, and the other one writes nothing after it.

        Parameters
        ----------
        order
            The closed order.
        cards
            Ciphertexts sorted by index.

        Raises
        ------
        OrderNotOpenError
            If the order is no longer open, or a later attempt has taken over.
        """
        pieces = self._puts_in_pieces(
            [self._card_item(order, index, ciphertext) for index, ciphertext in enumerate(cards, start=1)]
        )
        if len(pieces) > 1:
            self._transact([*pieces[0], {"Update": self._taking_over(order)}])
            for piece in pieces[1:-1]:
                self._transact([*piece, {"ConditionCheck": self._while_taken_over(order)}])
        self._transact([*pieces[-1], {"Update": self._closing(order, is_last_of_several=len(pieces) > 1)}])

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
        there is no order row: if the order is claimed meanwhile, its delivery overwrites the cards written so far.
        """
        key = {"pk": order["pk"], "sk": order["sk"]}
        no_row = {"TableName": self._table_name, "ConditionExpression": "attribute_not_exists(pk)"}
        *earlier, last = self._puts_in_pieces(cards)
        try:
            for piece in earlier:
                self._transact([*piece, {"ConditionCheck": no_row | {"Key": key}}])
            self._transact([*last, {"Put": no_row | {"Item": order}}])
        except OrderNotOpenError:
            return False
        return True

    def restore_cards(self, order: Order, cards: Sequence[Mapping[str, Any]]) -> bool:
        """Write the cards of a delivered order as its attempt stored them, and return whether this was done.

        It is not done if another attempt delivered the order: cards are bound to their attempt.
        """
        check = self._while_closed_by(order)
        try:
            for piece in self._puts_in_pieces(cards):
                self._transact([*piece, {"ConditionCheck": check}])
        except OrderNotOpenError:
            return False
        return True

    def _puts_in_pieces(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Sequence[dict[str, Any]]]:
        puts = [{"Put": {"TableName": self._table_name, "Item": row}} for row in rows]
        room = TRANSACTION_ITEMS - 1  # the order row takes one
        return [puts[start : start + room] for start in range(0, len(puts), room)] or [[]]

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

    def _get_in_transaction(self, keys: Sequence[Mapping[str, str]]) -> Iterator[dict[str, Any]]:
        gets = [{"Get": {"TableName": self._table_name, "Key": key}} for key in keys]
        for attempt in range(TRIES):
            if attempt:
                self._pause(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            with suppress(self._dynamodb.exceptions.TransactionCanceledException):
                answer = self._dynamodb.transact_get_items(TransactItems=gets)
                yield from (response["Item"] for response in answer["Responses"] if "Item" in response)
                return
        raise CardsNotReadError(f"DynamoDB did not return {len(keys)} cards in {TRIES} calls.")

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

    def _card_item(self, order: Order, index: int, ciphertext: bytes) -> dict[str, Any]:
        item = {
            "pk": order_key(order.order_id)["pk"],
            "sk": _card_sk(index),
            "ciphertext": ciphertext,
            "userId": order.user_id,
            "deliveredAt": order.delivered_at and timestamp(order.delivered_at),
        }
        expiry = order.cards_expire_at
        return item if expiry is None else item | {"expiresAt": int(expiry.timestamp())}

    def _while_open(self, order: Order) -> dict[str, Any]:
        return {
            "TableName": self._table_name,
            "Key": order_key(order.order_id),
            "ConditionExpression": "#status = :handling AND userId = :userId",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": {":handling": OrderStatus.HANDLING, ":userId": order.user_id},
        }

    def _taking_over(self, order: Order) -> dict[str, Any]:
        update = self._while_open(order)
        update["UpdateExpression"] = "SET deliveryAttempt = :attempt"
        update["ExpressionAttributeValues"] |= {":attempt": order.delivery_attempt}
        return update

    def _while_taken_over(self, order: Order) -> dict[str, Any]:
        check = self._while_open(order)
        check["ConditionExpression"] += " AND deliveryAttempt = :attempt"
        check["ExpressionAttributeValues"] |= {":attempt": order.delivery_attempt}
        return check

    def _while_closed_by(self, order: Order) -> dict[str, Any]:
        check = {
            "TableName": self._table_name,
            "Key": order_key(order.order_id),
            "ConditionExpression": "#status = :status AND attribute_not_exists(deliveryAttempt)",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": {":status": order.status},
        }
        if order.delivery_attempt is not None:  # older orders have none
            check["ConditionExpression"] = "#status = :status AND deliveryAttempt = :attempt"
            check["ExpressionAttributeValues"] = {":status": order.status, ":attempt": order.delivery_attempt}
        return check

    def _closing(self, order: Order, *, is_last_of_several: bool) -> dict[str, Any]:
        values = _attributes(order, CLOSING_FIELDS)
        update = self._while_taken_over(order) if is_last_of_several else self._while_open(order)
        update["UpdateExpression"] = "SET " + ", ".join(f"#{name} = :new_{name}" for name in values)
        update["ExpressionAttributeNames"] |= {f"#{name}": name for name in values}
        update["ExpressionAttributeValues"] |= {f":new_{name}": value for name, value in values.items()}
        return update

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
