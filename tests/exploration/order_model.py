"""One order, and everything that may happen to it at once: the model whose states `test_orders.py` explores.

Real: the adapters, the use cases, `giftcards resume` and `restore`, and the workflow's definition. Made up: the
supplier, which is asked without a gate; the bus; Step Functions; and the encryption, which only binds cards to their
order, user, delivery and index, two in a row. There is one order, ``o``. An execution waits for an OrderPlaced event.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple
from zlib import crc32

from botocore.exceptions import ClientError

from exploration.explorer import START, Branch, Call, Model, Process, Runner, State, Step
from exploration.table import WRITES, Frozen, MemoryClient, MemoryTables, freeze, thaw
from exploration.workflow_runner import STATES, Execution
from giftcards.adapters.card_cipher import CardUnreadableError
from giftcards.adapters.event_bus import EventBus
from giftcards.adapters.order_table import OrderTable, card_keys
from giftcards.adapters.timestamps import timestamp
from giftcards.contracts.events import SOURCE, HeldReason
from giftcards.contracts.supplier import Card
from giftcards.contracts.workflow import StepRequest
from giftcards.rules.next_step import PollPolicy
from giftcards.rules.orders import Acceptance, Order, delivery_id_of, event_for
from giftcards.rules.schedule import PollSchedule
from giftcards.use_cases.check_status import StatusCheck
from giftcards.use_cases.deliver_cards import CardDelivery
from giftcards.use_cases.reveal_cards import CardReveal, RevealRequest
from giftcards.use_cases.sweep_orders import OrderSweep
from giftcards_cli.commands.restore import Restoration
from giftcards_cli.commands.resume import resume_order
from giftcards_cli.stack import CommandError

ROW = ("cards", "ORDER#o", "ORDER")
CARDS_PER_ROW = 2
PREVIOUS_CARD = {"pk": "ORDER#o", "userId": "alice"}
INDEXES = {"open-orders": ("openStatus", "claimedAt"), "orders-by-user": ("userId", "claimedAt")}
PATIENCE = PollPolicy(PollSchedule.parse("120:5,300:15,3600:60"), delayed_after_seconds=600)
CLOSED = {"FULFILLED", "PARTIALLY_FILLED", "REFUNDED"}
CLOSINGS = {"CardsDelivered", "CardsPartiallyDelivered", "OrderRefunded"}
CHANGES_AFTER_CLOSING = {"announcedAt", "openStatus", "executionArn", "sweptAt"}

# What the supplier answers; at a check, "late" and "overdue" are what "pending" is after 700 seconds and after a day.
ANSWERS: Mapping[str, Sequence[str]] = {
    "pending": (),
    "late": (),
    "overdue": (),
    "two": ("a", "b"),
    "two others": ("c", "d"),
    "three": ("a", "b", "c"),
    "one of two": ("a",),
    "refund": (),
}
PENDING = {"pending", "late", "overdue"}
STATUS = dict.fromkeys(PENDING, "HANDLING") | {"refund": "REFUNDED", "one of two": "PARTIALLY_FILLED"}
AGES = {"late": 700, "overdue": 86_400}


class World(NamedTuple):
    """What the services know.

    Attributes
    ----------
    answers
        What the supplier says: the first of them now, the others later, one after the other.
    placed
        By their users, OrderPlaced events that have not started an execution.
    parked
        The same, in the dead-letter queue.
    published
        Events of the service: detail-type and detail.
    may_redeliver
        Whether an order may be delivered again, at another time, because its rows are lost at some time.
    claimed_late
        Executions that own the order only because their claim or resume arrived after they had continued without it.
    """

    answers: tuple[str, ...]
    placed: tuple[str, ...] = ()
    may_lose_rows: bool = False
    parked: tuple[str, ...] = ()
    published: frozenset[tuple[str, str]] = frozenset()
    may_redeliver: bool = False
    claimed_late: frozenset[str] = frozenset()

    @property
    def closings(self) -> frozenset[tuple[str, str]]:
        """Events of the order's end; without their time where there may be two."""
        closings = frozenset(event for event in self.published if event[0] in CLOSINGS)
        if not self.may_redeliver:
            return closings
        return frozenset((kind, _as_text(json.loads(text) | {"occurredAt": ""})) for kind, text in closings)


