"""The fixed part of ``make cost``, which needs no cloud."""

import cost
from giftcards_cli import costs


def test_everything_that_is_billed_each_month_has_a_price_and_a_number():
    usage = cost.monthly_usage()
    assert usage.keys() == costs.prices().per_month.keys()
    assert all(count > 0 for count in usage.values())


def test_only_keys_that_rotate_are_billed_for_rotations():
    usage = cost.monthly_usage()
    assert usage["kmsKeyRotation"] < 2 * usage["kmsKey"]  # LinkKey makes MACs, and such a key cannot rotate
