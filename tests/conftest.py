"""Set-up of all tests."""

import gc

from moto.core import models

from support import quick_moto

# moto also patches `requests`, which nothing here uses, and needs longer for it than most tests do.
models.RESPONSES_METHODS.clear()

quick_moto.install()

# Most objects live long: clouds, service models, collected tests. Searching them for garbage took a fifth of the time.
gc.set_threshold(100_000, 50, 50)