# ------------------------------------------------------------- what is made up


class Seal:
    """Stands in for the cipher: binds the cards of a row to their order, user, delivery and index."""

    def encrypt(self, order: Order, cards: Sequence[Card]) -> dict[int, bytes]:
        values = [card.value.get_secret_value() for card in cards]
        firsts = range(1, len(values) + 1, CARDS_PER_ROW)
        return {first: self._sealed(order, first, values[first - 1 :][:CARDS_PER_ROW]) for first in firsts}

    def decrypt(self, order: Order, ciphertexts: Mapping[int, bytes]) -> dict[int, Card]:
        cards: dict[int, Card] = {}
        for first, ciphertext in ciphertexts.items():
            values = json.loads(ciphertext)[-1]
            if ciphertext != self._sealed(order, first, values):
                raise CardUnreadableError(f"the cards from {first} on are another's")
            cards |= enumerate((Card(value=value, serial="s") for value in values), start=first)
        return cards

    @staticmethod
    def _sealed(order: Order, first: int, values: Sequence[str]) -> bytes:
        is_earlier = order.card_rows is None and order.delivery_attempt is not None
        delivery = [order.delivery_attempt] if is_earlier else [str(order.delivered_at), order.fulfilled_quantity]
        return json.dumps([order.order_id, order.user_id, *delivery, first, list(values)]).encode()


@cache
def supplied(answer: str, view: type[Any]) -> Any:
    """Parse an answer of the supplier as the service does."""
    cards = ANSWERS[answer]
    order = {"_id": "o", "status": STATUS.get(answer, "FULFILLED"), "quantity": max(2, len(cards))}
    if answer not in PENDING:
        order |= {"fulfilled_quantity": len(cards), "fulfilled_amount": 0, "price_per_card": 0}
        order |= {"cards": [{"value": value, "serial": "s"} for value in cards]}
    return view.model_validate(order)


