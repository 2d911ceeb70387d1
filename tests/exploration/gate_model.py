"""The supplier gate as an exploration sees it: the real `GatedSupplier` and `GateTable`, a secret, a supplier, time.

Each caller is a container that asks for an order. In addition to what the explorer does to any process, the supplier
revokes keys and limits the rate, an operator puts another key into the secret, and time jumps to the next time in the
record.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from pydantic import SecretStr

from exploration.explorer import START, Branch, Call, Model, Process, Runner, State, Step
from exploration.table import Frozen, MemoryClient, MemoryTables
from giftcards.adapters.api_key import CACHE_SECONDS, ApiKey
from giftcards.adapters.gate_table import GateTable
from giftcards.adapters.oneclickdz.supplier import TOTAL_TIMEOUT_SECONDS
from giftcards.contracts.supplier import OrderProgress
from giftcards.rules.gate import (
    BLOCK_SECONDS,
    LEASE_SECONDS,
    MAX_CONCURRENT_CALLS,
    MAX_SUSPICION_SECONDS,
    START_SECONDS,
    SlotWait,
)
from giftcards.rules.supplier_failure import FailureKind, SupplierFailure
from giftcards.use_cases.gated_supplier import GatedSupplier
from support.gate import NO_SLOT_WAIT

GATE = ("gate", "SUPPLIER#oneclickdz", "GATE")
FORBIDDEN = 403
GOOD = "good"
RETRY_AFTER_SECONDS = 30.0
_ANSWERS: Mapping[str, Any] = {
    GOOD: OrderProgress.model_validate({"_id": "order", "status": "HANDLING", "quantity": 1}),
    "401": SupplierFailure(FailureKind.KEY_REFUSED, "401"),
    "429": SupplierFailure(FailureKind.RATE_LIMITED, "429", RETRY_AFTER_SECONDS),
    "busy": SupplierFailure(FailureKind.BUSY, "503"),
    "blocked": SupplierFailure(FailureKind.ADDRESS_BLOCKED, "403", None, "IP_BLOCKED", FORBIDDEN),
    "403": SupplierFailure(FailureKind.ORDER_REFUSED, "403", None, "FORBIDDEN", FORBIDDEN),
}


class Granted(NamedTuple):
    """A lease that the gate has given while the record did not accept its key."""

    caller: str
    version: str
    until: float


class UnderWay(NamedTuple):
    """A call at the supplier, and what it will answer."""

    caller: str
    began: float
    answer: str


class World(NamedTuple):
    """Everything outside the gate's record.

    Attributes
    ----------
    secret
        Version of the key in the secret.
    rotated
        When it was put there.
    accepted
        Versions that the supplier accepts.
    next_versions
        What a person will put into the secret, one after the other.
    may_be_revoked
        Versions that the supplier may revoke at any moment.
    under_way, granted
        Calls at the supplier; leases for keys that were not accepted.
    refusals
        When a key was presented that the supplier refused, within the last 15 minutes.
    answered
        Callers that have heard the answer to an order, and have not released their slot yet; only in scenarios with
        orders that the supplier refuses.
    limits, blocks, failures, jumps
        How many more answers are 429, block the address, are 503; how often time may jump.
    """

    secret: str
    accepted: frozenset[str]
    next_versions: tuple[str, ...] = ()
    may_be_revoked: frozenset[str] = frozenset()
    rotated: float = -BLOCK_SECONDS
    under_way: tuple[UnderWay, ...] = ()
    granted: tuple[Granted, ...] = ()
    refusals: tuple[tuple[str, float], ...] = ()
    answered: frozenset[str] = frozenset()
    limits: int = 0
    blocks: int = 0
    failures: int = 0
    jumps: int = 0


@dataclass
class _Secret:
    """The secret as a container sees it, with its copy of the key."""

    runner: Runner
    copy: str | None
    rotates: bool

    def read(self, *, fresh: bool = False) -> ApiKey:
        if not self.rotates and self.copy is not None:  # a step less to explore
            return ApiKey(SecretStr(self.copy), self.copy)
        version: str = self.runner.perform("secret", "fresh" if fresh else "read", {"copy": self.copy})
        self.copy = version
        return ApiKey(SecretStr(version), version)


@dataclass
class _Supplier:
    runner: Runner

    def check_order(self, order_id: str, api_key: SecretStr, _view: type[Any]) -> Any:
        version = api_key.get_secret_value()
        self.runner.perform("supplier", "begin", {"version": version, "order": order_id})
        return _ANSWERS[self.runner.perform("supplier", "end", {"version": version})]


Carried = tuple[str | None, str | None, str, bool]
"""What a container keeps: its copy of the key, what it has compared it with, its order, and whether keys rotate."""


class _FormerGateTable(GateTable):
    """The table as a function of the previous release uses it: it identifies a lease by its time only."""

    def _write(self, expression: str, values: Mapping[str, Any], conditions: Any, **returned: Any) -> Any:
        conditions._terms = [term for term in conditions._terms if not term.startswith("holder")]
        conditions.values = {name: value for name, value in conditions.values.items() if not name.startswith("holder")}
        expression = re.sub(r", holder\d( = :holder)?", "", expression)
        values = {name: value for name, value in values.items() if name != "holder"}
        return super()._write(expression, values, conditions, **returned)


def asks(
    runner: Runner, carried: Carried, table: type[GateTable] = GateTable, slot_wait: SlotWait = NO_SLOT_WAIT
) -> Carried:
    """Ask for an order once, in a container that has a copy of the key already."""
    copy, compared, order_id, rotates = carried
    secret = _Secret(runner, copy, rotates)
    gated = GatedSupplier(
        _Supplier(runner),  # type: ignore[arg-type]
        secret,  # type: ignore[arg-type]
        table(GATE[0], runner.table),  # type: ignore[arg-type]
        runner.now,
        lambda *_: None,
        lambda _: None,
        lambda: 0.5,
        slot_wait,
        runner.token,
    )
    gated._compared = compared
    with suppress(ClientError):  # the function fails, and the container continues with the next order
        gated.ask(order_id, OrderProgress)
    return (secret.copy, gated._compared, order_id, rotates)


def asks_and_waits(runner: Runner, carried: Carried) -> Carried:
    """Ask for an order once, and look for a slot once more if all are in use."""
    return asks(runner, carried, slot_wait=SlotWait(1, 1))


def callers(
    *copies: str, runs: int = 1, orders: str = "AAAAA", rotates: bool = False, waits: bool = False
) -> list[Process]:
    """Make containers with these copies of the key and these orders."""
    return [
        Process(str(number), asks_and_waits if waits else asks, runs, (copy, None, order, rotates))
        for number, (copy, order) in enumerate(zip(copies, orders, strict=False))
    ]


FORMER = "former"
PERSON = "person"


def former_caller(copy: str) -> Process:
    """Return a container of the previous release."""

    def run(runner: Runner, carried: Carried) -> Carried:
        return asks(runner, carried, _FormerGateTable)

    return Process(FORMER, run, 1, (copy, None, "A", False))


def person() -> Process:
    """Make a person who ends a pause, as `giftcards gate --open` does."""

    def run(runner: Runner, carried: Any) -> Any:
        gate = GateTable(GATE[0], runner.table)  # type: ignore[arg-type]
        seen, now = gate.read(), runner.now()
        block = seen.block(now, "v1")
        if block is not None and block.is_pause:
            gate.forget_pause(seen, seen.lost(now, "v1"))
        return carried

    return Process(PERSON, run)


class _Tables(MemoryTables):
    """Tables of which a test can change an update, too."""

    rewrite_update: Callable[[str], str] = staticmethod(str)

    def _update_item(self, **options: Any) -> dict[str, Any]:
        return super()._update_item(**options | {"UpdateExpression": self.rewrite_update(options["UpdateExpression"])})


class GateModel(Model):
    """The gate, and what must hold of it.

    Parameters
    ----------
    bound
        How often a key that is not good may be presented within 15 minutes.
    bad_orders
        Orders that the supplier refuses.
    """

    def __init__(
        self,
        processes: list[Process],
        world: World,
        *,
        bound: int = MAX_CONCURRENT_CALLS,
        bad_orders: str = "",
        record: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(processes, world, _Tables())
        self.bound, self.bad_orders = bound, bad_orders
        self.are_alike = len({(process.program, process.carried) for process in processes}) == 1
        self.most_refusals = self.most_under_way = 0
        if record is not None:
            item = {"pk": GATE[1], "sk": GATE[2], **record}
            self.tables.execute("put_item", {"TableName": GATE[0], "Item": item})

    def may_die(self, process: Process, call: Call) -> bool:  # noqa: ARG002
        """Let it die once it may have a lease: who dies before is as good as not there."""
        return not _is_before_lease(call)

    def may_fail(self, call: Call) -> bool:
        """Let writes fail; a caller whose read fails is as good as not there."""
        return call.operation == "update_item"

    # ------------------------------------------------------------ services

    def serve(self, state: State, process: Process, call: Call) -> Iterable[Branch]:
        """Answer for the secret and the supplier."""
        match call.service, call.operation:
            case "secret", operation:
                yield from self._secret(state, operation, call.arguments["copy"])
            case _, "begin":
                yield from self._begin(state, process, call.arguments["version"], call.arguments["order"])
            case _:
                yield from self._end(state, process)

    def _secret(self, state: State, operation: str, copy: str | None) -> Iterable[Branch]:
        world: World = state.world
        yield f"reads key {world.secret}", world, world.secret
        is_kept = copy not in {None, world.secret} and state.now < world.rotated + CACHE_SECONDS
        if operation == "read" and is_kept:
            yield f"keeps key {copy}", world, copy

    def _begin(self, state: State, process: Process, version: str, order: str) -> Iterable[Branch]:
        world: World = state.world
        assert len(world.under_way) < MAX_CONCURRENT_CALLS, "more calls are under way than there are slots"
        self.most_under_way = max(self.most_under_way, len(world.under_way) + 1)

        def under_way(answer: str, **changes: Any) -> Branch:
            begun = (*world.under_way, UnderWay(process.name, state.now, answer))
            return f"presents {version}: {answer}", world._replace(under_way=begun, **changes), None

        if version not in world.accepted:
            refusals = (*world.refusals, (version, state.now))
            count = sum(refused == version for refused, _ in refusals)
            self.most_refusals = max(self.most_refusals, count)
            assert count <= self.bound, f"{version} is presented {count} times within 15 minutes"
            yield under_way("401", refusals=refusals)
            return
        yield under_way("403" if order in self.bad_orders else GOOD)
        if world.blocks:
            yield under_way("blocked", blocks=world.blocks - 1)
        if world.limits:
            yield under_way("429", limits=world.limits - 1)
        if world.failures:
            yield under_way("busy", failures=world.failures - 1)

    def _end(self, state: State, process: Process) -> Iterable[Branch]:
        world: World = state.world
        (mine,) = (call for call in world.under_way if call.caller == process.name)
        under_way = tuple(call for call in world.under_way if call is not mine)
        granted = tuple(grant for grant in world.granted if grant.caller != process.name)
        answered = world.answered | {process.name} if self.bad_orders and mine.answer == GOOD else world.answered
        changes = {"under_way": under_way, "granted": granted, "answered": answered}
        yield f"hears {mine.answer}", world._replace(**changes), mine.answer

    # -------------------------------------------------------------- events

    def events(self, state: State) -> Iterable[tuple[str, State]]:
        """Let the supplier revoke keys, a person rotate them, and time pass."""
        world: World = state.world
        for version in sorted(world.may_be_revoked):
            revoked = world._replace(
                accepted=world.accepted - {version}, may_be_revoked=world.may_be_revoked - {version}
            )
            yield f"{version} is revoked", state._replace(world=revoked)
        if world.next_versions:
            first, *rest = world.next_versions
            rotated = world._replace(secret=first, next_versions=tuple(rest), rotated=state.now)
            yield f"{first} is put into the secret", state._replace(world=rotated)
        if world.jumps:
            yield from self._jumps(state)

    def _jumps(self, state: State) -> Iterable[tuple[str, State]]:
        world: World = state.world
        alive = {step.process.name for step in state.steps if step is not None}
        ends = [call.began + TOTAL_TIMEOUT_SECONDS for call in world.under_way if call.caller in alive]
        if any(step and step.call and step.call.operation == "begin" for step in state.steps):
            return  # a caller looks at the clock and calls, at one moment
        latest = min(ends, default=float("inf"))
        for instant in sorted(_instants(state)):
            if state.now < instant <= latest:
                yield f"it is {instant:g} s", state._replace(now=instant, world=_later(world, instant))

    # ---------------------------------------------------------- properties

    def written(self, before: State, rows: Frozen, step: Step, outcome: Any) -> World:
        """Check what a write to the record does, and note what it grants."""
        world: World = before.world
        call = step.call
        if call is None or call.operation != "update_item" or isinstance(outcome, Exception):
            return world
        old, new = before.rows.get(GATE, Frozen()), rows[GATE]
        for number in range(1, MAX_CONCURRENT_CALLS + 1):
            _check_owner(before.now, step.process.name, old, new, number)
        values = call.arguments.get("ExpressionAttributeValues", {})
        kind = kind_of_write(call.arguments["UpdateExpression"])
        if kind in _CHECKS:
            _CHECKS[kind](before.now, old, new, values)
        if kind == "release" and step.process.name in world.answered:
            assert "suspicion" not in new, "a suspicion has outlived the answer to an order"
            world = world._replace(answered=world.answered - {step.process.name})
        if kind != "acquire":
            # A caller that does not know whether it has acquired a slot releases it, and does not call.
            kept = tuple(grant for grant in world.granted if _has_slot(new, grant.caller))
            return world._replace(granted=kept)
        version, until = values[":presented"], _seconds(values[":until"])
        assert version not in old.get("refusedKeyVersions", ()), f"a lease for {version}, which was refused"
        # A caller's clock is read before its write, so a pause that was over then is over now.
        assert "pausedUntil" not in old or _seconds(old["pausedUntil"]) <= before.now, "a lease during a pause"
        if old.get("acceptedKeyVersion") == version or until <= before.now:
            return world
        others = [grant for grant in world.granted if grant.version == version and grant.until > before.now]
        assert not others, f"two at once try {version}, which is not accepted"
        return world._replace(granted=(*world.granted, Granted(step.process.name, version, until)))

    def check_end(self, state: State) -> None:
        """Once the failures are over, the supplier can be called again, by as many as before."""
        assert self._recovers(state.rows.get(GATE, Frozen()), state.world.secret, state.now)

    @cache  # noqa: B019 - lives as long as the test
    def _recovers(self, record: Frozen, secret: str, now: float) -> bool:
        """Run one caller after another with a good key, as an order that waits does."""
        refused = record.get("refusedKeyVersions", frozenset())
        version = "a good key" if secret in refused else secret
        tables = MemoryTables()
        tables.rows = Frozen({GATE: record}) if record else Frozen()
        deadline = now + BLOCK_SECONDS + 2 * LEASE_SECONDS
        while now <= deadline:
            answer = _ask_now(tables, version, now)
            if not isinstance(answer, SupplierFailure):
                gate = GateTable(GATE[0], MemoryClient(tables.execute)).read()
                return gate.slots(_at(now), version) == MAX_CONCURRENT_CALLS
            if answer.retry_after_seconds:
                now += answer.retry_after_seconds
            else:
                leases = (_seconds(end) for name, end in tables.rows[GATE].items() if name.startswith("lease"))
                now = min((end for end in leases if end > now), default=deadline + 1)
        return False


def kind_of_write(update: str | None) -> str:
    """Name a write of `GateTable` by its update."""
    starts = {
        "SET lease": "acquire",
        "SET accepted": "accept",
        "REMOVE lease": "release",
        "SET suspicion": "suspect",
        "REMOVE paused": "forget",
    }
    return next((name for start, name in starts.items() if (update or "").startswith(start)), "block")


def _check_owner(now: float, caller: str, old: Frozen, new: Frozen, number: int) -> None:
    lease, holder = old.get(f"lease{number}"), old.get(f"holder{number}")
    if lease is None or (new.get(f"lease{number}"), new.get(f"holder{number}")) == (lease, holder):
        return
    is_former = holder is None or holder["until"] != lease
    owner = FORMER if is_former else holder["owner"].partition(".")[0]
    assert owner == caller or _seconds(lease) <= now, f"{caller} frees slot {number} of {owner}"


def _check_acceptance(now: float, old: Frozen, new: Frozen, values: Mapping[str, Any]) -> None:
    assert old.get("closings", 0) == values.get(":closings", 0), "a key counts as accepted by an answer before a block"


def _check_block(now: float, old: Frozen, new: Frozen, values: Mapping[str, Any]) -> None:
    if ":pausedUntil" in values and "pausedUntil" in old:
        assert old["pausedUntil"] <= new["pausedUntil"], "a pause was shortened"
    if ":suspicion" in values:
        assert old.get("suspicion") == values[":suspicion"], "calls are blocked for refusals, and an order was answered"
        assert "suspicion" not in new, "an order is blamed for a refusal before the block"


def _check_suspicion(now: float, old: Frozen, new: Frozen, values: Mapping[str, Any]) -> None:
    if "suspicion" in old:
        assert _seconds(old["suspicion"]["at"]) + MAX_SUSPICION_SECONDS < now, "a suspicion was replaced"


def _check_forgotten(now: float, old: Frozen, new: Frozen, values: Mapping[str, Any]) -> None:
    assert old.get("closings", 0) == values.get(":closings", 0), "a person ended a block without having seen it"


_CHECKS: Mapping[str, Callable[[float, Frozen, Frozen, Mapping[str, Any]], None]] = {
    "accept": _check_acceptance,
    "block": _check_block,
    "suspect": _check_suspicion,
    "forget": _check_forgotten,
}


def _has_slot(record: Frozen, caller: str) -> bool:
    holders = (record.get(f"holder{number}") for number in range(1, MAX_CONCURRENT_CALLS + 1))
    return any(holder and holder["owner"].startswith(f"{caller}.") for holder in holders)


def _is_acquisition(call: Call) -> bool:
    return kind_of_write(call.arguments.get("UpdateExpression", "")) == "acquire"


def _leases_to_be_written(state: State) -> Iterable[Mapping[str, Any]]:
    calls = (step.call for step in state.steps if step is not None and step.call is not None)
    return [call.arguments["ExpressionAttributeValues"] for call in calls if _is_acquisition(call)]


def _is_before_lease(call: Call) -> bool:
    return call.service == "secret" or call.operation == "get_item" or _is_acquisition(call)


def _ask_now(tables: MemoryTables, version: str, now: float) -> Any:
    class Key:
        def read(self, **_: Any) -> ApiKey:
            return ApiKey(SecretStr(version), version)

    class Answering:
        def check_order(self, *_: Any) -> Any:
            return _ANSWERS[GOOD]

    gate = GateTable(GATE[0], MemoryClient(tables.execute))  # type: ignore[arg-type]
    gated = GatedSupplier(
        Answering(),  # type: ignore[arg-type]
        Key(),  # type: ignore[arg-type]
        gate,
        lambda: _at(now),
        lambda *_: None,
        lambda _: None,
        lambda: 0.5,
        NO_SLOT_WAIT,
    )
    return gated.ask("order", OrderProgress)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START.timestamp() + seconds, tz=START.tzinfo)


def _seconds(written: str) -> float:
    return (datetime.fromisoformat(written) - START).total_seconds()


def _instants(state: State) -> set[float]:
    """What the record waits for: leases end, calls may no longer begin, pauses end."""
    record = state.rows.get(GATE, Frozen())
    leases = [_seconds(record[name]) for name in ("lease1", "lease2", "lease3") if name in record]
    untils = [_seconds(values[":until"]) for values in _leases_to_be_written(state)]
    instants = {*leases, *untils, *(until - LEASE_SECONDS + START_SECONDS for until in untils)}
    if len(leases) == MAX_CONCURRENT_CALLS:
        instants.add(max(leases) + BLOCK_SECONDS)
    if "pausedUntil" in record:
        instants.add(_seconds(record["pausedUntil"]))
    return instants


def _later(world: World, now: float) -> World:
    """Forget what no longer matters at this time."""
    return world._replace(
        jumps=world.jumps - 1,
        under_way=tuple(call for call in world.under_way if call.began + TOTAL_TIMEOUT_SECONDS > now),
        granted=tuple(grant for grant in world.granted if grant.until > now),
        refusals=tuple(refusal for refusal in world.refusals if refusal[1] + BLOCK_SECONDS > now),
    )
