"""The record of the supplier gate in DynamoDB."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from boto3.dynamodb.types import TypeDeserializer

from giftcards.adapters.timestamps import timestamp
from giftcards.rules.gate import MAX_CONCURRENT_CALLS, Block, Gate, Lease, Slot, Suspicion
from giftcards.rules.supplier_failure import FailureKind

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SUPPLIER = "SUPPLIER#oneclickdz"
"""Partition key of all that is stored about this supplier. With its own, another supplier inherits no block."""
_KEY = {"pk": SUPPLIER, "sk": "GATE"}


class GateTable:
    """Reads and blocks the gate, and stores the leases of its slots.

    No function unblocks the gate with a write: the record says when a block ends. Blocks that only a new key ends and
    blocks that time ends are stored separately, so that neither can shorten the other.
    """

    def __init__(self, table_name: str, dynamodb: "DynamoDBClient") -> None:
        self._table_name = table_name
        self._dynamodb: Any = dynamodb

    def read(self) -> Gate:
        return _gate(self._dynamodb.get_item(TableName=self._table_name, Key=_KEY, ConsistentRead=True).get("Item", {}))

    def block(self, block: Block, *, confirmed: Suspicion | None = None) -> bool:
        """Block calls for all orders, and return whether this was done. A pause does not replace a longer one.

        After the block, the key has to be accepted again.

        Parameters
        ----------
        confirmed
            The suspicion that led to the block. It ends with it: after the pause, no order counts as refused before.
            Calls are not blocked if the supplier has answered an order since the record was read.
        """
        kind = "refused" if block.until is None else "paused"
        values = {
            f"{kind}Reason": block.reason,
            f"{kind}Message": block.message,
            f"{kind}At": timestamp(block.at),
            f"{kind}KeyVersion": block.key_version,
        }
        added: dict[str, Any] = {"closings": 1}
        conditions, removed = _Conditions(), ["acceptedKeyVersion"]
        if block.until is not None:
            values["pausedUntil"] = timestamp(block.until)
            conditions.add("(attribute_not_exists(pausedUntil) OR pausedUntil < :pausedUntil)")
        elif block.key_version is not None:
            added["refusedKeyVersions"] = {block.key_version}
        if confirmed is not None:
            conditions.add("suspicion = :suspicion", suspicion=_written(confirmed))
            removed.append("suspicion")
        return self._update(
            f"SET {', '.join(f'{name} = :{name}' for name in values)} REMOVE {', '.join(removed)} "
            f"ADD {', '.join(f'{name} :{name}' for name in added)}",
            values | added,
            conditions,
        )

    def suspect(self, suspicion: Suspicion, *, instead_of: Suspicion | None = None) -> None:
        """Record the first order that is refused. A later one replaces it only if the suspicion is over."""
        conditions = _Conditions()
        if instead_of is None:
            conditions.add("attribute_not_exists(suspicion)")
        else:
            conditions.add("suspicion = :over", over=_written(instead_of))
        self._update("SET suspicion = :suspicion", {"suspicion": _written(suspicion)}, conditions)

    def forget_pause(self, seen: Gate, lost: Mapping[int, Lease]) -> bool:
        """End a pause, as an operator asked, and return whether this was done. The key has to be accepted again.

        It is not done if calls have been blocked again since the record was read.

        Parameters
        ----------
        lost
            Leases of lost calls in the record that was read.
        """
        pause = [f"paused{what}" for what in ("Reason", "Message", "At", "KeyVersion", "Until")]
        conditions = _Conditions().not_blocked_since(seen).unchanged(lost)
        return self._update(
            f"REMOVE {', '.join([*pause, 'acceptedKeyVersion', 'suspicion', *_attributes(lost)])}", {}, conditions
        )

    def acquire(self, slot: Slot, seen: Gate) -> tuple[bool, Gate]:
        """Acquire a slot; return whether this was done, and the record as it was just before.

        It is done only if neither the slot nor its precondition differs from the record that the caller has seen, or
        assumes. For an accepted key, the precondition is the acceptance, which every block ends. For a caller that
        tries the key alone, it is the number of blocks and the leases of all slots.
        """
        lease = slot.lease
        if slot.alone:
            numbers = range(1, MAX_CONCURRENT_CALLS + 1)
            conditions = _Conditions().not_blocked_since(seen)
        else:
            numbers = range(slot.number, slot.number + 1)
            conditions = _Conditions().add("acceptedKeyVersion = :presented")
        conditions.unchanged({number: seen.leases.get(number) for number in numbers})
        done, item = self._write(
            f"SET lease{slot.number} = :until, holder{slot.number} = :holder, presentedKeyVersion = :presented",
            {"until": timestamp(lease.until), "holder": _holder(lease), "presented": lease.key_version},
            conditions,
            ReturnValues="ALL_OLD",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        return done, _gate(item)

    def release(self, slot: Slot, *, is_answered: bool) -> None:
        """Release a slot, unless its lease expired and another caller has it.

        Parameters
        ----------
        is_answered
            Whether the supplier has answered an order. This ends any suspicion, in the same write.
        """
        lease = {slot.number: slot.lease}
        ended = ["suspicion"] if is_answered else []
        self._update(f"REMOVE {', '.join([*_attributes(lease), *ended])}", {}, _Conditions().unchanged(lease))

    def accept(self, key_version: str | None, seen: Gate, lost: Mapping[int, Lease]) -> None:
        """Record that the supplier accepts this key, unless calls were blocked since the record was read.

        Parameters
        ----------
        lost
            Leases of earlier lost calls, whose answers no longer matter.
        """
        removed = f" REMOVE {', '.join(_attributes(lost))}" if lost else ""
        conditions = _Conditions().not_blocked_since(seen).unchanged(lost)
        self._update(f"SET acceptedKeyVersion = :version{removed}", {"version": key_version}, conditions)

    def _update(self, expression: str, values: Mapping[str, Any], conditions: "_Conditions") -> bool:
        """Update the record, and return whether the conditions were met."""
        return self._write(expression, values, conditions)[0]

    def _write(
        self, expression: str, values: Mapping[str, Any], conditions: "_Conditions", **returned: Any
    ) -> tuple[bool, Mapping[str, Any]]:
        """Update the record; return whether the conditions were met, and what DynamoDB returns of the record."""
        placeholders = {f":{name}": value for name, value in (*values.items(), *conditions.values.items())}
        options = {"ConditionExpression": conditions.expression, "ExpressionAttributeValues": placeholders}
        try:
            written = self._dynamodb.update_item(
                TableName=self._table_name,
                Key=_KEY,
                UpdateExpression=expression,
                **{name: option for name, option in options.items() if option},
                **returned,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            return False, _python_types(error.response.get("Item", {}))
        return True, written.get("Attributes", {})


class _Conditions:
    """Conditions of a write, with their values."""

    def __init__(self) -> None:
        self._terms: list[str] = []
        self.values: dict[str, Any] = {}

    @property
    def expression(self) -> str:
        return " AND ".join(self._terms)

    def add(self, term: str, **values: Any) -> Self:
        self._terms.append(term)
        self.values |= values
        return self

    def not_blocked_since(self, seen: Gate) -> Self:
        """Require that calls have not been blocked since the record was read."""
        if seen.closings == 0:
            return self.add("attribute_not_exists(closings)")
        return self.add("closings = :closings", closings=seen.closings)

    def unchanged(self, leases: Mapping[int, Lease | None]) -> Self:
        """Require that these slots have these leases; None means that the slot is free.

        The holder distinguishes leases that expire in the same millisecond. The time is compared too, because a
        function of an earlier release writes only the time and leaves the previous lease's holder.
        """
        for number, lease in leases.items():
            if lease is None:
                self.add(f"attribute_not_exists(lease{number})")
                continue
            self.add(f"lease{number} = :lease{number}", **{f"lease{number}": timestamp(lease.until)})
            if lease.owner is not None:
                self.add(f"holder{number} = :holder{number}", **{f"holder{number}": _holder(lease)})
        return self


def _python_types(item: Mapping[str, Any]) -> dict[str, Any]:
    """Translate an item as boto3's resource does with every answer except errors."""
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


