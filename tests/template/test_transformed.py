"""The template after SAM's transform, with each stage's parameters.

`sam validate` transforms with default parameters only and does not see what GradualDeployment adds.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import networkx
import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from template.reading import WITH_MAIL_AND_DOMAIN, Template, as_list, load, stage_parameters, transform

MAX_RESOURCES = 250  # CloudFormation's limit is 500
VARIANTS: dict[str, tuple[str, dict[str, str]]] = {
    "dev": ("dev", {}),
    "staging": ("staging", {}),
    "prod with mail and a domain": ("prod", WITH_MAIL_AND_DOMAIN),
    "dev with mail, python3.14 on arm64": (
        "dev",
        {"MailFrom": WITH_MAIL_AND_DOMAIN["MailFrom"], "Architecture": "arm64", "PythonRuntime": "python3.14"},
    ),
    "prod in a VPC, python3.12 on x86_64": (
        "prod",
        {"Architecture": "x86_64", "PythonRuntime": "python3.12", "VpcSubnetIds": "subnet-0123456789abcdef0",
         "VpcSecurityGroupIds": "sg-0123456789abcdef0"},
    ),
}  # fmt: skip
"""Stages of samconfig.toml with parameters changed. cfn-lint explores every condition in each."""


def transformed(variant: str, template: Template | None = None) -> Template:
    stage, overrides = VARIANTS[variant]
    return transform(template or load(), stage_parameters(stage) | overrides)


def references(node: Any) -> Iterator[str]:
    """Yield each name that a part of a template refers to, in every branch of every condition."""
    if isinstance(node, list):
        for item in node:
            yield from references(item)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key in {"Ref", "DependsOn"}:
            yield from as_list(value)
        elif key == "Fn::GetAtt":
            yield value.split(".")[0] if isinstance(value, str) else value[0]
        elif key == "Fn::Sub":
            yield from (name.split(".")[0] for name in re.findall(r"\$\{([\w.:]+)\}", as_list(value)[0]))
        yield from references(value)


def cycles(template: Template) -> list[set[str]]:
    """Return the groups of resources that depend on each other."""
    graph = networkx.DiGraph()
    for name, resource in template["Resources"].items():
        graph.add_edges_from((name, other) for other in references(resource) if other in template["Resources"])
    return [
        set(group)
        for group in networkx.strongly_connected_components(graph)
        if len(group) > 1 or any(graph.has_edge(name, name) for name in group)
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_template_has_no_dependency_cycle(variant: str):
    assert cycles(transformed(variant)) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_stack_has_room_to_grow(variant: str):
    assert len(transformed(variant)["Resources"]) <= MAX_RESOURCES


@pytest.mark.parametrize("variant", VARIANTS)
def test_cfn_lint_finds_no_error(variant: str):
    template = transformed(variant)
    stage, overrides = VARIANTS[variant]
    for name, value in (stage_parameters(stage) | overrides).items():
        is_number = template["Parameters"][name]["Type"] == "Number"
        template["Parameters"][name]["Default"] = int(value) if is_number else value  # cfn-lint evaluates the defaults
    errors_only = ManualArgs(regions=["eu-central-1"], ignore_checks=["W", "I"])
    assert [f"{found.rule.id}: {found.message}" for found in lint(json.dumps(template), config=errors_only)] == []


def test_role_that_names_the_workflow_is_detected():
    # An alias depends on its deployment group, that on the alarms, these on the functions, and these on their roles.
    template = load()
    statements = template["Resources"]["SweepOrdersRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (asks,) = (statement for statement in statements if "states:DescribeExecution" in as_list(statement["Action"]))
    asks["Resource"] = {"Fn::Sub": "arn:${AWS::Partition}:states:::execution:${FulfilOrderStateMachine.Name}:*"}
    (cycle,) = cycles(transformed("prod with mail and a domain", template))
    assert {"FulfilOrderStateMachine", "SweepOrdersRole", "FunctionErrorsAlarm"} <= cycle
    assert cycles(transformed("dev", template)) == []
