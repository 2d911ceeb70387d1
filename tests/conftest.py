"""What all tests share."""

from moto.core import models

# moto hooks itself into botocore, and besides into `requests`, which nothing here uses. To register that took longer
# than most tests, each time a cloud was made.
models.RESPONSES_METHODS.clear()
