"""The statuses of an order: the supplier's, and HELD."""

from enum import StrEnum
from typing import Literal, get_args


class OrderStatus(StrEnum):
    """How far an order is. All but HELD are the supplier's words.

    Source: https://docs.oneclickdz.com/en/api-reference/gift-cards/check-order
    """

    HANDLING = "HANDLING"
    FULFILLED = "FULFILLED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    REFUNDED = "REFUNDED"
    HELD = "HELD"

    @property
    def is_final(self) -> bool:
        """Whether the supplier is done with the order. A stored final status never changes."""
        return self not in {OrderStatus.HANDLING, OrderStatus.HELD}

    @property
    def is_delivered(self) -> bool:
        """Whether the order has cards."""
        return self in {OrderStatus.FULFILLED, OrderStatus.PARTIALLY_FILLED}


OpenStatus = Literal[OrderStatus.HANDLING, OrderStatus.HELD]
FinalStatus = Literal[OrderStatus.FULFILLED, OrderStatus.PARTIALLY_FILLED, OrderStatus.REFUNDED]
SupplierStatus = Literal[OrderStatus.HANDLING, FinalStatus]
SUPPLIER_STATUSES: tuple[OrderStatus, ...] = get_args(SupplierStatus)
