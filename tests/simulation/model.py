"""What can happen to the service, in any order, and what holds after each step: the promise of the README as code.

Hypothesis chooses the steps in the property test, and a random number generator in the soak test.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.orders import CLOSING_EVENTS
from giftcards_local import evidence
from giftcards_local.supplier import cards_of
from giftcards_local.supplier.book import OrderChange
from simulation.functions import Hook, Invocation, Killed, failing
from simulation.supplier_faults import SUPPLIER_FAULTS, WAITS
from simulation.world import API_KEY, World

USERS = ("alice", "bob")
NEW_KEY = "rotated-key-Vb6NqT3xZk9WmR2p"
TYPE_IDS = ("type_001", "TEST_PARTIAL", "TEST_REFUND")
SECONDS_TO_SETTLE = (100, 0, 8, 5_000)
SECONDS_TO_PASS = (1, 7, 60, 700, 5_000, 90_000)
TRANSIENT = tuple(
    (failure.name, failure.fault)
    for failure in SUPPLIER_FAULTS
    if failure.at_check == WAITS
    and failure.fault
    # not those with a real wait
    and not {"delaySeconds", "slowBody", "endlessBody"} & failure.fault.keys()
    # nor those about the key, which `revoke_key` causes
    and failure.fault.get("status") != 401
    and "ACCESS_TOKEN" not in failure.name
)
BREAKING = tuple(
    (failure.name, failure.fault)
    for failure in SUPPLIER_FAULTS
    if failure.expected_at_delivery == "SUPPLIER_CONTRACT_BROKEN"
)
AWS_CALLS = ("GetItem", "UpdateItem", "GetSecretValue", "GenerateDataKey", "TransactWriteItems", "PutEvents")
AWS_CODES = ("ThrottlingException", "InternalServerError", "AccessDeniedException")
CLOSING_TYPES = {event.detail_type for event in CLOSING_EVENTS.values()}
CHANGED_AFTER_CLOSING = {"announcedAt", "openStatus", "executionArn", "sweptAt"}


@dataclass
class Placed:
    """An order as its shop has it; ``owner`` is None until its first claim."""

    quantity: int
    owner: str | None = None
    placed: int = 0
    closed_row: dict[str, Any] | None = None


@dataclass
class Model:
    """A world, the steps that can happen in it, and the promise.

    Attributes
    ----------
    happened
        Number of steps of each kind.
    aborted
        Ids of orders with an aborted execution.
    """

    world: World
    seed: int = 0
    placed: dict[str, Placed] = field(default_factory=dict)
    happened: Counter[str] = field(default_factory=Counter)
    aborted: set[str] = field(default_factory=set)
    key: str = API_KEY

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        self.world.timeline.choose = chance.randrange
        self.world.functions.interleaves = True

    # steps

    def order(self, quantity: int, type_id: str, settles_after: float, user: str) -> None:
        """A shop buys and places an order."""
        order_id = self.world.buy(quantity, typeId=type_id, fulfilAfter=settles_after)
        self.placed[order_id] = Placed(quantity)
        self.happened["orders"] += 1
        self.place(order_id, user)

    def place(self, order_id: str, user: str) -> None:
        """A shop places an order, perhaps again or for another user."""
        placed = self.placed[order_id]
        placed.placed += 1
        if placed.placed > 1:
            self.happened["placed again" if user == placed.owner else "placed for another user"] += 1
        self.world.place(order_id, user)

    def settle(self, order_id: str) -> None:
        """The supplier settles an order."""
        order = self.world.supplier.book.order(order_id)
        assert order is not None
        self.world.supplier.book.change(order, OrderChange(fulfilAfter=0))

    def supplier_fault(self, which: int, times: int) -> None:
        """The supplier has a transient fault for some calls."""
        name, fault = TRANSIENT[which % len(TRANSIENT)]
        self.world.supplier.fault(**fault, times=times)
        self.happened[f"supplier: {name}"] += 1

    def broken_answer(self, which: int) -> None:
        """The supplier contradicts its documentation once."""
        name, fault = BREAKING[which % len(BREAKING)]
        self.world.supplier.fault(**fault, times=1)
        self.happened[f"supplier: {name}"] += 1

    def aws_fault(self, call: str, code: str, phase: str, times: int) -> None:
        """AWS fails some calls, before or after they are done."""
        self.world.functions.hooks.append(failing(call, code, phase=phase, times=times))
        self.happened[f"AWS: {call} fails"] += 1

    def bus_refuses(self, times: int) -> None:
        """EventBridge accepts some calls but not their events."""
        self.world.events_to_refuse = times
        self.happened["AWS: PutEvents rejects an entry"] += 1

    def kill(self, number: int, phase: str) -> None:
        """The next function with enough calls is killed at the call of this number."""
        self.world.functions.hooks.append(_kills_once(number, phase, self.happened))

    def abort(self, order_id: str) -> None:
        """An operator aborts an order's execution."""
        order = self.world.stored(order_id)
        if order is not None and order.execution_arn is not None:
            self.world.abort(order.execution_arn)
            self.aborted.add(order_id)
            self.happened["executions aborted"] += 1

    def revoke_key(self) -> None:
        """The supplier revokes the key."""
        self.world.supplier.book.keys.replace(["another key"])
        self.happened["keys revoked"] += 1

    def replace_key(self) -> None:
        """The supplier issues a new key, and an operator puts it into the secret."""
        self.key = NEW_KEY if self.key == API_KEY else API_KEY
        self.world.supplier.book.keys.replace([self.key])
        self.world.set_api_key(self.key)

    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.world.run(seconds)

    def sweep(self) -> None:
        """SweepOrders runs."""
        self.world.sweep()

    # the promise

    def check(self) -> None:
        """Check what holds at any time."""
        events, rows = self.world.events(), {row["pk"]: row for row in self.world.rows() if row["sk"] == "ORDER"}
        for order_id, placed in self.placed.items():
            row = rows.get(f"ORDER#{order_id}")
            if row is None:
                continue
            placed.owner = placed.owner or row["userId"]
            assert row["userId"] == placed.owner, f"{order_id} has another owner"
            kept = {name: value for name, value in row.items() if name not in CHANGED_AFTER_CLOSING}
            if placed.closed_row is not None:
                assert kept == placed.closed_row, f"{order_id} changed after it was closed"
            elif OrderStatus(row["status"]).is_final:
                placed.closed_row = kept
            self._check_events(order_id, placed, [e for e in events if e["detail"].get("orderId") == order_id])
        assert not self.world.supplier.book.keys.is_blocked(self.world.timeline.now), (
            "the supplier has blocked the address"
        )

    def _check_events(self, order_id: str, placed: Placed, events: list[dict[str, Any]]) -> None:
        closing = [event for event in events if event["detail-type"] in CLOSING_TYPES]
        assert len({repr(event["detail"]) for event in closing}) <= 1, f"{order_id} has two closing events"
        assert all(event["detail"]["userId"] == placed.owner for event in closing)
        delays = [event for event in events if event["detail-type"] == "OrderDelayed"]
        assert len(delays) <= 1 + self.happened["functions killed"] + self.happened["executions aborted"]

    def end(self) -> None:
        """End all faults, and check that every order is delivered once to its user, or refunded."""
        world = self.world
        world.functions.hooks.clear()
        world.events_to_refuse = 0
        world.supplier.recover()
        self.replace_key()
        for order_id in self.placed:
            self.settle(order_id)
        world.run(10_000)
        for _ in range(2):
            world.sweep()
            for letter in world.dead_letters():
                world.place(letter["detail"]["orderId"], letter["detail"]["userId"])
                self.happened["replayed"] += 1
            world.run(10_000)
            for order_id in self.placed:
                order = world.stored(order_id)
                if order is not None and order.status is OrderStatus.HELD:
                    # An execution that was aborted before it published the hold: OrdersHeldAlarm notifies.
                    is_published = "OrderHeld" in world.event_types(order_id) or order_id in self.aborted
                    assert is_published, f"no event says that {order_id} is held"
                    self.happened[f"held: {order.held_reason}"] += 1
                    world.place(order_id, order.user_id)
            world.run(10_000)
        assert world.timeline.is_quiet, "an execution does not end"
        self.check()
        for order_id, placed in self.placed.items():
            self._check_closed(order_id, placed)
        _, leaks = evidence.search(world.evidence(), [*world.secrets(), NEW_KEY], pieces=True)
        assert leaks == []

    def _check_closed(self, order_id: str, placed: Placed) -> None:
        order, at_supplier = self.world.stored(order_id), self.world.supplier.book.order(order_id)
        assert order is not None, f"{order_id} is lost"
        assert at_supplier is not None
        assert order.status == at_supplier.final_status, f"{order_id} is {order.status}, not {at_supplier.final_status}"
        assert order.announced_at is not None, f"no event about {order_id} was published"
        cards = cards_of(order_id, at_supplier.fulfilled_quantity)
        for user in USERS:
            expected = cards if user == placed.owner else []
            assert self.world.revealed(order_id, user) == expected, f"{user} gets wrong cards of {order_id}"
        self.happened[f"ended {order.status}"] += 1
        closing = [event_type for event_type in self.world.event_types(order_id) if event_type in CLOSING_TYPES]
        assert closing, f"{order_id} has no closing event"
        if len(closing) > 1:
            self.happened["closing events published again"] += 1


def _kills_once(number: int, phase: str, happened: Counter[str]) -> Hook:
    done = False

    def kill(invocation: Invocation, _operation: str, at: str) -> None:
        nonlocal done
        if not done and len(invocation.calls) == number and at == phase and invocation.function != "reveal_cards":
            done = True
            happened["functions killed"] += 1
            raise Killed

    return kill
