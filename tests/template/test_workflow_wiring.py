"""The workflow's role, and the rule that starts it. The local cloud does not enforce the role of either."""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from template.permissions import grants, statements
from template.reading import Template, deploy, get_att, load_workflow, properties, ref, resources

MACHINE = "FulfilOrderStateMachine"
ROLE = "FulfilOrderRole"

# Permissions of the role that no task needs: statement, and its actions.
INFRASTRUCTURE = {
    "EncryptHistory": {"kms:GenerateDataKey", "kms:Decrypt"},
    "EncryptLogsForDelivery": {"kms:GenerateDataKey"},
    "DeliverLogs": {
        "logs:CreateLogDelivery",
        "logs:GetLogDelivery",
        "logs:UpdateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
    },
    "SendTraces": {
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
        "xray:GetSamplingRules",
        "xray:GetSamplingTargets",
    },
}

# By service integration: its action, and the argument that names the resource.
INTEGRATIONS: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "arn:${Partition}:states:::dynamodb:putItem": ("dynamodb:PutItem", lambda arguments: [arguments["TableName"]]),
    "arn:${Partition}:states:::dynamodb:getItem": ("dynamodb:GetItem", lambda arguments: [arguments["TableName"]]),
    "arn:${Partition}:states:::dynamodb:updateItem": (
        "dynamodb:UpdateItem",
        lambda arguments: [arguments["TableName"]],
    ),
    "arn:${Partition}:states:::sqs:sendMessage": ("sqs:SendMessage", lambda arguments: [arguments["QueueUrl"]]),
    "arn:${Partition}:states:::lambda:invoke": ("lambda:InvokeFunction", lambda arguments: [arguments["FunctionName"]]),
    "arn:${Partition}:states:::events:putEvents": (
        "events:PutEvents",
        lambda arguments: [entry["EventBusName"] for entry in arguments["Entries"]],
    ),
}


