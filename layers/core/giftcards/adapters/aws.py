"""boto3 clients: one of each for a container, with time limits that fit into a function's."""

from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_stepfunctions import SFNClient

CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
# DescribeExecution refills at 10 calls a second, 15 in the largest regions (Step Functions service quotas). Adaptive
# retries slow a long sweep down to that instead of failing it.
_PACED = CONFIG.merge(Config(retries={"mode": "adaptive", "total_max_attempts": 8}))


@cache
def dynamodb() -> "DynamoDBClient":
    """Return DynamoDB, speaking Python types: the resource's client does the translation."""
    return boto3.resource("dynamodb", config=CONFIG).meta.client


@cache
def secrets_manager() -> "SecretsManagerClient":
    """Return Secrets Manager."""
    return boto3.client("secretsmanager", config=CONFIG)


@cache
def event_bridge() -> "EventBridgeClient":
    """Return EventBridge."""
    return boto3.client("events", config=CONFIG)


@cache
def step_functions() -> "SFNClient":
    """Return Step Functions."""
    return boto3.client("stepfunctions", config=_PACED)
