"""What may happen to the service in any order, and what has to hold all the while: the promise, as code.

The property test lets Hypothesis choose what happens, the soak run a random number generator.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from giftcards.contracts.statuses import OrderStatus
from giftcards_local import evidence
from giftcards_local.supplier import cards_of
from giftcards_local.supplier.book import OrderChange
from simulation.supplier_faults import SUPPLIER_FAULTS, WAITS
from simulation.world import API_KEY, Hook, Invocation, Killed, World, failing

USERS = ("alice", "bob")
NEW_KEY = "rotated-key-Vb6NqT3xZk9WmR2p"
ENDS = ("type_001", "TEST_PARTIAL", "TEST_REFUND")
SECONDS_TO_SETTLE = (100, 0, 8, 5_000)
SECONDS_TO_PASS = (1, 7, 60, 700, 5_000, 90_000)
TRANSIENT = tuple(
    (failure.name, failure.fault)
    for failure in SUPPLIER_FAULTS
    if failure.at_check == WAITS
    and failure.fault
    # not those that a test waits for in real time
    and not {"delaySeconds", "slowBody", "endlessBody"} & failure.fault.keys()
    # nor those about the key, which come about by taking it away
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
CLOSINGS = {"CardsDelivered", "CardsPartiallyDelivered", "OrderRefunded"}
CHANGES_AFTER_CLOSING = {"announcedAt", "openStatus", "executionArn", "sweptAt"}


@dataclass
class Placed:
    """An order as its shop knows it."""

    quantity: int
    owner: str | None = None
    announced: int = 0
    closed_row: dict[str, Any] | None = None


@dataclass
class Model:
    """A service to which things happen.

    Attributes
    ----------
    world
        Where.
    placed
        Every order at the supplier.
    happened
        How often what happened.
    aborted
        Orders of which an execution was aborted.
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
        self.world.interleaves = True

    # what can happen

    def place(self, quantity: int, ends: str, settles_after: float, user: str) -> None:
        """A shop places an order and announces it."""
        order_id = self.world.place(quantity, typeId=ends, fulfilAfter=settles_after)
        self.placed[order_id] = Placed(quantity)
        self.happened["orders"] += 1
        self.announce(order_id, user)

    def announce(self, order_id: str, user: str) -> None:
        """An order is announced, for whomever."""
        placed = self.placed[order_id]
        placed.announced += 1
        if placed.announced > 1:
            self.happened["announced again" if user == placed.owner else "announced for another user"] += 1
        self.world.announce(order_id, user)

    def settle(self, order_id: str) -> None:
        """The supplier is done with an order."""
        order = self.world.book.order(order_id)
        assert order is not None
        self.world.book.change(order, OrderChange(fulfilAfter=0))

    def trouble_at_supplier(self, which: int, times: int) -> None:
        """The supplier is in some transient trouble for a while."""
        name, fault = TRANSIENT[which % len(TRANSIENT)]
        self.world.fault(**fault, times=times)
        self.happened[f"supplier: {name}"] += 1

    def broken_answer(self, which: int) -> None:
        """The supplier breaks its documents once."""
        name, fault = BREAKING[which % len(BREAKING)]
        self.world.fault(**fault, times=1)
        self.happened[f"supplier: {name}"] += 1

    def trouble_in_cloud(self, call: str, code: str, phase: str, times: int) -> None:
        """AWS fails some calls, carried out or not."""
        self.world.hooks.append(failing(call, code, phase=phase, times=times))
        self.happened[f"AWS: {call} fails"] += 1

    def bus_refuses(self, times: int) -> None:
        """EventBridge takes some calls but not their events."""
        self.world.refuse_events(times)
        self.happened["AWS: PutEvents takes no entry"] += 1

    def kill(self, number: int, phase: str) -> None:
        """The next function that gets there is killed at its call of this number."""
        self.world.hooks.append(_kills_once(number, phase, self.happened))

    def abort(self, order_id: str) -> None:
        """Somebody aborts an order's execution."""
        order = self.world.known(order_id)
        if order is not None and order.execution_arn is not None:
            self.world.abort(order.execution_arn)
            self.aborted.add(order_id)
            self.happened["executions aborted"] += 1

    def revoke_key(self) -> None:
        """The supplier takes the key away."""
        self.world.book.keys.replace(["another key"])
        self.happened["keys revoked"] += 1

    def give_key(self) -> None:
        """The supplier gives a new key, and somebody puts it into the secret."""
        self.key = NEW_KEY if self.key == API_KEY else API_KEY
        self.world.book.keys.replace([self.key])
        self.world.set_api_key(self.key)

    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.world.run(seconds)

    def sweep(self) -> None:
        """The sweeper has its turn."""
        self.world.sweep()

    # what has to hold

    def check(self) -> None:
        """Check the promise as it stands now."""
        events, rows = self.world.heard(), {row["pk"]: row for row in self.world.rows() if row["sk"] == "ORDER"}
        for order_id, placed in self.placed.items():
            row = rows.get(f"ORDER#{order_id}")
            if row is None:
                continue
            placed.owner = placed.owner or row["userId"]
            assert row["userId"] == placed.owner, f"{order_id} has gone to another user"
            kept = {name: value for name, value in row.items() if name not in CHANGES_AFTER_CLOSING}
            if placed.closed_row is not None:
                assert kept == placed.closed_row, f"{order_id} has changed after it was closed"
            elif OrderStatus(row["status"]).is_final:
                placed.closed_row = kept
            self._check_events(order_id, placed, [e for e in events if e["detail"].get("orderId") == order_id])
        assert not self.world.book.keys.is_blocked(self.world.timeline.now), "the supplier has blocked the address"

    def _check_events(self, order_id: str, placed: Placed, events: list[dict[str, Any]]) -> None:
        closings = [
            e for e in events if e["detail-type"] in {"CardsDelivered", "CardsPartiallyDelivered", "OrderRefunded"}
        ]
        assert len({repr(e["detail"]) for e in closings}) <= 1, f"{order_id} was closed in two ways"
        assert all(e["detail"]["userId"] == placed.owner for e in closings)
        delays = [e for e in events if e["detail-type"] == "OrderDelayed"]
        assert len(delays) <= 1 + self.happened["functions killed"] + self.happened["executions aborted"]

    def end(self) -> None:
        """End all trouble, and see that every order comes to its end: delivered once to its user, or refunded."""
        world = self.world
        world.hooks.clear()
        world.refuse_events(0)
        world.supplier_is_back()
        self.give_key()
        for order_id in self.placed:
            self.settle(order_id)
        world.run(10_000)
        for _ in range(2):
            world.sweep()
            for letter in world.dead_letters():
                world.announce(letter["detail"]["orderId"], letter["detail"]["userId"])
                self.happened["replayed"] += 1
            world.run(10_000)
            for order_id in self.placed:
                order = world.known(order_id)
                if order is not None and order.status is OrderStatus.HELD:
                    # An execution that is aborted while it tells a person: OrdersHeldAlarm does.
                    is_told = "OrderHeld" in world.kinds(order_id) or order_id in self.aborted
                    assert is_told, f"nobody was told that {order_id} is held"
                    self.happened[f"held: {order.held_reason}"] += 1
                    world.announce(order_id, order.user_id)
            world.run(10_000)
        assert world.timeline.is_quiet, "an execution never ends"
        self.check()
        for order_id, placed in self.placed.items():
            self._check_ended_well(order_id, placed)
        _, leaks = evidence.search(world.evidence(), [*world.secrets(), NEW_KEY], pieces=True)
        assert leaks == []

    def _check_ended_well(self, order_id: str, placed: Placed) -> None:
        order, at_supplier = self.world.known(order_id), self.world.book.order(order_id)
        assert order is not None, f"{order_id} is lost"
        assert at_supplier is not None
        assert order.status == at_supplier.final_status, f"{order_id} is {order.status}, not {at_supplier.final_status}"
        assert order.announced_at is not None, f"no event about {order_id} was published"
        due = cards_of(order_id, at_supplier.fulfilled_quantity)
        for user in USERS:
            shown = [
                {name: card[name] for name in ("value", "serial")}
                for card in self.world.reveal(order_id, user)["cards"]
            ]
            assert shown == (due if user == placed.owner else []), f"{user} sees wrong cards of {order_id}"
        self.happened[f"ended {order.status}"] += 1
        told = [kind for kind in self.world.kinds(order_id) if kind in CLOSINGS]
        assert told, f"the shop never heard of {order_id}"
        if len(told) > 1:
            self.happened["events that came more than once"] += 1


def _kills_once(number: int, phase: str, happened: Counter[str]) -> Hook:
    done = False

    def kill(invocation: Invocation, _operation: str, at: str) -> None:
        nonlocal done
        if not done and len(invocation.calls) == number and at == phase and invocation.function != "reveal_cards":
            done = True
            happened["functions killed"] += 1
            raise Killed

    return kill
