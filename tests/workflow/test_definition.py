"""What the definition is made of. The local cloud and cfn-lint accept much that AWS refuses."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from giftcards.adapters.aws import AwsUnavailableError
from giftcards.contracts.events import HeldReason
from giftcards.contracts.workflow import COUNTS_OF_PREVIOUS_RELEASE, NextStep, Outcome, StepRequest
from support.scripts import load
from workflow.harness import definition_text, load_definition, load_template, substituted

DEFINITION = load_definition()
STATES: dict[str, dict[str, Any]] = DEFINITION["States"]
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
CHOICES = {name: state for name, state in STATES.items() if state["Type"] == "Choice"}
TERMINAL = {
    "AlreadyClaimed": "Succeed",
    "OrderClosed": "Succeed",
    "OrderDisputed": "Fail",
    "OrderHeld": "Fail",
    "ExecutionSuperseded": "Fail",
    "OrderNotClaimed": "Fail",
    "OrderNotHeld": "Fail",
}
JSONPATH_FIELDS = {
    "InputPath",
    "OutputPath",
    "ResultPath",
    "Parameters",
    "ResultSelector",
    "Result",
    "Variable",
    "SecondsPath",
    "TimestampPath",
    "TimeoutSecondsPath",
    "HeartbeatSecondsPath",
    "ErrorPath",
    "CausePath",
    "ItemsPath",
}
FUNCTIONS = {"CheckStatus": "CheckStatusFunction", "DeliverCards": "DeliverCardsFunction"}
OUTAGES = [
    "Lambda.TooManyRequestsException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.ClientExecutionTimeoutException",
    # Lambda cannot connect the function to its subnets now, or creates it again after weeks without a call.
    "Lambda.EC2ThrottledException",
    "Lambda.ENILimitReachedException",
    "Lambda.SubnetIPAddressLimitReachedException",
    "Lambda.ResourceNotReadyException",
    "Lambda.ResourceConflictException",
    AwsUnavailableError.__name__,
    "States.Timeout",  # functions time out before their tasks do, so Lambda has not run it or lost its answer
]
"""Errors that say nothing about the function: AWS does not run it, or something that it needs does not answer."""


def retrier(errors: list[str], *, interval: int, attempts: int, longest: int = 60) -> dict[str, Any]:
    """Make a retrier with exponential backoff and full jitter."""
    return {
        "ErrorEquals": errors,
        "IntervalSeconds": interval,
        "BackoffRate": 2,
        "MaxAttempts": attempts,
        "MaxDelaySeconds": longest,
        "JitterStrategy": "FULL",
    }


SERVICE = retrier(["States.TaskFailed", "States.Timeout"], interval=1, attempts=10)
"""A call to DynamoDB, EventBridge or SQS."""
HOLD = retrier(["States.TaskFailed", "States.Timeout"], interval=1, attempts=200, longest=300)
"""The hold itself: more than half a day, because without it nobody knows about the order until the next sweep."""
OUTAGE = retrier(OUTAGES, interval=2, attempts=2)
"""Then WaitForAws."""
CALLS_A_ROUND = 1 + OUTAGE["MaxAttempts"]
"""Calls of a function before each wait for AWS."""
UNKNOWN = retrier(["Lambda.Unknown"], interval=2, attempts=12)
"""A function that timed out or ran out of memory; on the local cloud, one that is throttled."""
RAISED = retrier(["States.TaskFailed"], interval=5, attempts=8)
"""Any other error of a function: a bug, or a permission that is missing."""
NO_RETRY = {"ErrorEquals": ["DynamoDB.ConditionalCheckFailedException"], "MaxAttempts": 0}
"""Not a retrier: a failed condition is an answer."""
EVERY_TASK = pytest.mark.parametrize("name", TASKS)


def targets(state: dict[str, Any]) -> Iterator[str]:
    """Give every state that this one can lead to."""
    for part in (state, *state.get("Choices", []), *state.get("Catch", [])):
        yield from (part[key] for key in ("Next", "Default") if key in part)


def within(part: Any) -> Iterator[tuple[str, Any]]:
    """Give every key and value in a part of the definition, at any depth."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield key, value
            yield from within(value)
    elif isinstance(part, list):
        for value in part:
            yield "", value
            yield from within(value)


