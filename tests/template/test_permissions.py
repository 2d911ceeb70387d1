"""Least privilege: one role for each function, named actions, named resources."""

from collections.abc import Callable
from typing import Any

import pytest

from template.permission_table import CALLING_THE_SUPPLIER, PERMISSIONS
from template.permissions import (
    EVERY_ACTION,
    EVERY_RESOURCE,
    PREFIXES,
    borrowed_policies,
    grants,
    lenient_trust,
    loose_statements,
    role_of,
    statement_of,
    statements,
)
from template.reading import Template, deploy, load, properties, ref, resources

SCHEDULES = {
    "lambda:InvokeFunction on MeasureOrdersFunctionAliaslive",
    "lambda:InvokeFunction on SweepOrdersFunctionAliaslive",
    "lambda:InvokeFunction on ReconcileOrdersFunctionAliaslive",
    "lambda:InvokeFunction on SendLinkFunctionAliaslive",
    "sqs:SendMessage on FunctionsDeadLetterQueue",
}
CONNECTED = {
    "ec2:CreateNetworkInterface on *",
    "ec2:DescribeNetworkInterfaces on *",
    "ec2:DescribeSubnets on *",
    "ec2:DeleteNetworkInterface on *",
    "ec2:AssignPrivateIpAddresses on *",
    "ec2:UnassignPrivateIpAddresses on *",
}
MOVING_AN_ALIAS = {"lambda:GetAlias", "lambda:UpdateAlias", "lambda:GetProvisionedConcurrencyConfig"}
TRUSTED_SERVICES = {
    "DeploymentRole": "codedeploy.amazonaws.com",
    "FulfilOrderRole": "states.amazonaws.com",
    "OrderPlacedRuleRole": "events.amazonaws.com",
    "SchedulerRole": "scheduler.amazonaws.com",
    "WebhookRuleRole": "events.amazonaws.com",
}


def functions(template: Template) -> set[str]:
    return set(resources(template, "AWS::Serverless::Function", "AWS::Lambda::Function"))


@pytest.mark.parametrize("function", sorted(functions(load()) | set(PERMISSIONS)))
def test_function_may_do_exactly_this(on_aws: Template, function: str):
    assert function in PERMISSIONS, f"add {function} to PERMISSIONS"
    assert grants(on_aws, role_of(on_aws, function)) == PERMISSIONS[function], (
        f"{function} and PERMISSIONS differ: fix the one that is wrong, and docs/security.md"
    )


def test_schedules_may_invoke_their_functions_and_queue_failures(on_aws: Template):
    assert grants(on_aws, "SchedulerRole") == SCHEDULES


@pytest.mark.parametrize("function", sorted(PERMISSIONS))
def test_functions_that_call_the_supplier_may_join_a_vpc(in_vpc: Template, function: str):
    connected = CONNECTED if function in CALLING_THE_SUPPLIER else set()
    assert grants(in_vpc, role_of(in_vpc, function)) == PERMISSIONS[function] | connected


@pytest.mark.parametrize("function", sorted(CALLING_THE_SUPPLIER))
def test_code_may_not_use_the_vpc_permissions_of_lambda(in_vpc: Template, function: str):
    (body,) = (s.body for s in statements(in_vpc) if s.holder == role_of(in_vpc, function) and not s.allows)
    assert {f"{action} on {body['Resource']}" for action in body["Action"]} == CONNECTED
    functions_of_this_stack = (
        "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-*"
    )
    assert body["Condition"] == {"ArnLike": {"lambda:SourceFunctionArn": {"Fn::Sub": functions_of_this_stack}}}


def test_deployment_may_move_aliases_and_read_alarms(on_aws: Template):
    of_functions = {of for name in functions(on_aws) for of in (name, f"{name}Aliaslive")}
    moving = {f"{action} on {of}" for action in MOVING_AN_ALIAS for of in of_functions}
    assert grants(on_aws, "DeploymentRole") == {*moving, "cloudwatch:DescribeAlarms on *"}


def test_every_role_has_the_permissions_boundary(in_vpc: Template, on_aws: Template):
    for role in resources(in_vpc, "AWS::IAM::Role"):
        assert properties(in_vpc, role).get("PermissionsBoundary") == ref("PermissionsBoundaryArn"), role
        assert "PermissionsBoundary" not in properties(on_aws, role)


def test_every_function_has_its_own_role(on_aws: Template):
    roles = [role_of(on_aws, function) for function in sorted(functions(on_aws))]
    assert len(set(roles)) == len(roles) == len(PERMISSIONS)


def test_there_are_no_other_roles(on_aws: Template):
    of_functions = {role_of(on_aws, function) for function in functions(on_aws)}
    assert set(resources(on_aws, "AWS::IAM::Role")) == of_functions | set(TRUSTED_SERVICES)
    assert not resources(on_aws, "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::User", "AWS::IAM::Group")