def bus_of(runner: Runner) -> EventBus:
    def put_events(Entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        runner.perform("bus", "publish", Entries[0])
        return {"FailedEntryCount": 0}

    return EventBus("orders", SimpleNamespace(put_events=put_events))


def orders_of(runner: Runner) -> OrderTable:
    return OrderTable("cards", runner.table, pause=lambda _seconds: None)


# --------------------------------------------------------------------- programs


def check(runner: Runner, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run CheckStatus."""
    request = StepRequest.model_validate(payload)
    answer = runner.perform("supplier", "ask", {})
    supplier = SimpleNamespace(ask=lambda _order_id, view: supplied(answer, view))
    now = START + timedelta(seconds=AGES.get(answer, 0))
    nothing_listed = SimpleNamespace(ask=lambda _order_id: None)
    check = StatusCheck(supplier, nothing_listed, PATIENCE, lambda: now, lambda *_: None)  # type: ignore[arg-type]
    result = check.check(request, now=now, jitter=0.5)
    return result.model_dump(mode="json", by_alias=True)


def deliver(runner: Runner, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run DeliverCards."""
    delivery = CardDelivery(
        supplier=SimpleNamespace(ask=lambda _id, view: supplied(runner.perform("supplier", "ask", {}), view)),
        cipher=Seal(),
        orders=orders_of(runner),
        bus=bus_of(runner),
        policy=PATIENCE,
        card_retention=None,
        measure=lambda *_: None,
    )
    result = delivery.deliver(StepRequest.model_validate(payload), now=_time_of(runner.token()), jitter=0.5)
    return result.model_dump(mode="json", by_alias=True)


def _time_of(token: str) -> datetime:
    """Give each delivery a millisecond that no other has, within a minute."""
    return START + timedelta(milliseconds=crc32(token.encode()) % 60_000)


PAYLOAD = {"orderId": "o", "userId": "alice", "claimedAt": START, "checks": 1, "failures": 0, "delayAnnounced": False}
FUNCTIONS = {"CheckStatus": check, "DeliverCards": deliver}


def execution(name: str, **options: Any) -> Process:
    """Return an execution that waits for an event. It times out after ``tasks`` Tasks."""
    return Process(name, Execution(name, FUNCTIONS), runs=options.pop("tasks", 9), **options)


def function_alone(name: str) -> Process:
    """Make a DeliverCards that runs on though its execution was aborted."""

    def run(runner: Runner, _carried: Any) -> str:
        try:
            return str(deliver(runner, PAYLOAD)["outcome"])
        except Exception as error:  # noqa: BLE001 - nobody hears what it raises
            return type(error).__name__

    return Process(name, run)


def previous_delivery(name: str) -> Process:
    """Make a DeliverCards of the previous release, which delivers two cards in two transactions."""

    def run(runner: Runner, _carried: Any) -> str:
        attempt = runner.token()
        order = Order.model_validate(claimed(None)).model_copy(update={"delivery_attempt": attempt})
        puts = [
            {"Put": {"TableName": "cards", "Item": PREVIOUS_CARD | {"sk": f"CARD#000{index}", "ciphertext": sealed}}}
            for index, value in enumerate(ANSWERS["two"], start=1)
            for sealed in [Seal._sealed(order, index, [value])]
        ]
        key = {"TableName": "cards", "Key": {"pk": "ORDER#o", "sk": "ORDER"}}
        names, values = {"#status": "status"}, {":handling": "HANDLING", ":userId": "alice", ":attempt": attempt}
        is_open = "#status = :handling AND userId = :userId"
        common = key | {"ExpressionAttributeNames": names, "ExpressionAttributeValues": values}
        begin = {"UpdateExpression": "SET deliveryAttempt = :attempt", "ConditionExpression": is_open}
        closed = {
            "status": "FULFILLED", "quantity": 2, "fulfilledQuantity": 2, "checks": 1,
            "deliveryId": delivery_id_of("o"), "deliveryAttempt": attempt, "deliveredAt": timestamp(_time_of(attempt)),
        }  # fmt: skip
        end = {
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :new_{name}" for name in closed),
            "ConditionExpression": f"{is_open} AND deliveryAttempt = :attempt",
            "ExpressionAttributeNames": {f"#{name}": name for name in closed},
            "ExpressionAttributeValues": values | {f":new_{name}": value for name, value in closed.items()},
        }
        try:
            runner.table.transact_write_items(TransactItems=[puts[0], {"Update": common | begin}])
            runner.table.transact_write_items(TransactItems=[puts[1], {"Update": key | end}])
        except ClientError as error:
            return type(error).__name__
        return "CLOSED"

    return Process(name, run)


def sweep(name: str = "sweep", *, once_in: timedelta = timedelta(0)) -> Process:
    """Make a sweep. That it sweeps an order once in an hour only spares work, so it is left out unless asked for."""

    def run(runner: Runner, _carried: Any) -> None:
        executions = SimpleNamespace(is_running=lambda arn: runner.perform("executions", "is_running", {"arn": arn}))
        with suppress(ClientError):
            OrderSweep(orders_of(runner), executions, bus_of(runner), once_in=once_in).sweep(now=START)

    return Process(name, run)


def accept_cards() -> Process:
    """Make a person who accepts the cards of a held order, as `giftcards resume --accept-cards` does."""

    def run(runner: Runner, _carried: Any) -> None:
        orders = orders_of(runner)
        with suppress(ClientError):
            order = orders.get("o")
            if order is not None and order.held_reason is HeldReason.SUPPLIER_CONTRACT_BROKEN:
                orders.accept_cards(order, Acceptance(by="olga", reason=f"for {order.user_id}", at=START, cards=2))

    return Process("accept", run)


def resume() -> Process:
    def run(runner: Runner, _carried: Any) -> None:
        with suppress(CommandError, ClientError):
            resume_order(orders_of(runner), bus_of(runner), "o")

    return Process("resume", run)


def restore(*order_id: str) -> Process:
    def run(runner: Runner, _carried: Any) -> None:
        restoration = Restoration(orders_of(runner), "cards", "copy", runner.table)
        with suppress(CommandError, ClientError):
            restoration.restore_cards(*order_id) if order_id else restoration.restore_missing()

    return Process("restore", run)


def reveal() -> Process:
    def run(runner: Runner, _carried: Any) -> tuple[str, tuple[str, ...]]:
        card_reveal = CardReveal(
            orders=orders_of(runner),
            cipher=Seal(),
            audit=SimpleNamespace(add=lambda _record: None),
            measure=lambda *_: None,
        )
        request = RevealRequest(order_id="o", user_id="alice")
        try:
            revealed = card_reveal.reveal(request, request_id="r", now=START)
        except ClientError:
            return "FAILED", ()
        return str(revealed.outcome), tuple(card.value.get_secret_value() for card in revealed.cards.values())

    return Process("reveal", run)


# ------------------------------------------------------------------ properties


@cache
def visible(row: Frozen | None, cards: frozenset[Frozen]) -> Any:
    """Give what a reader of a closed order sees: its attributes and its cards; None while it is not closed."""
    assert row is None or "status" in row, "a row was made that is no order's"
    if row is None or row["status"] not in CLOSED:
        return None
    order = Order.model_validate(row)
    stored = {card["sk"]: card["ciphertext"] for card in cards}
    keys = card_keys(order)
    assert {key["sk"] for key in keys.values()} <= stored.keys(), "the order is closed and a card row is missing"
    opened = Seal().decrypt(order, {first: stored[key["sk"]] for first, key in keys.items()})
    assert list(opened) == list(range(1, order.fulfilled_quantity + 1)), "the order is closed and a card is missing"
    values = tuple(card.value.get_secret_value() for card in opened.values())
    return frozenset((k, v) for k, v in row.items() if k not in CHANGES_AFTER_CLOSING), values


class GuardedTables(MemoryTables):
    """Looks at each write.

    An order stays with its user. What a reader of a closed order sees never changes, and once its event is published,
    nothing does. A held order is not closed before it is resumed. Cards are accepted only of an order that is held for
    a broken contract.
    """

    def _store(self, changed: Mapping[tuple[str, ...], Frozen | None]) -> None:
        before = self.rows
        super()._store(changed)
        old, new = before.get(ROW), self.rows.get(ROW)
        if old is not None and new is not None:
            assert old.get("userId") == new.get("userId"), "the order changed its user"
            assert "announcedAt" not in old or new == old, "the order has changed after its event was published"
            is_closed_unseen = old["status"] == "HELD" and new["status"] in CLOSED
            assert not is_closed_unseen, "a held order was closed, and nobody has resumed it"
            if "acceptCards" in new and new["acceptCards"] != old.get("acceptCards"):
                reason = old.get("heldReason")
                assert reason == "SUPPLIER_CONTRACT_BROKEN", f"cards were accepted of an order held for {reason}"
                assert new["acceptCards"]["reason"] == f"for {new['userId']}", "cards of another user were accepted"
        try:
            seen = visible_in(before)
            assert seen is None or seen == visible_in(self.rows), "a closed order has changed"
            visible_in(self.rows)
        except CardUnreadableError as error:
            raise AssertionError(f"the order is closed and cannot be read: {error}") from None


def visible_in(rows: Frozen) -> Any:
    cards = frozenset(row for key, row in rows.items() if key[0] == "cards" and key[2] != ROW[2])
    return visible(rows.get(ROW), cards)


class OrderModel(Model):
    """The order's world.

    Parameters
    ----------
    answers, placed
        See `World`.
    rows
        Of the tables at the beginning.
    may_lose_rows
        Whether someone may delete all rows of the order, once.
    replacement
        Rows of another user's order of the same id. They may replace those of the beginning as long as these are
        unchanged, as if those were lost and the order claimed again.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        answers: Sequence[str],
        placed: Sequence[str] = (),
        rows: Sequence[Mapping[str, Any]] = (),
        may_lose_rows: bool = False,
        replacement: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        has_copy = any(row["table"] == "copy" for row in rows)
        world = World(
            tuple(answers),
            tuple(placed),
            may_lose_rows,
            published=frozenset(_published(rows)),
            may_redeliver=may_lose_rows or has_copy or bool(replacement),
        )
        super().__init__(processes, world, GuardedTables(INDEXES))
        self._first_rows, self._replacement = _as_rows(rows), _as_rows(replacement)
        self.tables.rows = self._first_rows
        self._recovered: dict[Any, None] = {}

    def may_die(self, process: Process, call: Call) -> bool:
        del call
        return process.name not in {"sweep", "sweep 2", "resume", "reveal", "accept"}  # they leave nothing half done

    def may_fail(self, call: Call) -> bool:
        """Every call to the table and every event may fail; the reads of a reveal say nothing then."""
        return call.service == "table" or call.operation in {"publish", "send"}

    def serve(self, state: State, process: Process, call: Call) -> Iterable[Branch]:
        """Answer what is not a call to the table."""
        world: World = state.world
        match call.service, call.operation:
            case "supplier", _:
                yield f"the supplier says {world.answers[0]}", world, world.answers[0]
            case "bus", "take":
                if process is _first_that_waits(state):
                    for index, user in enumerate(world.placed):
                        left = world.placed[:index] + world.placed[index + 1 :]
                        yield f"OrderPlaced for {user}", world._replace(placed=left), user
            case "bus", _:
                yield f"publishes {call.arguments['DetailType']}", publish(state, call.arguments), freeze({})
            case "queue", _:
                parked = (*world.parked, call.arguments["userId"])
                yield "parks the event", world._replace(parked=parked), freeze({})
            case "engine", _:
                yield "retries", world, True
                yield "has used up its retries", world, False
            case "executions", _:
                yield "is asked for", world, any(step.process.name == call.arguments["arn"] for step in running(state))

    def events(self, state: State) -> Iterable[tuple[str, State]]:
        """The supplier changes its answer, or someone deletes the order's rows."""
        world: World = state.world
        if world.may_lose_rows:
            kept = Frozen({key: row for key, row in state.rows.items() if key[0] != "cards"})
            yield "the rows are lost", state._replace(rows=kept, world=world._replace(may_lose_rows=False))
        if self._replacement and state.rows == self._first_rows:
            yield "the rows are lost, and another user's order is there", state._replace(rows=self._replacement)
        if len(world.answers) > 1:
            yield "the supplier changes its answer", state._replace(world=world._replace(answers=world.answers[1:]))

    def check(self, state: State) -> None:
        """The promise, as far as one state shows it."""
        world: World = state.world
        row = state.rows.get(ROW)
        closings = world.closings
        assert len(closings) <= 1, "the order was closed in two ways"
        if row is not None:
            is_done = row["status"] in CLOSED and "announcedAt" in row
            assert ("openStatus" in row) == (not is_done), "the index of open orders is wrong"
            assert "announcedAt" not in row or closings, "the order is marked as published, and no event was published"
            self._check_ended(state, row)
        for step in state.steps:
            if step is not None and step.call is None and step.process.name == "reveal":
                self._check_revealed(state, *step.result)
        key = (state.rows, world)
        if key not in self._recovered:
            self._recovered[key] = None
            recover(self.tables, state)

    def written(self, before: State, rows: Frozen, step: Step, outcome: Any) -> World:
        """Check that a process that changes the order has it, or that no running process does."""
        old, new = before.rows.get(ROW), rows.get(ROW)
        is_written = step.call is not None and step.call.operation in WRITES and not isinstance(outcome, Exception)
        if is_written and old is not None:
            _check_owner(before, step, old, new)
            _check_sweep(step, old)
        if step.process.name == "restore" and rows != before.rows and old is not None:
            assert old["status"] in CLOSED, "cards were put back for an order that is open"
        world: World = before.world
        has_gone_on = all(step is not now for now in before.steps)
        if has_gone_on and _owner_in(rows) == step.process.name != _owner_in(before.rows):
            return world._replace(claimed_late=world.claimed_late | {step.process.name})
        return world

    def _check_ended(self, state: State, row: Frozen) -> None:
        """An execution that succeeds has closed its order, or the order is in progress elsewhere.

        If a late write made the execution the owner, the sweep releases the order: see `recover`.
        """
        for step in state.steps:
            if step is None or step.call is not None or not isinstance(step.process.program, Execution):
                continue
            name, _variables = step.result
            is_late = step.process.name in state.world.claimed_late
            if STATES[name]["Type"] == "Succeed" and row["status"] == "HANDLING" and not is_late:
                assert row.get("executionArn") != step.process.name, f"{step.process.name} leaves its order open"

    @staticmethod
    def _check_revealed(state: State, outcome: str, cards: tuple[str, ...]) -> None:
        assert outcome in {"REVEALED", "NOT_DELIVERED", "NOT_FOUND", "FAILED"}, f"a reveal says {outcome}"
        if outcome == "REVEALED":
            assert visible_in(state.rows)[1] == cards, "a reveal showed other cards"


def _owner_in(rows: Frozen) -> str | None:
    return rows.get(ROW, {}).get("executionArn")


def _check_owner(before: State, step: Step, old: Frozen, new: Frozen | None) -> None:
    assert step.call is not None
    name, values = step.process.name, step.call.arguments.get("ExpressionAttributeValues", {})
    owner = old.get("executionArn")
    if ":thisExecution" in values and ":userId" in values:
        assert values[":userId"] == old["userId"], f"{name} has taken the order of another user"
    is_owned = old["status"] == "HANDLING" and owner != name and owner in {s.process.name for s in running(before)}
    if is_owned and new is not None and new["status"] not in CLOSED:
        for attribute in ("status", "executionArn", "delayedAt"):
            assert old.get(attribute) == new.get(attribute), f"{name} changes {attribute} of the order that {owner} has"


def _check_sweep(step: Step, old: Frozen) -> None:
    update = str(step.call and step.call.arguments.get("UpdateExpression"))
    if "sweptAt" not in update:
        return
    is_open = old["status"] == "HANDLING"
    assert is_open == update.startswith("REMOVE executionArn"), f"an order is swept that is {old['status']}"
    assert "sweptAt" not in old or old["sweptAt"] <= step.call.arguments["ExpressionAttributeValues"][":since"], (
        "an order is swept twice within the hour"
    )


def _as_rows(rows: Iterable[Mapping[str, Any]]) -> Frozen:
    return Frozen({(row["table"], row["pk"], row["sk"]): _stored(row) for row in rows})


def _published(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the events of the orders that are published at the start."""
    for row in rows:
        if "announcedAt" in row:
            event = event_for(Order.model_validate(row))
            yield event.detail_type, _as_text(json.loads(event.model_dump_json(by_alias=True, exclude_none=True)))


def _as_text(detail: Any) -> str:
    return json.dumps(detail, sort_keys=True, default=str)


def _stored(row: Mapping[str, Any]) -> Frozen:
    return Frozen(freeze({name: value for name, value in row.items() if name != "table"}))


def claimed(execution_arn: str | None, **changes: Any) -> dict[str, Any]:
    """Make the row of an order that an execution has claimed; None makes that of a released one."""
    at = f"{START:%Y-%m-%dT%H:%M:%S.000Z}"
    row = {"table": "cards", "pk": "ORDER#o", "sk": "ORDER", "orderId": "o", "userId": "alice", "status": "HANDLING"}
    row |= {"openStatus": "HANDLING", "claimedAt": at}
    return row | ({} if execution_arn is None else {"executionArn": execution_arn}) | changes


def held(reason: HeldReason, **changes: Any) -> dict[str, Any]:
    """Make the row of a held order."""
    at = f"{START:%Y-%m-%dT%H:%M:%S.000Z}"
    why = {"heldReason": str(reason), "heldMessage": "why", "heldAt": at, "checks": 3}
    return claimed("gone", status="HELD", openStatus="HELD", **why) | changes


def delivered(table: str, token: str, cards: Sequence[str] = ("a", "b"), **changes: Any) -> list[dict[str, Any]]:
    """Make the rows of a delivered order in a table, by the code that delivers.

    `changes` are made to the row of the open order before.
    """
    tables = GuardedTables(INDEXES)
    row = claimed("gone", **changes)
    tables.rows = Frozen({ROW: _stored(row)})
    quiet = Quiet(tables, tables.rows, World(({2: "two", 3: "three"}[len(cards)],)))
    quiet.token = lambda: token  # type: ignore[method-assign]
    deliver(quiet, PAYLOAD | {"userId": row["userId"]})  # type: ignore[arg-type]
    return [{**thaw(row), "table": table} for key, row in quiet.rows.items() if key[0] == "cards"]


def unpublished(rows: Iterable[Mapping[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    """Make rows of a delivered order as they are before its event is published."""
    is_open = {"openStatus": "HANDLING"} | changes
    return [
        {name: value for name, value in row.items() if name != "announcedAt"} | is_open if row["sk"] == "ORDER" else row
        for row in map(dict, rows)
    ]


def running(state: State) -> Iterator[Any]:
    return (step for step in state.steps if step is not None and step.call is not None)


def _first_that_waits(state: State) -> Process:
    return next(step.process for step in running(state) if step.call.operation == "take")


def publish(state: State, entry: Mapping[str, Any]) -> World:
    """Put an event on the bus: OrderPlaced starts an execution, what the service says is kept."""
    world: World = state.world
    detail = entry["Detail"]
    detail = json.loads(detail) if isinstance(detail, str) else thaw(detail)
    if entry["Source"] != SOURCE:
        return world._replace(placed=tuple(sorted((*world.placed, detail["userId"]))))
    if entry["DetailType"] == "OrderHeld":
        assert entry.get("State") == "PublishHold"
        row = state.rows.get(ROW)
        assert row is not None, "OrderHeld for an order without a row"
        assert "checks" in row, "OrderHeld for an order that was never held"
    event = (entry["DetailType"], _as_text(detail))
    return world._replace(published=world.published | {event})


# -------------------------------------------------------------------- recovery


class Quiet:
    """Runs programs one after the other, with no fault and nobody beside them."""

    def __init__(self, tables: MemoryTables, rows: Frozen, world: World) -> None:
        self._tables, self._tokens = tables, 0
        self.rows, self.world = rows, world
        self.table = MemoryClient(lambda operation, arguments: self.perform("table", operation, arguments))

    def perform(self, service: str, operation: str, arguments: Mapping[str, Any]) -> Any:
        match service, operation:
            case "table", _:
                self._tables.rows = self.rows
                try:
                    return self._tables.execute(operation, arguments)
                finally:
                    self.rows = self._tables.rows
            case "supplier", _:
                return self.world.answers[-1]
            case "bus", "take":
                user, *left = self.world.placed
                self.world = self.world._replace(placed=tuple(left))
                return user
            case "bus", _:
                state = SimpleNamespace(rows=self.rows, world=self.world)
                self.world = publish(state, arguments)  # type: ignore[arg-type]
                return {}
            case "engine" | "executions", _:
                return False
        raise AssertionError(f"{service} {operation}: nothing fails here")

    def token(self) -> str:
        self._tokens += 1
        return f"quiet.{self._tokens}"

    def run(self, process: Process) -> None:
        carried: Any = None
        for _ in range(process.runs):
            carried = process.program(self, carried)  # type: ignore[arg-type]

    def run_all_that_is_placed(self) -> None:
        while self.world.placed:
            self.run(execution(f"quiet-{len(self.world.placed)}", tasks=12))


def recover(tables: MemoryTables, state: State) -> None:
    """Check that the order ends well from here, though everything that runs now stops at once.

    What is placed starts, what is parked is replayed, and the sweep runs; a held order is resumed. An order that has
    left nothing behind is one that the reconciliation finds and that is placed again.
    """
    quiet = Quiet(tables, state.rows, state.world)
    quiet.run_all_that_is_placed()
    quiet.world = quiet.world._replace(placed=quiet.world.parked, parked=())
    quiet.run_all_that_is_placed()
    if ROW not in quiet.rows:
        quiet.world = quiet.world._replace(placed=("alice",))
        quiet.run_all_that_is_placed()
    for process in (sweep(), resume()):
        quiet.run(process)
        quiet.run_all_that_is_placed()
    row = quiet.rows.get(ROW)
    assert row is not None, "the order is lost"
    assert row["status"] in CLOSED, f"the order ends as {row['status']}"
    assert "announcedAt" in row, "the order ends without its event"
    closings = quiet.world.closings
    assert len(closings) == 1, f"the order's end was published as {closings}"
