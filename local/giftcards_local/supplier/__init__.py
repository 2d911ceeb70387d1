"""The supplier simulator: the supplier's API over real HTTP, on 127.0.0.1 only.

It responds as the supplier documents it: envelopes, fields per status, key check and address block
(https://docs.oneclickdz.com/en/error-handling). Its control routes create orders and inject faults.
"""

from giftcards_local.supplier.answers import error_body
from giftcards_local.supplier.app import create_app
from giftcards_local.supplier.book import SANDBOX_API_KEY, SupplierBook, UnreadableStateError
from giftcards_local.supplier.control import ControlRefusedError, RecordedCall, SupplierControl
from giftcards_local.supplier.keys import BlockRule, key_id
from giftcards_local.supplier.orders import Lognormal, Uniform, cards_of
from giftcards_local.supplier.server import SupplierServer, serve

__all__ = [
    "SANDBOX_API_KEY",
    "BlockRule",
    "ControlRefusedError",
    "Lognormal",
    "RecordedCall",
    "SupplierBook",
    "SupplierControl",
    "SupplierServer",
    "Uniform",
    "UnreadableStateError",
    "cards_of",
    "create_app",
    "error_body",
    "key_id",
    "serve",
]
