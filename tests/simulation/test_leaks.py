"""No card and no key is found in anything that the service leaves behind, whatever happens; and a planted one is.

Every test of this folder searches its world afterwards. Those here do it with every library at DEBUG and with a look
into the functions' memory, for supplier answers that try to smuggle secrets into every text.
"""

import base64
import json
import logging
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from giftcards import composition_root, logs
from giftcards_local import evidence
from giftcards_local.supplier import cards_of
from simulation import world as simulated
from simulation.supplier_faults import SUPPLIER_FAULTS, SupplierFault
from simulation.world import API_KEY, Invocation, Killed, World, failing


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter())
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # moto's own log stands for no part of the service; it is a cloud that logs what it is sent.
        if not record.name.startswith(("moto", "simulation")):
            self.kept.append(self.format(record))


@pytest.fixture
def logged(world: World) -> Iterator[list[str]]:
    """Set every library to DEBUG, as somebody may who looks for an error, and keep what reaches the function's log."""
    world.dumps_memory = True
    keeper, root = _Keeper(), logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("", *logs.LIBRARIES)}
    composition_root.logger.cache_clear()
    composition_root.logger()
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(keeper)
    yield keeper.kept
    root.removeHandler(keeper)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def assert_no_leak(world: World, logged: list[str]) -> None:
    assert world.dumps, "nothing of the memory was looked at"
    world.log.write("\n".join(logged))
    _, leaks = evidence.search(world.evidence(), world.secrets(), pieces=True)
    assert leaks == []


def test_every_way_that_an_order_can_go_well_leaves_no_trace_of_a_card(world: World, logged: list[str]) -> None:
    orders = [
        world.order(2),
        world.order(4, typeId="TEST_PARTIAL"),
        world.order(1, typeId="TEST_REFUND"),
        world.order(3, fulfilAfter=700),
    ]
    world.announce(orders[0])
    world.announce(orders[0], "mallory")
    world.run(1_000)
    world.reveal(orders[0])
    world.reveal(orders[0], "mallory")
    world.reveal("no-such-order")

    assert [world.status(order) for order in orders] == ["FULFILLED", "PARTIALLY_FILLED", "REFUNDED", "FULFILLED"]
    assert_no_leak(world, logged)


@pytest.mark.parametrize("failure", SUPPLIER_FAULTS, ids=lambda failure: failure.name)
def test_no_trouble_with_the_supplier_leaves_a_trace_of_a_card(
    world: World, logged: list[str], failure: SupplierFault
) -> None:
    order_id = world.place(2)
    card = cards_of(order_id, 2)[0]
    smuggled = f"{card['value']} {card['serial']} {API_KEY}"
    fault = json.loads(json.dumps(failure.fault).replace('"m"', json.dumps(smuggled)))
    if "rawBody" in fault:
        fault["rawBody"] += smuggled
    for name in ("merge", "body"):
        if isinstance(fault.get(name), dict):
            fault[name] |= {"note": smuggled, "cards": fault[name].get("cards", [card, card])}
    if failure.address:
        world.supplier_moves_to(failure.address.format(port=world.supplier.url.rpartition(":")[2]))
    else:
        world.fault(**fault, afterCalls=1)

    world.announce(order_id)
    world.run(13)

    assert_no_leak(world, logged)


@pytest.mark.parametrize("operation", ["GenerateDataKey", "TransactWriteItems", "PutEvents", "UpdateItem"])
@pytest.mark.parametrize("dies", [False, True], ids=["fails", "is killed"])
def test_no_fault_of_the_cloud_leaves_a_trace_of_a_card(
    world: World, logged: list[str], operation: str, *, dies: bool
) -> None:
    def kill(invocation: Invocation, called: str, phase: str) -> None:
        if invocation.function == "deliver_cards" and (called, phase) == (operation, "before"):
            raise Killed

    world.hooks.append(kill if dies else failing(operation, "InternalServerError", times=50, function="deliver_cards"))
    world.order(2)

    world.run(200)

    assert_no_leak(world, logged)


@pytest.mark.parametrize("text", ['quote" and \\', "ünï-kode-card", "tab\tand\nline", "https://cards.test/?pin=1 2&x"])
def test_cards_of_characters_that_are_written_in_other_ways_leave_no_trace(
    world: World, logged: list[str], text: str
) -> None:
    card = {"value": f"CANARY-{text}-CANARY", "serial": f"{text[::-1]}-SERIAL"}
    order_id = world.place(1)
    world.fault(merge={"cards": [card]})
    world.announce(order_id)
    world.run(30)
    assert world.reveal(order_id)["cards"] == [{"index": 1} | card]

    _, leaks = evidence.search(world.evidence(), card.values(), pieces=True)
    assert leaks == []


FORMS = {
    "plain": lambda secret: secret,
    "JSON-escaped": json.dumps,
    "URL-encoded": lambda secret: quote(secret, safe=""),
    "reversed": lambda secret: secret[::-1],
    "base64": lambda secret: base64.b64encode(f"x{secret}yz".encode()).decode(),
    "hex": lambda secret: secret.encode().hex(),
    "a piece": lambda secret: secret[-8:],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["log", "errors", "memory", "table", "events", "history", "dead letters"])
def test_a_card_that_is_planted_is_found(place: str, form: str) -> None:
    secret = 'CARD-"7f3a"/9c51 e8d2'
    with simulated.world() as world:
        written = FORMS[form](secret)
        order_id = world.order(1)
        world.run(30)
        match place:
            case "log":
                world.log.write(written)
            case "errors":
                world.errors.append(written)
            case "memory":
                world.dumps.append(written)
            case "table":
                world.put_row({"pk": "ORDER#x", "sk": "NOTE", "note": written.encode()})
            case "events":
                world.heard().append({"detail-type": "x", "detail": {"note": written}})
            case "history":
                world.announce(order_id, note=written)
                world.run(30)
            case "dead letters":
                world.put_dead_letter({"note": written})

        _, leaks = evidence.search(world.evidence(), [secret], pieces=True)

        assert ("plain" if form == "JSON-escaped" else form) in {leak.form for leak in leaks}
        assert all(leak.place.startswith(place) for leak in leaks)
        assert secret not in repr(leaks)


@pytest.mark.parametrize("form", FORMS)
def test_a_card_is_found_among_the_cards_of_a_large_order_too(form: str) -> None:
    secrets = [secret for card in cards_of("0123456789abcdef01234567", 200) for secret in card.values()]
    haystack = b"x" * 1_000 + FORMS[form](secrets[333]).encode() + b"y" * 1_000

    _, leaks = evidence.search([("here", haystack), ("there", b"z" * 1_000)], secrets, pieces=True)

    assert ("plain" if form == "JSON-escaped" else form) in {leak.form for leak in leaks}
    assert {leak.place for leak in leaks} == {"here"}
    assert evidence.search([("here", b"a short")], ["short", *secrets])[1], "shorter than a piece"
