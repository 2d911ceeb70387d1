"""What can come back from the supplier instead of an answer about the order."""

import re
from dataclasses import dataclass
from enum import StrEnum

_NAMES_ACCESS = re.compile(r"(^|_)(IP|API|APIKEY|TOKEN)(_|$)")


class FailureKind(StrEnum):
    """Kinds of trouble, by what they mean for this order and for all others."""

    BUSY = "BUSY"
    """Transient, or a deployment problem: ask again later."""
    RATE_LIMITED = "RATE_LIMITED"
    """Too many calls: nobody asks for a while."""
    KEY_MISSING = "KEY_MISSING"
    """No API key has been set: nobody asks until there is one."""
    KEY_REFUSED = "KEY_REFUSED"
    """The supplier refuses the key: nobody asks until there is another one."""
    ADDRESS_BLOCKED = "ADDRESS_BLOCKED"
    """The supplier blocks our address for about 15 minutes, whatever key is presented."""
    ACCESS_DENIED = "ACCESS_DENIED"
    """The key may not be used from here, or at all; a person has to act at the supplier."""
    GATE_CLOSED = "GATE_CLOSED"
    """Not asked at all: one of the above holds for all orders."""
    QUEUED = "QUEUED"
    """Not asked at all: as many calls are under way as may be."""
    ORDER_UNKNOWN = "ORDER_UNKNOWN"
    ORDER_REJECTED = "ORDER_REJECTED"
    """The supplier does not take the order id."""
    ORDER_REFUSED = "ORDER_REFUSED"
    """A refusal in the supplier's envelope that says nothing about the key or the address: about this order, as far
    as one answer can show."""
    CONTRACT_BROKEN = "CONTRACT_BROKEN"
    """An answer that the supplier's documents do not allow."""


@dataclass(frozen=True)
class SupplierFailure:
    """Why there is no answer about the order.

    Attributes
    ----------
    kind
        What it means.
    message
        One sentence for a person, made of our own words and the supplier's error code.
    retry_after_seconds
        How long the supplier, or the gate, asks us to stay away; None where nothing is said.
    code
        The supplier's error code, normalized to ``UPPER_CASE``; None where the answer has none.
    status
        HTTP status of the answer; None where there is none, or where it is not a refusal.
    """

    kind: FailureKind
    message: str
    retry_after_seconds: float | None = None
    code: str | None = None
    status: int | None = None


def names_access(code: str | None) -> bool:
    """Say whether an error code names the address or the API key.

    An undocumented code that does can still be about one order (``PLAYER_IP_REGION``). KEY alone names neither: a
    supplier of cards has keys to sell.
    """
    return code is not None and _NAMES_ACCESS.search(code) is not None
