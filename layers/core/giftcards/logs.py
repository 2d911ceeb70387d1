"""One structured log line per invocation. The public page imports this module on its cold start, so it stays light."""

import logging
import warnings
from functools import cache
from typing import Literal

from aws_lambda_powertools import Logger

LIBRARIES = ("httpx", "httpcore", "botocore", "boto3", "urllib3", "aws_encryption_sdk", "asyncio")
"""What the functions use that keeps a log of its own."""


@cache
def logger() -> Logger:
    """Build the structured logger. What libraries log, and warnings, which can quote values, stay out.

    At DEBUG the AWS libraries write whole answers down, the API key and data keys among them. So what they log
    reaches no handler of the function, whatever level somebody sets.
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
