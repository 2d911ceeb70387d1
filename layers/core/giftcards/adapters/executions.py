"""Executions of the workflow: whether one is still under way."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

_UNDER_WAY = {"RUNNING", "PENDING_REDRIVE"}
"""An execution that waits for its redrive goes on by itself, with the order that it has."""


class Executions:
    """Asks Step Functions for executions."""

    def __init__(self, step_functions: "SFNClient") -> None:
        self._step_functions = step_functions

    def is_running(self, execution_arn: str) -> bool:
        """Say whether an execution is under way. One that does not exist any more is not.

        Step Functions forgets an execution 90 days after its end.
        """
        try:
            # With its data, the answer would need kms:Decrypt on the key of the workflow's history.
            execution = self._step_functions.describe_execution(
                executionArn=execution_arn, includedData="METADATA_ONLY"
            )
        except self._step_functions.exceptions.ExecutionDoesNotExist:
            return False
        return execution["status"] in _UNDER_WAY
