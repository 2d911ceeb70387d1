"""Results of a call to the supplier that gave no order."""

import re
from dataclasses import dataclass
from enum import StrEnum

_NAMES_ACCESS = re.compile(r"(^|_)(IP|API|APIKEY|TOKEN)(_|$)")


class FailureKind(StrEnum):
    """Kinds of failures, by what they mean for this order and for all others."""

    BUSY = "BUSY"
    """Transient, or a deployment problem: retry later."""
    RATE_LIMITED = "RATE_LIMITED"
    """Too many calls: all calls are blocked for a while."""
    KEY_MISSING = "KEY_MISSING"
    """No API key is set: calls are blocked until there is one."""
    KEY_REFUSED = "KEY_REFUSED"
    """The supplier refuses the key: calls are blocked until there is another one."""
    ADDRESS_BLOCKED = "ADDRESS_BLOCKED"
    """The supplier blocks our IP address for about 15 minutes, for any key."""
    ACCESS_DENIED = "ACCESS_DENIED"
    """The key may not be used from here, or at all; an operator must contact the supplier."""
    GATE_CLOSED = "GATE_CLOSED"
    """No call was made: calls are blocked for one of the reasons above."""
    QUEUED = "QUEUED"
    """No call was made: all slots are in use."""
    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    ORDER_REJECTED = "ORDER_REJECTED"
    """The supplier rejects the order id."""
    ORDER_REFUSED = "ORDER_REFUSED"
    """A refusal in the supplier's envelope that does not concern the key or the address: it concerns this order, as far
    as one answer can show."""
    CONTRACT_BROKEN = "CONTRACT_BROKEN"
    """An answer that contradicts the supplier's documentation."""


@dataclass(frozen=True)
class SupplierFailure:
    """Why a call gave no order.

    Attributes
    ----------
    message
        One sentence for an operator. It can hold the supplier's error code, but no other text of the answer.
    retry_after_seconds
        Wait that the supplier or the gate requests; None if there is none.
    code
        The supplier's error code, normalized to ``UPPER_CASE``; None if the answer has none.
    status
        HTTP status of the answer; None if there is none, or if it is not a refusal.
    """

    kind: FailureKind
    message: str
    retry_after_seconds: float | None = None
    code: str | None = None
    status: int | None = None


def names_access(code: str | None) -> bool:
    """Return whether an error code names the address or the API key.

    An undocumented code that does can still concern one order (``PLAYER_IP_REGION``). KEY alone does not count: a
    supplier of cards sells keys.
    """
    return code is not None and _NAMES_ACCESS.search(code) is not None