def tasks(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every Task, also inside Map and Parallel."""
    for name, state in machine["States"].items():
        if state["Type"] == "Task":
            yield name, state
        for inner in (*state.get("Branches", []), *filter(None, [state.get("ItemProcessor")])):
            yield from tasks(inner)


def needs(task: dict[str, Any], substitutions: dict[str, Any]) -> set[str]:
    """Return the permission that a Task needs, as ``action on resource``."""
    assert task["Resource"] in INTEGRATIONS, f"add the action of {task['Resource']} to INTEGRATIONS"
    action, named_by = INTEGRATIONS[task["Resource"]]
    needed = set()
    for argument in named_by(task["Arguments"]):
        placeholder = re.fullmatch(r"\$\{(\w+)\}", argument)
        assert placeholder, f"{argument}: name the resource by a substitution, so that the role can name the same"
        needed.add(f"{action} on {substitutions[placeholder[1]]['Ref']}")
    return needed


def superfluous(template: Template) -> set[str]:
    """Return what the role allows beyond what the tasks and the infrastructure statements need."""
    substitutions = properties(template, MACHINE)["DefinitionSubstitutions"]
    needed = {need for _, task in tasks(load_workflow()) for need in needs(task, substitutions)}
    for_tasks = copy.deepcopy(template)
    for policy in properties(for_tasks, ROLE)["Policies"]:
        document = policy["PolicyDocument"]
        document["Statement"] = [kept for kept in document["Statement"] if kept.get("Sid") not in INFRASTRUCTURE]
    return grants(for_tasks, ROLE) - needed


@pytest.mark.parametrize("state", sorted(name for name, _ in tasks(load_workflow())))
def test_role_allows_the_task(on_aws: Template, state: str):
    needed = needs(dict(tasks(load_workflow()))[state], properties(on_aws, MACHINE)["DefinitionSubstitutions"])
    missing = needed - grants(on_aws, ROLE)
    assert not missing, f"{state} would be denied: allow {ROLE} {sorted(missing)}"


def test_role_allows_only_what_a_task_needs(on_aws: Template):
    found = superfluous(on_aws)
    assert not found, f"no task needs this, remove it from {ROLE}: {sorted(found)}"


def test_other_permissions_of_the_role_are_listed(on_aws: Template):
    sids = {s.body["Sid"]: set(s.actions) for s in statements(on_aws) if s.holder == ROLE}
    listed = {sid: actions for sid, actions in sids.items() if sid in INFRASTRUCTURE}
    assert listed == {sid: actions for sid, actions in INFRASTRUCTURE.items() if sid in listed}
    on_storage_key = {grant for grant in grants(on_aws, ROLE) if grant.startswith("kms:")}
    assert on_storage_key == {"kms:GenerateDataKey on StorageKey", "kms:Decrypt on StorageKey"}


def test_role_may_encrypt_delivered_logs(on_aws: Template):
    """Log delivery of a workflow with a customer key has a separate encryption context, as in the AWS CDK."""
    conditions = [
        statement.body.get("Condition", {}).get("StringEquals", {})
        for statement in statements(on_aws)
        if statement.holder == ROLE and "kms:GenerateDataKey" in statement.actions
    ]
    assert any("kms:EncryptionContext:SourceArn" in condition for condition in conditions), (
        f"on AWS no log would arrive; allow {ROLE} kms:GenerateDataKey on StorageKey in a separate statement, "
        "EncryptLogsForDelivery, with StringEquals kms:EncryptionContext:SourceArn = "
        "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:* under OnAws"
    )


def test_history_is_encrypted_for_this_machine_only(on_aws: Template):
    own = next(s.body for s in statements(on_aws) if s.name == f"{ROLE}.EncryptHistory")
    machine_arn = own["Condition"]["StringEquals"]["kms:EncryptionContext:aws:states:stateMachineArn"]["Fn::Sub"]
    assert machine_arn.endswith(":stateMachine:" + properties(on_aws, MACHINE)["StateMachineName"]["Fn::Sub"])


def test_every_placeholder_has_a_used_substitution(template: Template):
    text = str(load_workflow())
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(properties(template, MACHINE)["DefinitionSubstitutions"])


def test_functions_are_invoked_by_alias(template: Template):
    substitutions = properties(template, MACHINE)["DefinitionSubstitutions"]
    for name, value in substitutions.items():
        if name.endswith("FunctionArn"):
            assert value == ref(f"{name.removesuffix('Arn')}.Alias"), f"{name}: a deployment changes running orders"


def test_machine_is_standard_traced_and_encrypted(template: Template):
    machine = properties(template, MACHINE)
    assert machine["StateMachineType"] == "STANDARD"
    assert machine["TracingConfiguration"] == {"Enabled": True}
    assert machine["EncryptionConfiguration"]["Type"] == "CUSTOMER_MANAGED_KMS_KEY"
    assert machine["EncryptionConfiguration"]["KmsKeyId"] == get_att("StorageKey")
    assert machine["RoleArn"] == get_att(ROLE)
    assert machine["DefinitionS3Location"] == "statemachine/fulfil_order.asl.json"


def test_machine_logs_without_execution_data(template: Template):
    logging = properties(template, MACHINE)["LoggingConfiguration"]
    assert logging["IncludeExecutionData"] is False
    assert logging["Level"] in {"ERROR", "ALL"}
    assert logging["Destinations"] == [{"CloudWatchLogsLogGroup": {"LogGroupArn": get_att("FulfilOrderLogGroup")}}]


def test_workflow_log_group_needs_no_resource_policy(template: Template):
    # With other names, log delivery adds to the account's resource policies, which are limited to 10 per region.
    name = properties(template, "FulfilOrderLogGroup")["LogGroupName"]["Fn::Sub"]
    assert name == "/aws/vendedlogs/states/" + properties(template, MACHINE)["StateMachineName"]["Fn::Sub"]


# The rule that starts it.


def test_every_order_placed_event_on_the_bus_starts_the_workflow(template: Template):
    rule = properties(template, "OrderPlacedRule")
    assert rule["EventPattern"] == {"detail-type": ["OrderPlaced"]}
    assert rule["EventBusName"] == ref("OrderBus")
    assert rule.get("State", "ENABLED") == "ENABLED"
    (target,) = rule["Targets"]
    assert target["Arn"] == ref(MACHINE)
    assert target["RoleArn"] == get_att("OrderPlacedRuleRole")
    assert not {"Input", "InputPath", "InputTransformer"} & set(target), "the workflow reads the whole event"


def test_rule_may_only_start_this_workflow(on_aws: Template):
    assert grants(on_aws, "OrderPlacedRuleRole") == {f"states:StartExecution on {MACHINE}"}


REPLACED_BY_THE_NEXT_RUN = "MeasureOrdersSchedule"
"""A lost run loses nothing, and MeasurementsMissingAlarm fires if there are none."""


def targets_that_lose_events(template: Template) -> list[str]:
    """Return a problem for each asynchronous target without a dead-letter queue."""
    found = []
    queues = resources(template, "AWS::SQS::Queue")
    rules = resources(template, "AWS::Events::Rule")
    targets = {f"{name}.{target['Id']}": target for name in rules for target in properties(template, name)["Targets"]}
    schedules = resources(template, "AWS::Scheduler::Schedule")
    targets |= {name: schedule["Properties"]["Target"] for name, schedule in schedules.items()}
    for name, target in targets.items():
        if name == REPLACED_BY_THE_NEXT_RUN:
            continue
        queue = target.get("DeadLetterConfig", {}).get("Arn", {}).get("Fn::GetAtt", [None])[0]
        if queue not in queues:
            found.append(f"{name}: add a DeadLetterConfig with a queue of this stack")
        if "RetryPolicy" not in target:
            found.append(f"{name}: add a RetryPolicy")
    asynchronous = (
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Pipes::Pipe",
        "AWS::SNS::Subscription",
    )
    for name, resource in resources(template, *asynchronous).items():
        if resource["Properties"].get("FunctionName") == ref("MeasureOrdersFunction"):
            continue
        if not any(word in str(resource["Properties"]) for word in ("DeadLetter", "deadLetter", "OnFailure")):
            found.append(f"{name}: add a dead-letter queue or an OnFailure destination")
    return found


def test_every_asynchronous_target_has_a_dead_letter_queue(on_aws: Template):
    assert not targets_that_lose_events(on_aws)


def test_event_is_retried_for_a_day_before_the_queue(template: Template):
    (target,) = properties(template, "OrderPlacedRule")["Targets"]
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185}


def test_queue_is_encrypted_and_keeps_events_for_two_weeks(template: Template):
    for name, queue in resources(template, "AWS::SQS::Queue").items():
        held = queue["Properties"]
        assert held.get("SqsManagedSseEnabled") is True or "KmsMasterKeyId" in held, f"{name}: encrypt it"
        assert held["MessageRetentionPeriod"] == 14 * 86_400, f"{name}: keep messages for two weeks, the maximum of SQS"


SENDERS = {  # by queue, the rules that have it as their dead-letter queue
    "OrderPlacedDeadLetterQueue": get_att("OrderPlacedRule"),
    "WebhookDeadLetterQueue": get_att("WebhookRule"),
    "FunctionsDeadLetterQueue": [
        *(get_att("NeedsAPersonRule"), get_att("CountedEventsRule")),
        *(get_att("RecipientSetRule"), get_att("DeliveredRule"), get_att("MailStatusRule")),
    ],
}


def strangers_at_the_queue(template: Template) -> list[str]:
    """Return a problem for each statement that lets anyone except its rules send to a queue."""
    allowed = [
        ({"Service": "events.amazonaws.com"}, ["sqs:SendMessage"], [get_att(queue)], rules)
        for queue, rules in SENDERS.items()
    ]
    found = []
    for statement in statements(template):
        if statement.holder not in resources(template, "AWS::SQS::QueuePolicy") or not statement.allows:
            continue
        source = statement.body.get("Condition", {}).get("ArnEquals", {}).get("aws:SourceArn")
        if (statement.body["Principal"], statement.actions, statement.resources, source) not in allowed:
            found.append(f"{statement.name}: only the rules of a queue may send to it")
    return found


def test_only_its_rules_may_send_to_a_queue(on_aws: Template):
    assert resources(on_aws, "AWS::SQS::QueuePolicy"), "without a policy the rule cannot send to its queue"
    assert not strangers_at_the_queue(on_aws)


# Each check above must detect a broken template.


def role_statements(template: Template) -> list[dict[str, Any]]:
    return properties(template, ROLE)["Policies"][0]["PolicyDocument"]["Statement"]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_forbidden_task_is_detected(template: Template, position: int):
    del role_statements(template)[position]
    deployed = deploy(template, on_aws=True)
    substitutions = properties(deployed, MACHINE)["DefinitionSubstitutions"]
    denied = [name for name, task in tasks(load_workflow()) if needs(task, substitutions) - grants(deployed, ROLE)]
    assert denied


def test_task_without_alias_is_detected(template: Template):
    role_statements(template)[1]["Resource"][0] = get_att("CheckStatusFunction")
    assert superfluous(deploy(template, on_aws=True))


def test_superfluous_permission_is_detected(template: Template):
    role_statements(template)[0]["Action"].append("dynamodb:DeleteItem")
    assert superfluous(deploy(template, on_aws=True)) == {"dynamodb:DeleteItem on CardTable"}


@pytest.mark.parametrize("lost", ["DeadLetterConfig", "RetryPolicy"])
def test_target_that_loses_events_is_detected(template: Template, lost: str):
    del properties(template, "OrderPlacedRule")["Targets"][0][lost]
    assert targets_that_lose_events(template)


@pytest.mark.parametrize("lost", ["DeadLetterConfig", "RetryPolicy"])
def test_schedule_that_loses_runs_is_detected(template: Template, lost: str):
    del properties(template, "SweepOrdersSchedule")["Target"][lost]
    assert targets_that_lose_events(template)


def test_foreign_sender_is_detected(template: Template):
    del properties(template, "OrderPlacedDeadLetterQueuePolicy")["PolicyDocument"]["Statement"][0]["Condition"]
    assert strangers_at_the_queue(deploy(template, on_aws=True))