def test_every_statement_has_a_sid_actions_and_resources(on_aws: Template, in_vpc: Template):
    assert not loose_statements(on_aws)
    assert not loose_statements(in_vpc)


def test_sids_of_a_policy_are_unique(on_aws: Template):
    names = [statement.name for statement in statements(on_aws)]
    assert len(set(names)) == len(names), f"duplicate Sid in {sorted(names)}"


@pytest.mark.parametrize("exceptions", [EVERY_RESOURCE, EVERY_ACTION], ids=["every resource", "every action"])
def test_every_exception_is_still_needed(in_vpc: Template, exceptions: dict[str, str]):
    gone = set(exceptions) - {statement.name for statement in statements(in_vpc)}
    assert not gone, f"delete the exceptions of statements that no longer exist: {sorted(gone)}"


def test_every_prefix_is_of_this_stack_and_needed(on_aws: Template):
    used = {grant.split(" on ")[1] for role in resources(on_aws, "AWS::IAM::Role") for grant in grants(on_aws, role)}
    assert set(PREFIXES) <= used
    # The written name: a reference from a function's role to the workflow would be a cycle.
    workflow = properties(on_aws, "FulfilOrderStateMachine")["StateMachineName"]["Fn::Sub"]
    assert [prefix.split(":execution:")[1] for prefix, _ in PREFIXES.values()] == [f"{workflow}:*"]


def test_no_managed_policy_is_attached(template: Template):
    assert not borrowed_policies(template)


def test_sam_attaches_no_policy(on_aws: Template):
    attached = {
        name for name, role in resources(on_aws, "AWS::IAM::Role").items() if "ManagedPolicyArns" in role["Properties"]
    }
    assert not attached, f"replace the managed policies of {sorted(attached)} by statements"


def test_every_role_is_assumed_by_one_service(on_aws: Template):
    assert not lenient_trust(on_aws, TRUSTED_SERVICES)


def every_action(template: Template) -> None:
    statement_of(template, "CheckStatusFunction", 0)["Action"] = "secretsmanager:*"


def every_resource(template: Template) -> None:
    statement_of(template, "CheckStatusFunction", 0)["Resource"] = "*"


def prefix_of_a_resource(template: Template) -> None:
    statement_of(template, "RevealCardsFunction", 0)["Resource"] = {"Fn::Sub": "${CardTable.Arn}/*"}


def index_that_is_not_there(template: Template) -> None:
    statement_of(template, "SweepOrdersFunction", 0)["Resource"] = {"Fn::Sub": "${CardTable.Arn}/index/orders"}


def executions_of_any_machine(template: Template) -> None:
    any_machine = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:execution:*"
    statement_of(template, "SweepOrdersFunction", 2)["Resource"] = {"Fn::Sub": any_machine}


def name_instead_of_arn(template: Template) -> None:
    statement_of(template, "RevealCardsFunction", 0)["Resource"] = ref("CardTable")


def all_but_some_actions(template: Template) -> None:
    statement = statement_of(template, "RevealCardsFunction", 0)
    statement["NotAction"] = statement.pop("Action")


def no_purpose(template: Template) -> None:
    del statement_of(template, "RevealCardsFunction", 0)["Sid"]


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (every_action, "name the actions"),
        (every_resource, "is not the ARN of one resource"),
        (prefix_of_a_resource, "is not the ARN of one resource"),
        (index_that_is_not_there, "is not the ARN of one resource"),
        (executions_of_any_machine, "is not the ARN of one resource"),
        (name_instead_of_arn, "is not the ARN of one resource"),
        (all_but_some_actions, "NotAction"),
        (no_purpose, "a Sid"),
    ],
)
def test_loose_statement_is_detected(template: Template, break_it: Callable[[Template], None], complaint: str):
    break_it(template)
    assert any(complaint in found for found in loose_statements(deploy(template, on_aws=True)))


def test_added_permission_is_detected(template: Template):
    statement_of(template, "CheckStatusFunction", 1)["Action"].append("dynamodb:DeleteItem")
    deployed = deploy(template, on_aws=True)
    assert "dynamodb:DeleteItem on GateTable" in grants(deployed, role_of(deployed, "CheckStatusFunction"))


@pytest.mark.parametrize("policy", ["AWSLambdaExecute", {"DynamoDBCrudPolicy": {"TableName": ref("CardTable")}}])
def test_managed_policy_is_detected(template: Template, policy: Any):
    properties(template, "CheckStatusFunction")["Policies"] = [policy]
    assert borrowed_policies(template)


def test_role_that_any_principal_may_assume_is_detected(template: Template):
    trust = properties(template, "OrderPlacedRuleRole")["AssumeRolePolicyDocument"]["Statement"][0]
    trust["Principal"] = {"AWS": "*"}
    assert lenient_trust(deploy(template, on_aws=True), TRUSTED_SERVICES)