def quoted(expression: str) -> set[str]:
    """Give the string literals of an expression."""
    return set(re.findall(r"'([A-Z_]+)'", expression))


@pytest.mark.parametrize("name", STATES)
def test_every_target_is_a_state(name: str) -> None:
    assert set(targets(STATES[name])) <= STATES.keys()


def test_every_state_can_be_reached() -> None:
    reached, left = set(), [DEFINITION["StartAt"]]
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            left.extend(targets(STATES[name]))
    assert reached == STATES.keys()


def test_an_end_can_be_reached_from_every_state() -> None:
    ends = set(TERMINAL)
    for _ in STATES:
        ends |= {name for name, state in STATES.items() if ends & set(targets(state))}
    assert ends == STATES.keys()


def test_only_these_states_end_an_execution() -> None:
    assert {name: state["Type"] for name, state in STATES.items() if not list(targets(state))} == TERMINAL
    assert not [name for name, state in STATES.items() if "End" in state]


@pytest.mark.parametrize("name", STATES)
def test_every_nonterminal_state_has_a_next_state(name: str) -> None:
    state = STATES[name]
    if state["Type"] in {"Task", "Pass", "Wait"}:
        assert "Next" in state
    if state["Type"] == "Choice":
        assert "Default" in state
        assert "Next" not in state


def test_choices_keep_the_order_by_default() -> None:
    assert {name: choice["Default"] for name, choice in CHOICES.items()} == {
        "ReadOrder": "RejectOrder",
        "RouteClaim": "ParkOrder",
        "Route": "HoldOrder",
    }


@EVERY_TASK
def test_task_has_a_literal_time_limit(name: str) -> None:
    # As an expression it ends the execution on the local cloud.
    assert type(TASKS[name]["TimeoutSeconds"]) is int
    assert TASKS[name]["TimeoutSeconds"] > 0


@EVERY_TASK
def test_task_has_the_retriers_of_its_kind(name: str) -> None:
    expected = [OUTAGE, UNKNOWN, RAISED] if name in FUNCTIONS else [HOLD if name == "HoldOrder" else SERVICE]
    if "ConditionExpression" in TASKS[name]["Arguments"]:
        expected = [NO_RETRY, *expected]
    assert TASKS[name]["Retry"] == expected


@EVERY_TASK
def test_task_catches_everything_last(name: str) -> None:
    catchers = TASKS[name]["Catch"]
    assert catchers[-1]["ErrorEquals"] == ["States.ALL"]
    assert not [catcher for catcher in catchers[:-1] if "States.ALL" in catcher["ErrorEquals"]]


@EVERY_TASK
def test_every_write_to_the_table_has_a_condition(name: str) -> None:
    if ":dynamodb:" in TASKS[name]["Resource"] and not TASKS[name]["Resource"].endswith(":getItem"):
        assert "ConditionExpression" in TASKS[name]["Arguments"]


@EVERY_TASK
def test_every_write_is_conditional_on_user_or_execution(name: str) -> None:
    condition = TASKS[name]["Arguments"].get("ConditionExpression")
    named = ("attribute_not_exists(pk)", "executionArn = :thisExecution", "userId = :userId")
    assert condition is None or any(part in condition for part in named)


def test_order_is_looked_up_as_it_is_now() -> None:
    assert TASKS["LookUpOrder"]["Arguments"]["ConsistentRead"] is True


@pytest.mark.parametrize("name", FUNCTIONS)
def test_outage_of_aws_is_waited_out_and_everything_else_holds(name: str) -> None:
    assert [(catcher["ErrorEquals"], catcher["Next"]) for catcher in TASKS[name]["Catch"]] == [
        (OUTAGES, "WaitForAws"),
        (["States.ALL"], "HoldOrder"),
    ]


