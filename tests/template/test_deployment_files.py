"""The files around the template: stages, the deploying role, the network, the workflows on GitHub."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import cfnlint.decode
import pytest
import yaml
from samcli.cli.types import CfnTags
from samcli.commands.deploy.command import cli as sam_deploy

from template.permissions import Statement, as_list, grants, statements
from template.reading import ROOT, Template, resources, stage_parameters, stage_settings

STACKS = {"dev": "giftcards-dev", "staging": "giftcards-staging", "prod": "giftcards"}
BUILT_FOR = ("PythonRuntime", "Architecture")
ON_GITHUB = ROOT / ".github/workflows"
CREATED_BY = {
    "AWS::ApiGatewayV2::Api": "apigateway:POST",
    "AWS::ApiGatewayV2::ApiMapping": "apigateway:POST",
    "AWS::ApiGatewayV2::DomainName": "apigateway:POST",
    "AWS::ApiGatewayV2::Integration": "apigateway:POST",
    "AWS::ApiGatewayV2::Route": "apigateway:POST",
    "AWS::ApiGatewayV2::Stage": "apigateway:POST",
    "AWS::CloudWatch::Alarm": "cloudwatch:PutMetricAlarm",
    "AWS::CloudWatch::Dashboard": "cloudwatch:PutDashboard",
    "AWS::CodeDeploy::Application": "codedeploy:CreateApplication",
    "AWS::CodeDeploy::DeploymentGroup": "codedeploy:CreateDeploymentGroup",
    "AWS::DynamoDB::Table": "dynamodb:CreateTable",
    "AWS::Events::ApiDestination": "events:CreateApiDestination",
    "AWS::Events::Archive": "events:CreateArchive",
    "AWS::Events::EventBus": "events:CreateEventBus",
    "AWS::Events::Rule": "events:PutRule",
    "AWS::IAM::Role": "iam:CreateRole",
    "AWS::Lambda::Alias": "lambda:CreateAlias",
    "AWS::Lambda::EventInvokeConfig": "lambda:PutFunctionEventInvokeConfig",
    "AWS::Lambda::Function": "lambda:CreateFunction",
    "AWS::Lambda::LayerVersion": "lambda:PublishLayerVersion",
    "AWS::Lambda::Permission": "lambda:AddPermission",
    "AWS::Lambda::Version": "lambda:PublishVersion",
    "AWS::Logs::LogGroup": "logs:CreateLogGroup",
    "AWS::Logs::QueryDefinition": "logs:PutQueryDefinition",
    "AWS::SES::ConfigurationSet": "ses:CreateConfigurationSet",
    "AWS::SES::ConfigurationSetEventDestination": "ses:CreateConfigurationSetEventDestination",
    "AWS::SNS::Topic": "sns:CreateTopic",
    "AWS::SNS::TopicPolicy": "sns:SetTopicAttributes",
    "AWS::SQS::Queue": "sqs:CreateQueue",
    "AWS::SQS::QueuePolicy": "sqs:SetQueueAttributes",
    "AWS::Scheduler::Schedule": "scheduler:CreateSchedule",
    "AWS::StepFunctions::StateMachine": "states:CreateStateMachine",
}
# Resources that an administrator creates with the first deployment, and the action that creates each.
CREATED_BY_AN_ADMINISTRATOR = {
    "AWS::Events::Connection": "events:CreateConnection",
    "AWS::KMS::Alias": "kms:CreateAlias",
    "AWS::KMS::Key": "kms:CreateKey",
    "AWS::Lambda::ResourcePolicy": "lambda:PutResourcePolicy",
    "AWS::SecretsManager::Secret": "secretsmanager:CreateSecret",
}
# Other calls of CloudFormation's resource handlers for create, read and update of the stack's resources, from the
# handler permissions in their schemas.
CALLED_BY_HANDLERS = {
    "apigateway:DELETE", "apigateway:GET", "apigateway:PATCH", "apigateway:PUT", "lambda:PutFunctionConcurrency",
    "logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:GetLogDelivery", "logs:ListLogDeliveries",
    "logs:PutResourcePolicy", "logs:UpdateLogDelivery", "ses:GetConfigurationSet",
    "ses:GetConfigurationSetEventDestinations", "ses:PutConfigurationSetDeliveryOptions",
    "ses:PutConfigurationSetReputationOptions", "ses:PutConfigurationSetSuppressionOptions",
    "ses:PutConfigurationSetVdmOptions", "ses:UpdateConfigurationSetEventDestination",
    "codedeploy:GetDeploymentGroup", "codedeploy:ListDeployments", "codedeploy:UpdateDeploymentGroup",
    "dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive",
    "dynamodb:UpdateTable", "events:DescribeApiDestination", "events:DescribeConnection", "events:DescribeRule",
    "events:PutTargets", "events:UpdateApiDestination", "kms:DescribeKey", "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus", "kms:ListResourceTags", "kms:PutKeyPolicy", "lambda:GetFunction",
    "lambda:GetFunctionConfiguration", "lambda:GetFunctionEventInvokeConfig", "lambda:GetLayerVersion",
    "lambda:ListVersionsByFunction", "lambda:TagResource", "lambda:UpdateAlias", "lambda:UpdateFunctionCode",
    "lambda:UpdateFunctionConfiguration", "lambda:UpdateFunctionEventInvokeConfig", "logs:DescribeIndexPolicies",
    "logs:DescribeLogGroups", "logs:DescribeResourcePolicies", "logs:GetDataProtectionPolicy",
    "logs:ListTagsForResource", "secretsmanager:DescribeSecret", "states:UpdateStateMachine",
}  # fmt: skip


def read(path: str) -> Template:
    template, problems = cfnlint.decode.decode(str(ROOT / path))
    assert not problems, problems
    return json.loads(json.dumps(template))


@pytest.fixture(scope="module")
def deploy_role() -> Template:
    return read("deploy/deploy-role.yaml")


@pytest.mark.parametrize("path", ["template.yaml", "deploy/deploy-role.yaml", "deploy/network.yaml"])
def test_cfn_lint_is_clean(path: str):
    linter = Path(sys.executable).with_name("cfn-lint")
    linted = subprocess.run(
        [linter, ROOT / path], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert (linted.returncode, linted.stdout) == (0, "")


# samconfig.toml


def fits(parameter: dict[str, Any], value: str) -> bool:
    """Whether CloudFormation accepts a value."""
    if "AllowedValues" in parameter:
        return value in {str(allowed) for allowed in parameter["AllowedValues"]}
    if parameter["Type"] == "Number":
        return int(parameter["MinValue"]) <= int(value) <= int(parameter["MaxValue"])
    longest = int(parameter.get("MaxLength", 99))
    return re.fullmatch(parameter["AllowedPattern"], value) is not None and len(value) <= longest


@pytest.mark.parametrize("name", STACKS)
def test_stage_sets_every_parameter(template: Template, name: str):
    given = stage_parameters(name)
    assert set(given) == set(template["Parameters"])
    assert {
        parameter for parameter, value in given.items() if not fits(template["Parameters"][parameter], value)
    } == set()
    assert (given["Stage"], given["DeployTarget"]) == (name, "aws")


@pytest.mark.parametrize("name", STACKS)
def test_stage_has_its_stack_and_tags(name: str):
    assert stage_settings(name)["stack_name"] == stage_settings(name)["s3_prefix"] == STACKS[name]
    assert CfnTags().convert(stage_settings(name)["tags"], None, None) == {"service": "giftcards", "stage": name}


@pytest.mark.parametrize("name", ["default", *STACKS])
def test_sam_knows_every_setting_of_a_stage(name: str):
    assert set(stage_settings(name)) <= {option.name for option in sam_deploy.params}


def test_staging_and_prod_shift_traffic_and_confirm():
    for name in ("staging", "prod"):
        assert "GradualDeployment=true" in stage_settings(name)["parameter_overrides"]
        assert stage_settings(name)["confirm_changeset"] is True


# The deploying role.


def allowed(template: Template, role: str) -> set[str]:
    return {grant.split(" on ")[0] for grant in grants(template, role)}


def covers(actions: set[str], action: str) -> bool:
    return any(re.fullmatch(pattern.replace("*", ".*"), action) for pattern in actions)


def within(boundary: Template, role: str, template: Template) -> set[str]:
    """Return the actions of a role that the boundary does not allow."""
    statements = boundary["Resources"]["Boundary"]["Properties"]["PolicyDocument"]["Statement"]
    actions = {action for statement in statements for action in as_list(statement["Action"])}
    return {action for action in allowed(template, role) if not covers(actions, action)}


def test_boundary_allows_what_every_role_needs(deploy_role: Template, in_vpc: Template):
    lacking = {role: within(deploy_role, role, in_vpc) for role in resources(in_vpc, "AWS::IAM::Role")}
    assert {role: actions for role, actions in lacking.items() if actions} == {}


def test_cloudformation_may_create_every_kind_of_resource(deploy_role: Template, in_vpc: Template):
    kinds = {resource["Type"] for resource in in_vpc["Resources"].values()}
    assert kinds <= set(CREATED_BY) | set(CREATED_BY_AN_ADMINISTRATOR), "add the action that creates it"
    actions = allowed(deploy_role, "ExecutionRole")
    assert {kind for kind in kinds & set(CREATED_BY) if CREATED_BY[kind] not in actions} == set()


def test_only_administrators_create_keys_aliases_and_the_secret(deploy_role: Template):
    actions = allowed(deploy_role, "ExecutionRole")
    assert not actions & set(CREATED_BY_AN_ADMINISTRATOR.values())


def test_cloudformation_may_make_every_call_of_resource_handlers(deploy_role: Template):
    assert allowed(deploy_role, "ExecutionRole") >= CALLED_BY_HANDLERS


@pytest.mark.parametrize(
    "action",
    ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem", "secretsmanager:GetSecretValue",
     "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecret", "kms:Decrypt", "kms:GenerateDataKey",
     "kms:CreateAlias", "kms:CreateGrant", "kms:UpdateAlias", "kms:ScheduleKeyDeletion", "lambda:InvokeFunction",
     "lambda:CreateFunctionUrlConfig", "lambda:DeleteResourcePolicy", "lambda:PutResourcePolicy",
     "kms:GenerateMac", "kms:VerifyMac", "ses:SendEmail", "ses:SendRawEmail", "ses:CreateEmailIdentity",
     "events:CreateConnection", "events:UpdateConnection",
     "lambda:UpdateFunctionUrlConfig", "iam:DeleteRolePermissionsBoundary", "iam:CreateUser", "iam:AttachRolePolicy"],
)  # fmt: skip
def test_deployer_reaches_no_card_secret_or_wider_role(deploy_role: Template, action: str):
    for role in ("DeployRole", "ExecutionRole"):
        assert not covers(allowed(deploy_role, role), action)


def statements_of(role: str, deploy_role: Template, *actions: str) -> list[Statement]:
    found = [s for s in statements(deploy_role) if s.holder == role and any(covers(set(s.actions), a) for a in actions)]
    assert found, f"{role} may do none of {actions}"
    return found


def test_deployer_has_only_named_actions(deploy_role: Template):
    assert [a for role in ("DeployRole", "ExecutionRole") for a in allowed(deploy_role, role) if "*" in a] == []


def test_foreign_keys_cannot_be_changed_or_renamed(deploy_role: Template):
    changes = [f"kms:{action}" for action in ("EnableKeyRotation", "PutKeyPolicy", "TagResource", "UntagResource")]
    own = [{"Fn::Sub": f"alias/${{StackName}}-{name}"} for name in ("cards", "storage", "links", "recipients")]
    for statement in statements_of("ExecutionRole", deploy_role, *changes):
        assert statement.body["Condition"] == {"ForAnyValue:StringEquals": {"kms:ResourceAliases": own}}


def test_key_aliases_match_the_deploying_role(template: Template):
    names = {alias["Properties"]["AliasName"]["Fn::Sub"] for alias in resources(template, "AWS::KMS::Alias").values()}
    assert names == {f"alias/${{AWS::StackName}}-{name}" for name in ("cards", "storage", "links", "recipients")}


def test_tables_that_outlive_the_stack_cannot_be_deleted(deploy_role: Template, template: Template):
    (deletes,) = statements_of("ExecutionRole", deploy_role, "dynamodb:DeleteTable")
    tables = resources(template, "AWS::DynamoDB::Table")
    kept = {name for name, table in tables.items() if table.get("DeletionPolicy") == "Retain"}
    deletable = {re.fullmatch(r".*:table/\$\{StackName\}-(\w+)-\*", arn["Fn::Sub"])[1] for arn in deletes.resources}
    assert deletable == set(tables) - kept
    assert {"CardTable", "AuditTable"} <= kept


@pytest.mark.parametrize("holder", ["Boundary", "ExecutionRole"])
def test_secret_of_another_stack_is_out_of_reach(deploy_role: Template, holder: str):
    for statement in statements_of(holder, deploy_role, "secretsmanager:DescribeSecret"):
        assert all(action.startswith("secretsmanager:") for action in statement.actions)
        assert statement.body["Condition"] == {
            "StringEquals": {"aws:ResourceTag/aws:cloudformation:stack-name": {"Ref": "StackName"}}
        }


def test_roles_are_created_only_with_the_boundary(deploy_role: Template):
    (policy,) = deploy_role["Resources"]["ExecutionRole"]["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        if {"iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary"} & set(
            as_list(statement["Action"])
        ):
            assert statement["Condition"] == {"StringEquals": {"iam:PermissionsBoundary": {"Ref": "Boundary"}}}


def test_only_rules_and_the_page_can_be_allowed_to_invoke_functions(deploy_role: Template):
    (policy,) = deploy_role["Resources"]["ExecutionRole"]["Properties"]["Policies"]
    statements = [s for s in policy["PolicyDocument"]["Statement"] if "lambda:AddPermission" in as_list(s["Action"])]
    (allowed,) = (s["Condition"] for s in statements)
    assert allowed == {"StringEquals": {"lambda:Principal": ["apigateway.amazonaws.com", "events.amazonaws.com"]}}


def test_only_the_stages_github_environment_may_deploy(deploy_role: Template):
    (trust,) = deploy_role["Resources"]["DeployRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": {"Fn::Sub": "repo:${GitHubRepository}:environment:${Stage}"},
        }
    }


# The network.


def test_network_outputs_fit_the_template_parameters(template: Template):
    network = read("deploy/network.yaml")
    assert {"VpcSubnetIds", "VpcSecurityGroupIds"} <= set(network["Outputs"]) & set(template["Parameters"])


def test_the_fixed_address_outlives_its_stack():
    address = read("deploy/network.yaml")["Resources"]["OutgoingAddress"]
    assert (address["DeletionPolicy"], address["UpdateReplacePolicy"]) == ("Retain", "Retain")


# GitHub.


def workflow(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ON_GITHUB / name).read_text())
    return loaded


def test_main_is_tested_then_deployed_stage_by_stage():
    jobs = workflow("deploy.yml")["jobs"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "test": None,
        "build": "test",
        "dev": "build",
        "staging": "dev",
        "prod": "staging",
    }
    assert workflow("deploy.yml")[True] == {"push": {"branches": ["main"]}}  # YAML 1.1 reads `on` as True
    assert jobs["test"] == {"uses": "./.github/workflows/ci.yml"}
    assert {name: jobs[name]["with"]["stage"] for name in STACKS} == {name: name for name in STACKS}


def test_unit_tests_run_on_every_supported_python(template: Template):
    matrix = workflow("ci.yml")["jobs"]["unit"]["strategy"]["matrix"]["python"]
    assert [f"python{version}" for version in matrix] == template["Parameters"]["PythonRuntime"]["AllowedValues"]


def test_github_stores_no_key_and_only_deployments_get_tokens():
    texts = {path.name: path.read_text() for path in ON_GITHUB.glob("*.yml")}
    assert not [name for name, text in texts.items() if "secrets." in text]
    jobs = workflow("deploy.yml")["jobs"]
    assert {name for name, job in jobs.items() if "id-token" in job.get("permissions", {})} == set(STACKS)
    assert workflow("deploy.yml")["permissions"] == {"contents": "read"}


def test_github_runs_commands_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    options = {opt for option in sam_deploy.params for opt in (*option.opts, *option.secondary_opts)}
    steps = [
        step
        for path in ON_GITHUB.glob("*.yml")
        for job in workflow(path.name)["jobs"].values()
        for step in job.get("steps", [])
        if "run" in step
    ]
    for step in steps:
        command, *words = step["run"].split()
        assert command == "make"
        assert {word for word in words if "=" not in word} <= targets
        given = step.get("env", {}).get("OPTIONS", "").split()
        assert {word for word in given if word.startswith("--")} <= options
    assert len(steps) == 5


def test_actions_are_pinned_by_commit_and_say_their_version():
    used = [line for path in ON_GITHUB.glob("*.yml") for line in path.read_text().splitlines() if "- uses:" in line]
    assert len(used) >= 5
    assert [line for line in used if not re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


def test_one_build_fits_every_stage():
    # One build is deployed to all stages. It is made with the Python that the functions run on.
    built = {tuple(stage_parameters(name, "build")[key] for key in BUILT_FOR) for name in STACKS}
    assert len(built) == 1
    ((runtime, _),) = built
    (setup,) = (
        step for step in workflow("deploy.yml")["jobs"]["build"]["steps"] if "setup-python" in step.get("uses", "")
    )
    assert f"python{setup['with']['python-version']}" == runtime


def test_sam_builds_what_it_deploys():
    for name in STACKS:
        assert stage_parameters(name, "build") == stage_parameters(name, "deploy")


def test_every_deployment_is_a_separate_release():
    recipe = subprocess.run(
        ["make", "--dry-run", "deploy-built", "STAGE=prod", "RELEASE=abc1234-1"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    ).stdout.splitlines()  # fmt: skip
    replaced = re.search(r"sed 's/(.*)/(.*)/' samconfig.toml", "\n".join(recipe))
    assert (ROOT / "samconfig.toml").read_text().count(replaced[1]) == len(STACKS)
    assert replaced[2] == '"Release=abc1234-1"'


def test_release_names_of_github_and_make_fit(template: Template):
    release = template["Parameters"]["Release"]
    for value in ("none", f"{'a' * 12}-9999", f"{'a' * 7}-{2**33}"):
        assert fits(release, value)


# The application repository.


def test_application_repository_metadata_is_correct(template: Template):
    application = template["Metadata"]["AWS::ServerlessRepo::Application"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (ROOT / application["LicenseUrl"]).is_file()
    assert (ROOT / application["ReadmeUrl"]).is_file()
    assert (application["Name"], application["SemanticVersion"]) == (project["name"], project["version"])
    assert application["SpdxLicenseId"] == project["license"]