def _gate(item: Mapping[str, Any]) -> Gate:
    return Gate(
        refusal=_block(item, "refused"),
        refused_versions=frozenset(item.get("refusedKeyVersions", ())),
        pause=_block(item, "paused"),
        accepted_version=item.get("acceptedKeyVersion"),
        leases={
            number: _lease(item, number) for number in range(1, MAX_CONCURRENT_CALLS + 1) if f"lease{number}" in item
        },
        closings=int(item.get("closings", 0)),
        presented_version=item.get("presentedKeyVersion"),
        suspicion=_suspicion(item),
    )


def _attributes(leases: Iterable[int]) -> list[str]:
    return [f"{name}{number}" for number in leases for name in ("lease", "holder")]


def _holder(lease: Lease) -> dict[str, Any]:
    return {"owner": lease.owner, "keyVersion": lease.key_version, "until": timestamp(lease.until)}


def _lease(item: Mapping[str, Any], number: int) -> Lease:
    until = item[f"lease{number}"]
    holder = item.get(f"holder{number}", {})
    if holder.get("until") != until:  # written by a function of an earlier release
        return Lease(datetime.fromisoformat(until))
    return Lease(datetime.fromisoformat(until), holder["owner"], holder["keyVersion"])


def _written(suspicion: Suspicion) -> dict[str, str]:
    return {"orderId": suspicion.order_id, "code": suspicion.code, "at": timestamp(suspicion.at)}


def _suspicion(item: Mapping[str, Any]) -> Suspicion | None:
    if "suspicion" not in item:
        return None
    written = item["suspicion"]
    return Suspicion(written["orderId"], written["code"], datetime.fromisoformat(written["at"]))


def _block(item: Mapping[str, Any], kind: str) -> Block | None:
    if f"{kind}At" not in item:
        return None
    until = item.get(f"{kind}Until")
    return Block(
        reason=FailureKind(item[f"{kind}Reason"]),
        message=item[f"{kind}Message"],
        at=datetime.fromisoformat(item[f"{kind}At"]),
        key_version=item[f"{kind}KeyVersion"],
        until=None if until is None else datetime.fromisoformat(until),
    )
