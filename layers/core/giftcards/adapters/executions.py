"""Executions of the workflow."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

_ACTIVE = {"RUNNING", "PENDING_REDRIVE"}
"""An execution that waits for its redrive continues automatically with its order."""


class Executions:
    """Asks Step Functions about executions."""

    def __init__(self, step_functions: "SFNClient") -> None:
        self._step_functions = step_functions

    def is_running(self, execution_arn: str) -> bool:
        """Return whether an execution is running; False if it no longer exists.

        Step Functions deletes an execution 90 days after its end.
        """
        try:
            # Its data would need kms:Decrypt on the key of the workflow's history.
            execution = self._step_functions.describe_execution(
                executionArn=execution_arn, includedData="METADATA_ONLY"
            )
        except self._step_functions.exceptions.ExecutionDoesNotExist:
            return False
        return execution["status"] in _ACTIVE
