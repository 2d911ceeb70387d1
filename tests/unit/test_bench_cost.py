"""The fixed part of ``make cost``, which needs no cloud."""

import cost
from giftcards.rules.orders import Order
from giftcards_cli import costs
from giftcards_local import PROJECT


def test_everything_that_is_billed_each_month_has_a_price_and_a_number():
    usage = cost.monthly_usage()
    assert usage.keys() == costs.prices().per_month.keys()
    assert all(count > 0 for count in usage.values())


def test_only_keys_that_rotate_are_billed_for_rotations():
    usage = cost.monthly_usage()
    assert usage["kmsKeyRotation"] < 2 * usage["kmsKey"]  # LinkKey makes MACs, and such a key cannot rotate


def test_readme_quotes_what_an_order_and_a_month_cost():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    row = {"orderId": "o", "userId": "u", "status": "FULFILLED", "claimedAt": "2026-03-14T09:26:53Z"}
    order = Order.model_validate(row | {"checks": cost.PENDING_CHECKS + 1, "fulfilledQuantity": cost.CARDS})
    monthly = cost.monthly_usage()

    assert f"cost about {costs.prices().usd(costs.usage(order)) * 1e6:.0f} USD" in readme
    assert f"{sum(count * costs.prices().per_month[what] for what, count in monthly.items()):.2f} USD a month" in readme
    assert f"{monthly['customMetric']} metrics" in readme
