"""New versions: what publishes them, how traffic shifts, and from which address they call."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stack.test_upgrade import next_release
from template.permission_table import CALLING_THE_SUPPLIER
from template.reading import ROOT, Template, deploy, load, properties, ref, resources, transform
from template.test_functions import FUNCTIONS

VERSION_DESCRIPTION_CHARACTERS = 256
ROLLS_BACK = ["FunctionErrorsAlarm", "BuyerFunctionErrorsAlarm", "CardsUnreadableAlarm"]
BY_RELEASE = {
    **dict.fromkeys(
        ("ShopName", "ShopContact", "MailFrom", "PageDomainName"),
        "A text of up to 254 characters; a description has room for 256. `make deploy` and GitHub set another Release.",
    ),
    "PageConcurrency": "Reserved concurrency belongs to the function, not to a version, and applies at once.",
}
"""Parameters that change a function and are not in its version's description, and why."""


# Versions. SAM publishes a version if its description changes. So the description contains the value of every parameter
# that changes the function, and no other, because Lambda publishes no version of an unchanged function. Runtime and
# architecture are not in it: they change the layers, which publish their functions.


def references(node: Any) -> Iterator[str]:
    """Yield the names that a part of a template refers to."""
    if isinstance(node, dict):
        if "Ref" in node:
            yield node["Ref"]
        if "Fn::Sub" in node:
            text = node["Fn::Sub"] if isinstance(node["Fn::Sub"], str) else node["Fn::Sub"][0]
            yield from re.findall(r"\$\{(\w+)\}", text)
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def parameters_in(template: Template, node: Any) -> set[str]:
    return set(references(node)) & set(template["Parameters"])


def version_of(template: Template, function: str) -> dict[str, Any]:
    (version,) = (
        version["Properties"]
        for version in resources(template, "AWS::Lambda::Version").values()
        if version["Properties"]["FunctionName"] == ref(function)
    )
    return version


def unpublished(template: Template) -> list[str]:
    """Return a problem for each parameter that changes a function but not its version's description, or vice versa."""
    found = []
    for function in FUNCTIONS:
        uses = parameters_in(template, properties(template, function)) - {"PythonRuntime", "Architecture", *BY_RELEASE}
        carries = parameters_in(template, version_of(template, function).get("Description"))
        if uses != carries:
            found.append(f"{function}: VersionDescription must contain {sorted(uses)}, not {sorted(carries)}")
    return found


def longest(parameter: dict[str, Any]) -> int:
    """Return the length of the longest value that a parameter accepts."""
    if "AllowedValues" in parameter:
        return max(len(str(value)) for value in parameter["AllowedValues"])
    if "MaxLength" in parameter:
        return int(parameter["MaxLength"])
    if "MaxValue" in parameter:
        return len(str(parameter["MaxValue"]))
    raise AssertionError(f"bound {parameter}, otherwise a description can become too long")


def test_parameter_change_publishes_only_affected_functions(in_vpc: Template):
    assert not unpublished(in_vpc)


def test_every_parameter_published_by_release_only_changes_a_function(in_vpc: Template):
    used = set().union(*(parameters_in(in_vpc, properties(in_vpc, function)) for function in FUNCTIONS))
    assert set(BY_RELEASE) <= used


@pytest.mark.parametrize("function", FUNCTIONS)
def test_version_description_is_never_too_long(in_vpc: Template, function: str):
    description = version_of(in_vpc, function)["Description"]["Fn::Sub"]
    text = description if isinstance(description, str) else description[0]
    lengths = {name: longest(entry) for name, entry in in_vpc["Parameters"].items() if f"${{{name}}}" in text}
    lengths |= {"Subnets": len(",".join(["0" * 17] * 3)), "SecurityGroups": len(",".join(["0" * 17] * 2))}
    whole = re.sub(r"\$\{(\w+)\}", lambda name: "x" * lengths[name[1]], text)
    assert len(whole) <= VERSION_DESCRIPTION_CHARACTERS, (
        "shorten the MaxLength of a parameter in this VersionDescription, or Lambda refuses the version"
    )


@pytest.mark.parametrize(
    ("parameter", "most"),
    [("VpcSubnetIds", "subnet-0123456789abcdef0,subnet-0123456789abcdef1,subnet-0123456789abcdef2"),
     ("VpcSecurityGroupIds", "sg-0123456789abcdef0,sg-0123456789abcdef1")],
)  # fmt: skip
def test_subnets_and_groups_fit_a_version_description(template: Template, parameter: str, most: str):
    pattern = template["Parameters"][parameter]["AllowedPattern"]
    for accepted in ("none", most.split(",", maxsplit=1)[0], most):
        assert re.fullmatch(pattern, accepted)
    for refused in ("", f"{most},{most.split(',', maxsplit=1)[0]}", "vpc-0123456789abcdef0", most.upper()):
        assert not re.fullmatch(pattern, refused)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_release_changes_every_function_and_its_version(template: Template, function: str):
    transformed = deploy(template, on_aws=True)
    assert properties(transformed, function)["Environment"]["Variables"]["RELEASE_NAME"] == ref("Release")
    assert "Release" in parameters_in(transformed, version_of(transformed, function)["Description"])


