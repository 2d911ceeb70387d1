"""What the definition is made of. The local cloud and cfn-lint accept much that AWS refuses."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from giftcards.adapters.aws import AwsUnavailableError
from giftcards.contracts.events import HeldReason
from giftcards.contracts.workflow import Outcome, StepRequest
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


def transient_retriers(task: dict[str, Any]) -> list[dict[str, Any]]:
    return [retrier for retrier in task["Retry"] if retrier.get("MaxAttempts") != 0]


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
        "ValidateOrder": "RejectOrder",
        "RouteClaim": "ParkOrder",
        "RouteOrder": "HoldOrder",
        "RouteDelivery": "HoldOrder",
        "RouteOutage": "WaitBeforeCheck",
    }


@EVERY_TASK
def test_task_has_a_literal_time_limit(name: str) -> None:
    # As an expression it ends the execution on the local cloud.
    assert type(TASKS[name]["TimeoutSeconds"]) is int
    assert TASKS[name]["TimeoutSeconds"] > 0


@EVERY_TASK
def test_task_retries_transient_errors_with_full_jitter(name: str) -> None:
    retriers = transient_retriers(TASKS[name])
    assert retriers
    for retrier in retriers:
        assert retrier["JitterStrategy"] == "FULL"
        assert retrier["BackoffRate"] > 1
        assert retrier["MaxAttempts"] >= (2 if retrier["ErrorEquals"] == OUTAGES else 4)
        assert retrier["MaxDelaySeconds"] <= (300 if name == "HoldOrder" else 60)
        assert "States.ALL" not in retrier["ErrorEquals"]
    last = ["States.TaskFailed"] if name in FUNCTIONS else ["States.TaskFailed", "States.Timeout"]
    assert retriers[-1]["ErrorEquals"] == last


@EVERY_TASK
def test_task_catches_everything_last(name: str) -> None:
    catchers = TASKS[name]["Catch"]
    assert catchers[-1]["ErrorEquals"] == ["States.ALL"]
    assert not [catcher for catcher in catchers[:-1] if "States.ALL" in catcher["ErrorEquals"]]


@EVERY_TASK
def test_failed_condition_is_no_transient_error(name: str) -> None:
    if "ConditionExpression" in TASKS[name]["Arguments"]:
        assert TASKS[name]["Retry"][0] == {
            "ErrorEquals": ["DynamoDB.ConditionalCheckFailedException"],
            "MaxAttempts": 0,
        }


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
    outage, unknown, raised = transient_retriers(TASKS[name])
    assert outage["ErrorEquals"] == OUTAGES
    # The local cloud calls a throttled function so, AWS one that times out or runs out of memory.
    assert unknown["ErrorEquals"] == ["Lambda.Unknown"]
    assert unknown["MaxAttempts"] > raised["MaxAttempts"]
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
    assert TASKS[name]["Arguments"]["Payload"].keys() == {field.alias for field in StepRequest.model_fields.values()}


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


@pytest.mark.parametrize(
    ("name", "routed"),
    [("RouteOrder", set(Outcome) - {Outcome.CLOSED}), ("RouteDelivery", set(Outcome) - {Outcome.SETTLED})],
)
def test_choice_names_every_outcome_and_nothing_else(name: str, routed: set[Outcome]) -> None:
    named = set().union(*(quoted(rule["Condition"]) for rule in CHOICES[name]["Choices"]))
    assert named == routed


@pytest.mark.parametrize("name", ["RouteOrder", "RouteDelivery"])
def test_outcomes_that_hold_are_held_reasons(name: str) -> None:
    [holding] = [rule for rule in CHOICES[name]["Choices"] if rule["Next"] == "HoldOrder"]
    assert quoted(holding["Condition"]) == set(Outcome) & set(HeldReason)
    assert holding["Assign"] == {"heldReason": "{% $outcome %}", "heldMessage": "{% $message %}"}


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
