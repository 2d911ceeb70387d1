"""One structured log line per invocation. The public page imports this module on its cold start, so it stays light."""

import logging
import warnings
from functools import cache
from typing import Literal

from aws_lambda_powertools import Logger

LIBRARIES = ("httpx", "httpcore", "botocore", "boto3", "urllib3", "aws_encryption_sdk", "asyncio")
"""Libraries in use that write logs."""


@cache
def logger() -> Logger:
    """Build the structured logger, and silence libraries and warnings.

    At DEBUG the AWS libraries log whole responses, including the API key and data keys, and warnings can quote values.
    No log level of the function lets them through.
    """
    warnings.simplefilter("ignore")
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)
        logging.getLogger(library).propagate = False
        logging.getLogger(library).addHandler(logging.NullHandler())
    return Logger(utc=True)


def log(level: Literal["INFO", "WARNING", "ERROR"], message: str, **keys: object) -> None:
    """Write the one line of this invocation."""
    write = {"INFO": logger().info, "WARNING": logger().warning, "ERROR": logger().error}[level]
    write(message, extra=keys, stacklevel=3)  # its place is the handler's line