def test_layer_change_publishes_every_function(template: Template):
    # `sam package` names uploads by content, which differs between runtimes and architectures.
    before = set(resources(transform(template), "AWS::Lambda::Version"))
    properties(template, "CoreLayer")["ContentUri"] += "-for-another-runtime"
    after = set(resources(transform(template), "AWS::Lambda::Version"))
    assert len(before) == len(after) == len(FUNCTIONS)
    assert before.isdisjoint(after)


# Traffic.


def alias_of(template: Template, function: str) -> dict[str, Any]:
    alias: dict[str, Any] = template["Resources"][f"{function}Aliaslive"]
    return alias


@pytest.mark.parametrize("function", FUNCTIONS)
def test_traffic_shifts_gradually_and_an_alarm_rolls_it_back(on_aws: Template, function: str):
    shift = alias_of(on_aws, function)["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    group = properties(on_aws, shift["DeploymentGroupName"]["Ref"])
    assert group["DeploymentConfigName"]["Fn::Sub"][1] == {"ConfigName": "Canary10Percent5Minutes"}
    assert group["AlarmConfiguration"] == {"Enabled": True, "Alarms": [{"Name": ref(name)} for name in ROLLS_BACK]}
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert group["ServiceRoleArn"] == {"Fn::GetAtt": ["DeploymentRole", "Arn"]}


def test_rollback_alarms_exist_and_fire_during_the_shift(on_aws: Template):
    for name in ROLLS_BACK:
        alarm = properties(on_aws, name)
        periods = {metric["MetricStat"]["Period"] for metric in alarm.get("Metrics", []) if "MetricStat" in metric}
        assert max(periods or {alarm["Period"]}) * alarm["EvaluationPeriods"] <= 300


def test_codedeploy_is_only_used_for_gradual_deployments(template: Template, on_local_cloud: Template):
    for deployed in (on_local_cloud, deploy(template, on_aws=True, GradualDeployment="false")):
        assert not [r for r in deployed["Resources"].values() if r["Type"].startswith("AWS::CodeDeploy")]
        assert not [name for name in FUNCTIONS if "UpdatePolicy" in alias_of(deployed, name)]


def test_the_workflow_changes_after_all_its_functions(on_aws: Template):
    # So a new workflow never calls an old function; new functions must accept requests of the old workflow.
    substitutions = properties(on_aws, "FulfilOrderStateMachine")["DefinitionSubstitutions"]
    assert {value["Ref"] for value in substitutions.values() if "Alias" in value.get("Ref", "")} == {
        "CheckStatusFunctionAliaslive",
        "DeliverCardsFunctionAliaslive",
    }


# The outgoing address.


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_functions_that_call_the_supplier_are_in_the_vpc(in_vpc: Template, on_aws: Template, function: str):
    connected = {
        "SubnetIds": {"Fn::Split": [",", ref("VpcSubnetIds")]},
        "SecurityGroupIds": {"Fn::Split": [",", ref("VpcSecurityGroupIds")]},
    }
    expected = connected if function in CALLING_THE_SUPPLIER else None
    assert properties(in_vpc, function).get("VpcConfig") == expected
    assert "VpcConfig" not in properties(on_aws, function)


def test_functions_with_the_supplier_url_are_listed(on_aws: Template):
    callers = {
        name for name in FUNCTIONS if "SUPPLIER_BASE_URL" in properties(on_aws, name)["Environment"]["Variables"]
    }
    assert callers == CALLING_THE_SUPPLIER


# Each check above must detect a broken template.


def forgotten(template: Template) -> None:
    properties(template, "SweepOrdersFunction")["Environment"]["Variables"]["DAYS"] = ref("CardRetentionDays")


def superfluous(template: Template) -> None:
    properties(template, "SweepOrdersFunction")["VersionDescription"] = {"Fn::Sub": "${LogRetentionDays}"}


@pytest.mark.parametrize("break_it", [forgotten, superfluous])
def test_parameter_that_does_not_publish_is_detected(break_it: Callable[[Template], None]):
    template = load()
    break_it(template)
    assert unpublished(deploy(template, on_aws=True))


def test_next_release_changes_layer_function_and_workflow(tmp_path: Path):
    next_release(tmp_path)

    changed = {
        path.relative_to(tmp_path)
        for path in tmp_path.rglob("*")
        if path.is_file() and path.read_bytes() != (ROOT / path.relative_to(tmp_path)).read_bytes()
    }
    assert {path.parts[0] for path in changed} == {"functions", "layers", "statemachine"}
    compile((tmp_path / "layers/core/giftcards/contracts/events.py").read_text(encoding="utf-8"), "events.py", "exec")
