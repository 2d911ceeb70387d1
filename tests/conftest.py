"""What all tests share."""

import gc

from moto.core import models

from support import quick_moto

# moto hooks itself into botocore, and besides into `requests`, which nothing here uses. To register that took longer
# than most tests, each time a cloud was made.
models.RESPONSES_METHODS.clear()

quick_moto.install()

# Clouds, models of services and collected tests are many objects that live long; looking through them again and again
# took a fifth of the time.
gc.set_threshold(100_000, 50, 50)
