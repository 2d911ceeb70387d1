"""What the functions of a container take from outside, and what is built from it once per container.

Both composition roots use it. It imports little, because ServePage imports it on the cold start of a public page.
"""

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from giftcards.adapters.card_cipher import CardCipher
    from giftcards.adapters.oneclickdz.supplier import Supplier

Built = TypeVar("Built")


def _supplier(base_url: str) -> "Supplier":
    from giftcards.adapters.oneclickdz.supplier import Supplier, new_client

    return Supplier(base_url, new_client())


def _card_cipher(key_arn: str) -> "CardCipher":
    from giftcards.adapters.card_cipher import CardCipher

    return CardCipher(key_arn)


@dataclass(frozen=True)
class Outside:
    """What the functions of a container take from outside, except boto3's clients.

    Attributes
    ----------
    jitter
        Returns a random number in [0, 1).
    pause
        Sleeps for some seconds.
    built
        What the container has built, by the name of its builder.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    jitter: Callable[[], float] = random.random
    pause: Callable[[float], None] = time.sleep
    supplier: Callable[[str], "Supplier"] = _supplier
    card_cipher: Callable[[str], "CardCipher"] = _card_cipher
    built: dict[str, Any] = field(default_factory=dict, repr=False)


_outside = Outside()


def outside() -> Outside:
    """Return what is in use."""
    return _outside


def use(replacement: Outside) -> Outside:
    """Replace what comes from outside and what is built from it. Return what was in use. For tests."""
    global _outside
    previous, _outside = _outside, replacement
    return previous


def once(build: Callable[[], Built]) -> Callable[[], Built]:
    """Build when a container first needs it."""

    @wraps(build)
    def built() -> Built:
        if build.__name__ not in _outside.built:
            _outside.built[build.__name__] = build()
        return cast("Built", _outside.built[build.__name__])

    return built


def now() -> datetime:
    """Return the time in UTC."""
    return _outside.now()
