"""How many cards go into one row of the card table.

An order's rows are written in one transaction: at most 100 items of at most 400 KB, 4 MB in total
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html).
"""

from collections.abc import Iterator, Sequence

CARDS_PER_ROW = 100
"""Enough that encrypting costs little per card, and few enough that a page of cards needs little of its order."""
MAX_ROW_BYTES = 380_000
"""Bytes of cards in a row, unless one card alone is larger. The rest is for keys and for what encryption adds: 1 %."""
MAX_CARD_ROWS = 99
"""The order row is the hundredth item."""
MAX_ORDER_BYTES = 4_000_000
"""Bytes of ciphertext of an order. The rest is for the other attributes of the 100 items."""
ROWS_BY_COUNT = 80
"""Most rows of an order that are full by count of cards. Rows that are full by bytes are few: 4 MB are 14 of them,
as a card that an operator accepts has at most 98 KB."""


def grouped(sizes: Sequence[int]) -> Iterator[range]:
    """Divide an order's cards into rows.

    Parameters
    ----------
    sizes
        Bytes of each card.

    Returns
    -------
    The cards of each row, by position from 0. They fit into ``MAX_CARD_ROWS`` rows if they fit into one transaction.
    """
    most = max(CARDS_PER_ROW, -(-len(sizes) // ROWS_BY_COUNT))
    start = held = 0
    for position, size in enumerate(sizes):
        if position - start == most or (position > start and held + size > MAX_ROW_BYTES):
            yield range(start, position)
            start, held = position, 0
        held += size
    if sizes:
        yield range(start, len(sizes))
