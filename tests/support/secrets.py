"""Card values and keys that can be found again.

Every secret of the tests holds ``MARK`` at both ends, so one search finds any part of it in any output.
"""

import base64
from collections.abc import Iterable

from giftcards.contracts.supplier import Card

MARK = "Zq7Canary9x"
API_KEY = f"{MARK}-key-{MARK}"


def card_data(count: int) -> list[dict[str, str]]:
    """Return cards as the supplier sends them, with characters that need escaping."""
    return [
        {"value": f'{MARK}-value-{index}-"é\\\n-{MARK}', "serial": f"{MARK}-serial-{index}-{MARK}"}
        for index in range(1, count + 1)
    ]


def cards(count: int) -> list[Card]:
    """Return cards as the core holds them."""
    return [Card.model_validate(card) for card in card_data(count)]


def plaintext(card: Card) -> dict[str, str | None]:
    """Return a card as the supplier sent it."""
    serial = None if card.serial is None else card.serial.get_secret_value()
    return {"value": card.value.get_secret_value(), "serial": serial}


def _traces() -> Iterable[str]:
    mark = MARK.encode()
    yield MARK
    yield mark.hex()
    for shift in range(3):  # base64 of the mark at any offset
        encoded = base64.b64encode(bytes(shift) + mark).decode()
        yield encoded[-(-shift * 8 // 6) : (shift + len(mark)) * 8 // 6]


TRACES = tuple(_traces())


def leaks(*texts: object) -> list[str]:
    """Return the texts that hold any part of a card or the key, raw, in hex or in base64."""
    return [text for text in map(str, texts) if any(trace in text for trace in TRACES)]
