"""Least privilege: one role for each function, named actions, named resources. The tables below are the whole of it."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

import rows
from giftcards.adapters.order_table import ORDER_ATTRIBUTES, OrderTable
from giftcards.contracts.events import OUTGOING_EVENTS, OrderPlaced
from giftcards.rules.orders import Order
from giftcards.use_cases import sweep_orders
from template.permissions import (
    EVERY_ACTION,
    EVERY_RESOURCE,
    PREFIXES,
    borrowed_policies,
    grants,
    holders,
    lenient_trust,
    loose_statements,
    role_of,
    statements,
)
from template.reading import Template, deploy, get_att, load, load_workflow, properties, ref, resources
from template.test_deployment_files import STACKS

WATCHED = {
    "xray:PutTraceSegments on *",
    "xray:PutTelemetryRecords on *",
}
PERMISSIONS = {
    "CheckStatusFunction": {
        "secretsmanager:GetSecretValue on SupplierApiKeySecret",
        "dynamodb:GetItem on GateTable",
        "dynamodb:UpdateItem on GateTable",
        "logs:CreateLogStream on CheckStatusLogGroup",
        "logs:PutLogEvents on CheckStatusLogGroup",
        *WATCHED,
    },
    "DeliverCardsFunction": {
        "secretsmanager:GetSecretValue on SupplierApiKeySecret",
        "dynamodb:GetItem on GateTable",
        "dynamodb:UpdateItem on GateTable",
        "dynamodb:GetItem on CardTable",
        "dynamodb:PutItem on CardTable",
        "dynamodb:UpdateItem on CardTable",
        "dynamodb:ConditionCheckItem on CardTable",
        "kms:GenerateDataKey on CardKey",
        "events:PutEvents on OrderBus",
        "logs:CreateLogStream on DeliverCardsLogGroup",
        "logs:PutLogEvents on DeliverCardsLogGroup",
        *WATCHED,
    },
    "RevealCardsFunction": {
        "dynamodb:GetItem on CardTable",
        "dynamodb:Query on CardTable",
        "dynamodb:PutItem on AuditTable",
        "kms:Decrypt on CardKey",
        "logs:CreateLogStream on RevealCardsLogGroup",
        "logs:PutLogEvents on RevealCardsLogGroup",
        *WATCHED,
    },
    "SweepOrdersFunction": {
        "dynamodb:Query on CardTable/index/open-orders",
        "dynamodb:UpdateItem on CardTable",
        "states:DescribeExecution on executions of FulfilOrderStateMachine",
        "events:PutEvents on OrderBus",
        "sqs:SendMessage on FunctionsDeadLetterQueue",
        "logs:CreateLogStream on SweepOrdersLogGroup",
        "logs:PutLogEvents on SweepOrdersLogGroup",
        *WATCHED,
    },
    "ReconcileOrdersFunction": {
        "secretsmanager:GetSecretValue on SupplierApiKeySecret",
        "dynamodb:GetItem on GateTable",
        "dynamodb:UpdateItem on GateTable",
        "dynamodb:BatchGetItem on CardTable",
        "dynamodb:GetItem on DifferenceTable",
        "dynamodb:PutItem on DifferenceTable",
        "events:PutEvents on OrderBus",
        "sqs:SendMessage on FunctionsDeadLetterQueue",
        "logs:CreateLogStream on ReconcileOrdersLogGroup",
        "logs:PutLogEvents on ReconcileOrdersLogGroup",
        *WATCHED,
    },
    "CountEventsFunction": {
        "sqs:SendMessage on FunctionsDeadLetterQueue",
        "logs:CreateLogStream on CountEventsLogGroup",
        "logs:PutLogEvents on CountEventsLogGroup",
        *WATCHED,
    },
    "MeasureOrdersFunction": {
        "dynamodb:Query on CardTable/index/open-orders",
        "dynamodb:GetItem on GateTable",
        "secretsmanager:DescribeSecret on SupplierApiKeySecret",
        "logs:CreateLogStream on MeasureOrdersLogGroup",
        "logs:PutLogEvents on MeasureOrdersLogGroup",
        *WATCHED,
    },
}
SCHEDULES = {
    "lambda:InvokeFunction on MeasureOrdersFunctionAliaslive",
    "lambda:InvokeFunction on SweepOrdersFunctionAliaslive",
    "lambda:InvokeFunction on ReconcileOrdersFunctionAliaslive",
    "sqs:SendMessage on FunctionsDeadLetterQueue",
}
CALLING_THE_SUPPLIER = {"CheckStatusFunction", "DeliverCardsFunction", "ReconcileOrdersFunction"}
CONNECTED = {
    "ec2:CreateNetworkInterface on *",
    "ec2:DescribeNetworkInterfaces on *",
    "ec2:DescribeSubnets on *",
    "ec2:DeleteNetworkInterface on *",
    "ec2:AssignPrivateIpAddresses on *",
    "ec2:UnassignPrivateIpAddresses on *",
}
DATA_KEYS = {
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateDataKeyPair",
    "kms:GenerateDataKeyPairWithoutPlaintext",
}
MOVING_AN_ALIAS = {"lambda:GetAlias", "lambda:UpdateAlias", "lambda:GetProvisionedConcurrencyConfig"}
TRUSTED_SERVICES = {
    "DeploymentRole": "codedeploy.amazonaws.com",
    "FulfilOrderRole": "states.amazonaws.com",
    "OrderPlacedRuleRole": "events.amazonaws.com",
    "SchedulerRole": "scheduler.amazonaws.com",
}
READS = {"GetItem", "BatchGetItem", "Query", "Scan", "DescribeTable"}


def functions(template: Template) -> set[str]:
    return set(resources(template, "AWS::Serverless::Function", "AWS::Lambda::Function"))


@pytest.mark.parametrize("function", sorted(functions(load()) | set(PERMISSIONS)))
def test_function_may_do_exactly_this(on_aws: Template, function: str):
    assert function in PERMISSIONS, f"write down in PERMISSIONS what {function} may do, and nothing more"
    assert grants(on_aws, role_of(on_aws, function)) == PERMISSIONS[function], (
        f"{function} may do something else than PERMISSIONS says: change the one that is wrong, and docs/security.md"
    )


def test_the_schedules_may_start_their_functions_and_keep_what_fails(on_aws: Template):
    assert grants(on_aws, "SchedulerRole") == SCHEDULES


@pytest.mark.parametrize("function", sorted(PERMISSIONS))
def test_lambda_may_connect_those_who_call_the_supplier_to_a_vpc(in_vpc: Template, function: str):
    connected = CONNECTED if function in CALLING_THE_SUPPLIER else set()
    assert grants(in_vpc, role_of(in_vpc, function)) == PERMISSIONS[function] | connected


@pytest.mark.parametrize("function", sorted(CALLING_THE_SUPPLIER))
def test_code_in_a_vpc_may_not_do_what_lambda_may(in_vpc: Template, function: str):
    (body,) = (s.body for s in statements(in_vpc) if s.holder == role_of(in_vpc, function) and not s.allows)
    assert {f"{action} on {body['Resource']}" for action in body["Action"]} == CONNECTED
    functions_of_this_stack = (
        "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-*"
    )
    assert body["Condition"] == {"ArnLike": {"lambda:SourceFunctionArn": {"Fn::Sub": functions_of_this_stack}}}


def test_a_deployment_may_move_the_aliases_of_this_stack_and_look_at_alarms(on_aws: Template):
    of_functions = {of for name in functions(on_aws) for of in (name, f"{name}Aliaslive")}
    moving = {f"{action} on {of}" for action in MOVING_AN_ALIAS for of in of_functions}
    assert grants(on_aws, "DeploymentRole") == {*moving, "cloudwatch:DescribeAlarms on *"}


def test_every_role_takes_the_permissions_boundary(in_vpc: Template, on_aws: Template):
    for role in resources(in_vpc, "AWS::IAM::Role"):
        assert properties(in_vpc, role).get("PermissionsBoundary") == ref("PermissionsBoundaryArn"), role
        assert "PermissionsBoundary" not in properties(on_aws, role)


def test_every_function_has_a_role_of_its_own(on_aws: Template):
    roles = [role_of(on_aws, function) for function in sorted(functions(on_aws))]
    assert len(set(roles)) == len(roles) == len(PERMISSIONS)


def test_there_are_no_other_roles(on_aws: Template):
    of_functions = {role_of(on_aws, function) for function in functions(on_aws)}
    assert set(resources(on_aws, "AWS::IAM::Role")) == of_functions | set(TRUSTED_SERVICES)
    assert not resources(on_aws, "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::User", "AWS::IAM::Group")


def test_every_statement_names_its_purpose_its_actions_and_its_resources(on_aws: Template, in_vpc: Template):
    assert not loose_statements(on_aws)
    assert not loose_statements(in_vpc)


def test_every_statement_of_a_policy_has_a_sid_of_its_own(on_aws: Template):
    names = [statement.name for statement in statements(on_aws)]
    assert len(set(names)) == len(names), f"two statements with one Sid among {sorted(names)}"


@pytest.mark.parametrize("exceptions", [EVERY_RESOURCE, EVERY_ACTION], ids=["every resource", "every action"])
def test_every_exception_is_still_needed(in_vpc: Template, exceptions: dict[str, str]):
    gone = set(exceptions) - {statement.name for statement in statements(in_vpc)}
    assert not gone, f"there is no such statement any more, delete its exception: {sorted(gone)}"


def test_every_prefix_is_of_this_stack_and_is_needed(on_aws: Template):
    used = {grant.split(" on ")[1] for role in resources(on_aws, "AWS::IAM::Role") for grant in grants(on_aws, role)}
    assert set(PREFIXES) <= used
    # The name as it is written, because a reference to the workflow from a role of a function makes a cycle.
    workflow = properties(on_aws, "FulfilOrderStateMachine")["StateMachineName"]["Fn::Sub"]
    assert [prefix.split(":execution:")[1] for prefix, _ in PREFIXES.values()] == [f"{workflow}:*"]


def test_no_policy_is_borrowed(template: Template):
    assert not borrowed_policies(template)


def test_sam_attaches_nothing(on_aws: Template):
    attached = {
        name for name, role in resources(on_aws, "AWS::IAM::Role").items() if "ManagedPolicyArns" in role["Properties"]
    }
    assert not attached, f"give {sorted(attached)} statements of their own instead of managed policies"


def test_every_role_is_assumed_by_one_service_only(on_aws: Template):
    assert not lenient_trust(on_aws, TRUSTED_SERVICES)


def test_only_reveal_cards_opens_an_envelope(on_aws: Template):
    assert holders(on_aws, "kms:Decrypt", "CardKey") == {role_of(on_aws, "RevealCardsFunction")}


def test_only_deliver_cards_makes_a_data_key(on_aws: Template):
    assert holders(on_aws, "kms:GenerateDataKey", "CardKey") == {role_of(on_aws, "DeliverCardsFunction")}


def test_nobody_does_anything_else_with_the_card_key(on_aws: Template):
    every = {grant for role in resources(on_aws, "AWS::IAM::Role") for grant in grants(on_aws, role)}
    assert {grant for grant in every if grant.endswith(" on CardKey")} == {
        "kms:Decrypt on CardKey",
        "kms:GenerateDataKey on CardKey",
    }


def test_card_key_policy_admits_nobody_but_the_account(on_aws: Template):
    principals = [
        s["Principal"] for s in properties(on_aws, "CardKey")["KeyPolicy"]["Statement"] if s["Effect"] == "Allow"
    ]
    assert principals == [{"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}]


def test_sweep_orders_reads_orders_and_no_cards(on_aws: Template):
    reads = {
        g for g in grants(on_aws, role_of(on_aws, "SweepOrdersFunction")) if g.split(" ")[0].split(":")[1] in READS
    }
    assert reads == {"dynamodb:Query on CardTable/index/open-orders"}


def test_reconcile_orders_reads_orders_by_their_attributes_and_nothing_else_of_the_cards(on_aws: Template):
    role = role_of(on_aws, "ReconcileOrdersFunction")
    assert {grant for grant in grants(on_aws, role) if "CardTable" in grant} == {"dynamodb:BatchGetItem on CardTable"}
    (body,) = (s.body for s in statements(on_aws) if s.name == f"{role}.ReadOrdersWithoutCards")
    # DynamoDB counts keys and projected attributes; asking for all of them is a Select of its own.
    assert body["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:Attributes": ["pk", "sk", *ORDER_ATTRIBUTES]},
        "StringEqualsIfExists": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
    }


@pytest.mark.parametrize("resource", ["CardTable", "AuditTable", "CardKey"])
def test_check_status_has_no_way_to_a_card(on_aws: Template, resource: str):
    reached = {grant for grant in grants(on_aws, role_of(on_aws, "CheckStatusFunction")) if resource in grant}
    assert not reached


def test_reveal_cards_cannot_write_to_the_cards(on_aws: Template):
    on_cards = {g for g in grants(on_aws, role_of(on_aws, "RevealCardsFunction")) if g.endswith(" on CardTable")}
    assert {grant.split(":")[1].split(" ")[0] for grant in on_cards} <= READS


def test_reveal_cards_only_adds_to_the_audit(on_aws: Template):
    of_audit = {g for g in grants(on_aws, role_of(on_aws, "RevealCardsFunction")) if g.endswith(" on AuditTable")}
    assert of_audit == {"dynamodb:PutItem on AuditTable"}


def test_only_those_who_ask_the_supplier_have_its_key(on_aws: Template):
    readers = holders(on_aws, "secretsmanager:GetSecretValue", "SupplierApiKeySecret")
    assert readers == {role_of(on_aws, function) for function in CALLING_THE_SUPPLIER}


@pytest.mark.parametrize("function", sorted(PERMISSIONS))
def test_permissions_on_the_local_cloud_are_those_on_aws(on_local_cloud: Template, function: str):
    assert grants(on_local_cloud, role_of(on_local_cloud, function)) == PERMISSIONS[function]


@pytest.mark.parametrize(
    ("function", "sid"),
    [
        ("DeliverCardsFunction", "EncryptCards"),
        ("RevealCardsFunction", "DecryptCards"),
    ],
)
def test_card_key_is_used_for_one_order_and_its_user(on_aws: Template, function: str, sid: str):
    bodies = {s.name: s.body for s in statements(on_aws)}
    condition = bodies[f"{role_of(on_aws, function)}.{sid}"]["Condition"]
    assert condition["Null"] == {"kms:EncryptionContext:orderId": "false", "kms:EncryptionContext:userId": "false"}


PUBLISHES = {
    "FulfilOrderRole": ("giftcards", {"OrderDelayed", "OrderDisputed", "OrderHeld", "OrderRepeated"}),
    "DeliverCardsRole": ("giftcards", {"CardsDelivered", "CardsPartiallyDelivered", "OrderRefunded"}),
    "SweepOrdersRole": ("giftcards.sweeper", {"OrderPlaced"}),
    "ReconcileOrdersRole": ("giftcards", {"OrderMismatch", "OrderOverdue", "OrderUnclaimed"}),
}


def test_each_role_publishes_its_own_events_and_only_sweep_orders_an_order_placed(on_aws: Template):
    found = {}
    for statement in statements(on_aws):
        if "events:PutEvents" in statement.actions:
            assert list(statement.body["Condition"]) == ["StringEquals"]
            bound = statement.body["Condition"]["StringEquals"]
            assert set(bound) == {"events:source", "events:detail-type"}
            found[statement.holder] = (bound["events:source"], set(bound["events:detail-type"]))
    assert found == PUBLISHES


def test_every_event_that_goes_out_is_published_by_one_role():
    published = [name for _, names in PUBLISHES.values() for name in names]
    assert sorted(published) == sorted([event.detail_type for event in OUTGOING_EVENTS] + [OrderPlaced.detail_type])
    assert PUBLISHES["SweepOrdersRole"][0] == sweep_orders.SOURCE


def test_the_workflow_may_publish_what_its_states_do(on_aws: Template):
    states = load_workflow()["States"].values()
    entries = [entry for state in states for entry in state.get("Arguments", {}).get("Entries", [])]
    assert {entry["DetailType"] for entry in entries} == PUBLISHES["FulfilOrderRole"][1]
    assert {entry["Source"] for entry in entries} == {PUBLISHES["FulfilOrderRole"][0]}


def attributes_of(request: Mapping[str, Any]) -> set[str]:
    """Give the attributes that a request to DynamoDB names anywhere."""
    names = request.get("ExpressionAttributeNames", {})
    found = set(request.get("Key", {}))
    item = request.get("Item", "")
    found |= set(re.findall(r"'(\w+)': \{'[SN]'", item)) if isinstance(item, str) else set(item)
    for kind in ("UpdateExpression", "ConditionExpression", "ProjectionExpression"):
        words = re.findall(r"(?<![:\w])#?[A-Za-z]\w*(?!\w*\()", request.get(kind, ""))
        found |= {names.get(word, word) for word in words} - {"SET", "REMOVE", "AND", "OR", "NOT", "IN"}
    return found


def allowed_attributes(template: Template, name: str) -> set[str]:
    (body,) = (s.body for s in statements(template) if s.name == name)
    return set(body["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"])


def test_the_workflow_may_name_the_attributes_that_its_states_name_and_no_others(on_aws: Template):
    states = load_workflow()["States"].values()
    named = set().union(*(attributes_of(s["Arguments"]) for s in states if ":dynamodb:" in s.get("Resource", "")))
    assert allowed_attributes(on_aws, "FulfilOrderRole.ClaimHoldAndResumeOrders") == named, (
        "template.yaml, ClaimHoldAndResumeOrders: list under dynamodb:Attributes what the workflow names, "
        "or AWS denies the state that names it"
    )
    assert "ciphertext" not in named


def test_sweep_orders_may_name_the_attributes_that_a_sweep_names_and_no_others(on_aws: Template):
    requests = []
    client = SimpleNamespace(update_item=lambda **request: requests.append(request))
    table = OrderTable("cards", client)  # type: ignore[arg-type]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for execution in ("arn:aws:states:eu-west-1:123456789012:execution:fulfil-order:1", None):
        order = Order.model_validate(rows.claimed(executionArn=execution))
        for sweep in (table.release, table.mark_swept):
            sweep(order, at=now, unless_since=now)
    assert {request.get("ReturnValues", "NONE") for request in requests} == {"NONE"}
    named = set().union(*map(attributes_of, requests))
    assert allowed_attributes(on_aws, "SweepOrdersRole.ReleaseOrders") == named, (
        "template.yaml, ReleaseOrders: list under dynamodb:Attributes what OrderTable.release and mark_swept name, "
        "or AWS denies every sweep"
    )


@pytest.mark.parametrize(
    ("sid", "denied", "role"),
    [
        ("OnlyRevealCardsDecrypts", {"kms:Decrypt", "kms:ReEncryptFrom", "kms:CreateGrant"}, "RevealCardsRole"),
        ("OnlyDeliverCardsEncrypts", {"kms:Encrypt", "kms:ReEncryptTo", *DATA_KEYS}, "DeliverCardsRole"),
    ],
)
def test_card_key_itself_denies_what_only_one_function_needs(
    on_aws: Template, on_local_cloud: Template, sid: str, denied: set[str], role: str
):
    (body,) = (s.body for s in statements(on_aws) if s.name == f"CardKey.{sid}")
    generated = f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/${{AWS::StackName}}-{role}-*"
    assert (body["Effect"], body["Principal"], set(body["Action"])) == ("Deny", {"AWS": "*"}, denied)
    assert body["Condition"] == {"ArnNotLike": {"aws:PrincipalArn": {"Fn::Sub": generated}}}
    assert "RoleName" not in properties(on_aws, role), "CloudFormation names it, by the stack and its logical id"
    others = {name for name in resources(on_aws, "AWS::IAM::Role") if name.startswith(role)}
    assert others == {role}, "another role's name would match too"
    assert f"CardKey.{sid}" not in {s.name for s in statements(on_local_cloud)}


def test_administrators_can_still_manage_the_card_key(on_aws: Template):
    # KMS refuses a policy after which nobody can change it (lock-out safety check).
    denied = {a for s in statements(on_aws) if s.holder == "CardKey" and not s.allows for a in s.actions}
    assert not {action for action in denied if "*" in action or "Policy" in action or "Key" in action} - DATA_KEYS


MAX_STACK_NAME_LENGTH = 27
MAX_ARCHIVE_NAME_LENGTH = 48


def test_no_generated_name_is_cut(on_aws: Template):
    # CloudFormation appends a hyphen and 12 characters, and cuts the stack's name where that makes more than 64
    # characters. The patterns of the policies (`<stack>-…`) then match nothing.
    generated = resources(on_aws, "AWS::IAM::Role") | resources(on_aws, "AWS::Serverless::Function")
    longest = max(len(name) for name in generated)
    assert MAX_STACK_NAME_LENGTH + len("-") + longest + len("-") + 12 <= 64


def test_stack_whose_names_would_be_cut_cannot_be_created(on_aws: Template):
    (archive,) = resources(on_aws, "AWS::Events::Archive").values()
    suffix = str(archive["Properties"]["ArchiveName"]["Fn::Sub"]).removeprefix("${AWS::StackName}")
    assert len(suffix) == MAX_ARCHIVE_NAME_LENGTH - MAX_STACK_NAME_LENGTH
    assert all(len(stack) <= MAX_STACK_NAME_LENGTH for stack in STACKS.values())


CALLERS = "arn:aws:iam::123456789012:role/shop,arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/operators*"


def test_reveal_cards_can_be_restricted_to_named_callers(template: Template):
    deployed = deploy(template, on_aws=True, RevealPrincipalArns=CALLERS)
    policies = resources(deployed, "AWS::Lambda::ResourcePolicy")
    guarded = {}
    for policy in policies.values():
        (body,) = policy["Properties"]["PolicyDocument"]["Statement"]
        assert (body["Effect"], body["Principal"], body["Action"]) == ("Deny", "*", "lambda:InvokeFunction")
        split = {"Fn::Split": [",", ref("RevealPrincipalArns")]}
        assert body["Condition"] == {"ArnNotLike": {"aws:PrincipalArn": split}}
        guarded[str(policy["Properties"]["ResourceArn"])] = body["Resource"]
    function, alias = get_att("RevealCardsFunction"), ref("RevealCardsFunctionAliaslive")
    assert guarded == {
        str(function): [function, {"Fn::Sub": "${RevealCardsFunction.Arn}:*"}],
        str(alias): alias,
    }


def test_permission_and_policy_of_a_function_do_not_clash(template: Template):
    deployed = deploy(template, on_aws=True, RevealPrincipalArns=CALLERS)
    permitted = {str(p["Properties"]["FunctionName"]) for p in resources(deployed, "AWS::Lambda::Permission").values()}
    assert not {name for name in permitted if "RevealCards" in name}


def test_reveal_cards_is_not_restricted_unless_asked_for(on_aws: Template, template: Template):
    assert not resources(on_aws, "AWS::Lambda::ResourcePolicy")
    local = deploy(template, on_aws=False, RevealPrincipalArns=CALLERS)
    assert not resources(local, "AWS::Lambda::ResourcePolicy"), "the local cloud does not know the type"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("none", True),
        (CALLERS, True),
        ("", False),
        ("*", False),
        ("arn:aws:iam::123456789012:role/shop,", False),
        ("arn:aws:iam::123456789012:role/shop, arn:aws:iam::123456789012:role/ops", False),
        ("arn:aws:sts::123456789012:assumed-role/shop/session", False),
        ("arn:aws:iam::123456789012:root", False),
    ],
)
def test_only_roles_and_users_can_be_named_as_callers(template: Template, given: str, taken: bool):
    pattern = template["Parameters"]["RevealPrincipalArns"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, given)) is taken


# The local cloud's IAM never matches these keys, so a statement with one of them would allow nothing there.
UNMATCHED_BY_THE_LOCAL_CLOUD = ("kms:encryptioncontext", "kms:viaservice", "events:", "dynamodb:")
PLAYED_BY_NOBODY_LOCALLY = {
    "StorageKey.LogGroupsOfThisStack": "It admits CloudWatch Logs, which the local cloud does not let encrypt.",
}


def unmatched_conditions(deployed_locally: Template) -> list[str]:
    return [
        f"{statement.name}: put the condition on {key} under !If [OnAws, ..., !Ref AWS::NoValue]"
        for statement in statements(deployed_locally)
        if statement.name not in PLAYED_BY_NOBODY_LOCALLY
        for keys in statement.body.get("Condition", {}).values()
        for key in keys
        if key.lower().startswith(UNMATCHED_BY_THE_LOCAL_CLOUD)
    ]


def test_conditions_that_the_local_cloud_never_matches_are_left_out_there(on_local_cloud: Template):
    assert not unmatched_conditions(on_local_cloud)


# Breaking the template: each check above has to notice.


def statement_of(template: Template, function: str, index: int) -> dict[str, Any]:
    return properties(template, role_of(template, function))["Policies"][0]["PolicyDocument"]["Statement"][index]


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
def test_a_loose_statement_is_found(template: Template, break_it: Callable[[Template], None], complaint: str):
    break_it(template)
    assert any(complaint in found for found in loose_statements(deploy(template, on_aws=True)))


def test_an_added_permission_is_found(template: Template):
    statement_of(template, "CheckStatusFunction", 1)["Action"].append("dynamodb:DeleteItem")
    deployed = deploy(template, on_aws=True)
    assert "dynamodb:DeleteItem on GateTable" in grants(deployed, role_of(deployed, "CheckStatusFunction"))


def test_a_second_reader_of_cards_is_found(template: Template):
    added = {"Sid": "Peek", "Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": get_att("CardKey")}
    properties(template, "FulfilOrderRole")["Policies"][0]["PolicyDocument"]["Statement"].append(added)
    assert "FulfilOrderRole" in holders(deploy(template, on_aws=True), "kms:Decrypt", "CardKey")


@pytest.mark.parametrize("policy", ["AWSLambdaExecute", {"DynamoDBCrudPolicy": {"TableName": ref("CardTable")}}])
def test_a_borrowed_policy_is_found(template: Template, policy: Any):
    properties(template, "CheckStatusFunction")["Policies"] = [policy]
    assert borrowed_policies(template)


def test_a_role_that_anybody_may_assume_is_found(template: Template):
    trust = properties(template, "OrderPlacedRuleRole")["AssumeRolePolicyDocument"]["Statement"][0]
    trust["Principal"] = {"AWS": "*"}
    assert lenient_trust(deploy(template, on_aws=True), TRUSTED_SERVICES)


def test_a_condition_that_denies_on_the_local_cloud_is_found(template: Template):
    statement = statement_of(template, "RevealCardsFunction", 2)
    statement["Condition"] = statement["Condition"]["Fn::If"][1]
    assert unmatched_conditions(deploy(template, on_aws=False))