@pytest.mark.parametrize(("name", "function"), FUNCTIONS.items())
def test_function_times_out_before_its_task_does(name: str, function: str) -> None:
    # Else a time-out would start a second invocation beside the first.
    assert TASKS[name]["TimeoutSeconds"] > load_template()["Resources"][function]["Properties"]["Timeout"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_payload_has_exactly_the_contracts_fields(name: str) -> None:
    fields = {field.alias for field in StepRequest.model_fields.values()}
    assert TASKS[name]["Arguments"]["Payload"].keys() == fields | set(COUNTS_OF_PREVIOUS_RELEASE)


def test_tasks_call_what_the_workflow_is_for_and_nothing_else() -> None:
    assert {name: task["Resource"] for name, task in TASKS.items()} == {
        "ClaimOrder": "arn:${Partition}:states:::dynamodb:putItem",
        "LookUpOrder": "arn:${Partition}:states:::dynamodb:getItem",
        "ResumeOrder": "arn:${Partition}:states:::dynamodb:updateItem",
        "RepublishOrder": "arn:${Partition}:states:::dynamodb:updateItem",
        "CheckStatus": "arn:${Partition}:states:::lambda:invoke",
        "PublishDelay": "arn:${Partition}:states:::events:putEvents",
        "RecordDelay": "arn:${Partition}:states:::dynamodb:updateItem",
        "DeliverCards": "arn:${Partition}:states:::lambda:invoke",
        "HoldOrder": "arn:${Partition}:states:::dynamodb:updateItem",
        "PublishHold": "arn:${Partition}:states:::events:putEvents",
        "PublishDispute": "arn:${Partition}:states:::events:putEvents",
        "PublishRepeat": "arn:${Partition}:states:::events:putEvents",
        "ParkOrder": "arn:${Partition}:states:::sqs:sendMessage",
    }


def test_everything_is_jsonata() -> None:
    assert DEFINITION["QueryLanguage"] == "JSONata"
    for key, value in within(DEFINITION):
        assert key != "QueryLanguage" or value == "JSONata"
        assert key not in JSONPATH_FIELDS
        assert not key.endswith(".$")
        if isinstance(value, str):
            assert not value.startswith("$.")
            assert ("{%" in value) == (value.startswith("{% ") and value.endswith(" %}"))


def test_machine_has_a_time_limit() -> None:
    assert type(DEFINITION["TimeoutSeconds"]) is int


def test_route_names_every_next_step_and_nothing_else() -> None:
    assert set().union(*(quoted(rule["Condition"]) for rule in CHOICES["Route"]["Choices"])) == set(NextStep)


def test_outcome_that_holds_is_the_held_reason() -> None:
    [holding] = [rule for rule in CHOICES["Route"]["Choices"] if rule["Next"] == "HoldOrder"]
    assert holding["Assign"] == {"heldReason": "{% $outcome %}", "heldMessage": "{% $message %}"}
    assert {outcome for outcome in Outcome if outcome.next is NextStep.HOLD} <= set(HeldReason)


def test_definition_is_formatted() -> None:
    formatted = load("tools/format_workflow.py").formatted
    assert definition_text() == formatted(DEFINITION) + "\n", "run tools/format_workflow.py"


def test_reasons_given_by_the_workflow_are_held_reasons() -> None:
    given = {value for key, value in within(DEFINITION) if key == "heldReason" and not value.startswith("{%")}
    assert given == {"UNEXPECTED_ERROR", "INVALID_ORDER"}
    assert given <= set(HeldReason)


def test_error_texts_are_used_nowhere() -> None:
    # The text of a function's exception may hold what it was working on.
    assert "errorOutput.Cause" not in definition_text()
    assert not re.search(r"errorOutput(?!\.Error\b)", definition_text())


def test_every_substitution_is_used_and_given_by_the_template() -> None:
    given = load_template()["Resources"]["FulfilOrderStateMachine"]["Properties"]["DefinitionSubstitutions"]
    assert set(re.findall(r"\$\{(\w+)\}", definition_text())) == given.keys()
    assert "${" not in substituted(DEFINITION)
