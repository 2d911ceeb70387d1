"""docs/aws.md says what the template has: its parameters, its outputs, what rolls back, and what outlives the stack."""

import re

from template.reading import ROOT, Template
from template.test_deployment import ROLLS_BACK
from template.test_deployment_files import STACKS

PAGE = (ROOT / "docs/aws.md").read_text(encoding="utf-8")


def cells() -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows][2:]


def test_the_parameter_table_is_that_of_the_template(template: Template):
    told: dict[str, str] = {}
    for row in cells():
        told |= dict(zip(re.findall(r"`([^`]+)`", row[0]), re.findall(r"`([^`]+)`", row[1]), strict=True))
    assert told == {name: str(entry["Default"]) for name, entry in template["Parameters"].items()}


def test_every_output_is_named(template: Template):
    assert [name for name in template["Outputs"] if f"`{name}`" not in PAGE] == []


def test_what_rolls_back_is_named():
    traffic = PAGE.split("**Traffic**")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+Alarm)`", traffic)) == set(ROLLS_BACK)


def test_what_outlives_the_stack_is_listed_before_it_is_deleted(template: Template):
    (listed,) = re.findall(r"contains\('([^']+)', LogicalResourceId\)", PAGE)
    retained = {name for name, entry in template["Resources"].items() if entry.get("DeletionPolicy") == "Retain"}
    assert set(listed.split()) == retained


def test_every_command_block_says_that_it_needs_aws_and_names_stacks_that_are_there():
    assert PAGE.count("```sh") == PAGE.count("<!-- needs AWS -->\n```sh")
    stacks = {
        name for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for name in re.findall(r"giftcards-[a-z]+", block)
    }
    assert stacks <= {*STACKS.values(), "giftcards-network"}
