"""No card and no API key leaks into anything that the service writes, and a planted one is found.

Every test of this folder searches its world. These tests also set every library to DEBUG, read the functions' memory,
and have the supplier put secrets into every text of its answers.
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
from simulation.functions import Invocation, Killed, failing
from simulation.supplier_faults import SUPPLIER_FAULTS, SupplierFault
from simulation.world import API_KEY, World


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter())
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # moto logs its requests; AWS does not.
        if not record.name.startswith(("moto", "simulation")):
            self.kept.append(self.format(record))


@pytest.fixture
def logged(world: World) -> Iterator[list[str]]:
    """Set every library to DEBUG, as a developer may do, and keep what reaches the function's log."""
    world.functions.dumps_memory = True
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
    assert world.functions.dumps, "no memory was dumped"
    world.functions.log.write("\n".join(logged))
    _, leaks = evidence.search(world.evidence(), world.secrets(), pieces=True)
    assert leaks == []


def test_successful_orders_leak_no_card(world: World, logged: list[str]) -> None:
    orders = [
        world.order(2),
        world.order(4, typeId="TEST_PARTIAL"),
        world.order(1, typeId="TEST_REFUND"),
        world.order(3, fulfilAfter=700),
    ]
    world.place(orders[0])
    world.place(orders[0], "mallory")
    world.run(1_000)
    world.reveal(orders[0])
    world.reveal(orders[0], "mallory")
    world.reveal("no-such-order")

    assert [world.status(order) for order in orders] == ["FULFILLED", "PARTIALLY_FILLED", "REFUNDED", "FULFILLED"]
    assert_no_leak(world, logged)


@pytest.mark.parametrize("failure", SUPPLIER_FAULTS, ids=lambda failure: failure.name)
def test_supplier_faults_leak_no_card(world: World, logged: list[str], failure: SupplierFault) -> None:
    order_id = world.buy(2)
    card = cards_of(order_id, 2)[0]
    smuggled = f"{card['value']} {card['serial']} {API_KEY}"
    fault = json.loads(json.dumps(failure.fault).replace('"m"', json.dumps(smuggled)))
    if "rawBody" in fault:
        fault["rawBody"] += smuggled
    for name in ("merge", "body"):
        if isinstance(fault.get(name), dict):
            fault[name] |= {"note": smuggled, "cards": fault[name].get("cards", [card, card])}
    if failure.address:
        world.supplier.move_to(failure.address.format(port=world.supplier.port))
    else:
        world.supplier.fault(**fault, afterCalls=1)

    world.place(order_id)
    world.run(13)

    assert_no_leak(world, logged)


@pytest.mark.parametrize("operation", ["GenerateDataKey", "TransactWriteItems", "PutEvents", "UpdateItem"])
@pytest.mark.parametrize("killed", [False, True], ids=["fails", "is killed"])
def test_aws_faults_leak_no_card(world: World, logged: list[str], operation: str, *, killed: bool) -> None:
    def kill(invocation: Invocation, called: str, phase: str) -> None:
        if invocation.function == "deliver_cards" and (called, phase) == (operation, "before"):
            raise Killed

    world.functions.hooks.append(
        kill if killed else failing(operation, "InternalServerError", times=50, function="deliver_cards")
    )
    world.order(2)

    world.run(200)

    assert_no_leak(world, logged)


@pytest.mark.parametrize("text", ['quote" and \\', "ünï-kode-card", "tab\tand\nline", "https://cards.test/?pin=1 2&x"])
def test_cards_with_escaped_characters_do_not_leak(world: World, logged: list[str], text: str) -> None:
    card = {"value": f"CANARY-{text}-CANARY", "serial": f"{text[::-1]}-SERIAL"}
    order_id = world.buy(1)
    world.supplier.fault(merge={"cards": [card]})
    world.place(order_id)
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
def test_planted_card_is_found(place: str, form: str) -> None:
    secret = 'CARD-"7f3a"/9c51 e8d2'
    with simulated.world() as world:
        written = FORMS[form](secret)
        order_id = world.order(1)
        world.run(30)
        match place:
            case "log":
                world.functions.log.write(written)
            case "errors":
                world.functions.errors.append(written)
            case "memory":
                world.functions.dumps.append(written)
            case "table":
                world.put_row({"pk": "ORDER#x", "sk": "NOTE", "note": written.encode()})
            case "events":
                world.events().append({"detail-type": "x", "detail": {"note": written}})
            case "history":
                world.place(order_id, note=written)
                world.run(30)
            case "dead letters":
                world.put_dead_letter({"note": written})

        _, leaks = evidence.search(world.evidence(), [secret], pieces=True)

        assert ("plain" if form == "JSON-escaped" else form) in {leak.form for leak in leaks}
        assert all(leak.place.startswith(place) for leak in leaks)
        assert secret not in repr(leaks)


@pytest.mark.parametrize("form", FORMS)
def test_planted_card_of_a_large_order_is_found(form: str) -> None:
    secrets = [secret for card in cards_of("0123456789abcdef01234567", 200) for secret in card.values()]
    haystack = b"x" * 1_000 + FORMS[form](secrets[333]).encode() + b"y" * 1_000

    _, leaks = evidence.search([("here", haystack), ("elsewhere", b"z" * 1_000)], secrets, pieces=True)

    assert ("plain" if form == "JSON-escaped" else form) in {leak.form for leak in leaks}
    assert {leak.place for leak in leaks} == {"here"}
    assert evidence.search([("here", b"a short")], ["short", *secrets])[1], "shorter than a piece"
