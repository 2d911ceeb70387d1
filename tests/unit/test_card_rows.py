"""Cards are divided into rows that fit into items, and into one transaction if that is possible."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from giftcards.rules.card_rows import MAX_CARD_ROWS, MAX_ORDER_BYTES, MAX_ROW_BYTES, grouped

LARGEST = 98_400
"""Bytes of a card that an operator may accept: two texts of 8,192 characters, each written as six."""


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        ([], []),
        ([50], [1]),
        ([50] * 100, [100]),
        ([50] * 101, [100, 1]),
        ([50] * 5_000, [100] * 50),
        ([50] * 8_000, [100] * 80),
        ([50] * 8_001, [101] * 79 + [22]),
        ([50] * 40_000, [500] * 80),
        ([LARGEST] * 10, [3, 3, 3, 1]),
        ([MAX_ROW_BYTES, 1], [1, 1]),
        ([MAX_ROW_BYTES - 1, 1, 1], [2, 1]),
        ([MAX_ROW_BYTES + 1, 1], [1, 1]),
    ],
)
def test_row_is_full_by_count_or_by_bytes(sizes: list[int], rows: list[int]):
    assert [len(row) for row in grouped(sizes)] == rows


RUNS = st.lists(st.tuples(st.integers(1, 3_000), st.integers(30, LARGEST)), max_size=8)
"""Runs of cards of the same size."""


@given(RUNS)
@example([(40, LARGEST), (2_000, 30)])
@example([(130_000, 30)])
def test_cards_that_fit_into_a_transaction_fit_into_its_rows(runs: list[tuple[int, int]]):
    sizes: list[int] = []
    for count, size in runs:
        sizes += [size] * min(count, (MAX_ORDER_BYTES - sum(sizes)) // size)

    rows = list(grouped(sizes))

    assert [position for row in rows for position in row] == list(range(len(sizes)))
    assert all(rows)
    assert all(sum(sizes[position] for position in row) <= MAX_ROW_BYTES for row in rows)
    assert len(rows) <= MAX_CARD_ROWS
