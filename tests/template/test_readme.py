"""The README says what is there: its commands exist, and its tables are those of the template and of the contract."""

import re
from pathlib import Path

import pytest
import typer.main

from giftcards.events import ANNOUNCEMENTS, HeldReason
from giftcards_cli.main import app
from template.reading import Template
from template.test_permissions import PERMISSIONS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines() if line]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
ELSEWHERE = {  # what is not this project's own
    "source .giftcards/env",
    "export PATH=$PWD/.venv/bin:$PATH",
    ".venv/bin/sam deploy --guided",
    'aws lambda publish-version --function-name "$FUNCTION"',
    'aws lambda update-alias --function-name "$FUNCTION" --name live --function-version "$VERSION"',
    'aws secretsmanager put-secret-value --secret-id "$SECRET_ARN" --secret-string file://production.key',
}


@pytest.mark.parametrize("line", SHELL)
def test_every_command_exists(line: str):
    words = re.sub(r'"[^"]*"', "QUOTED", line).removeprefix(".venv/bin/").split()
    if words[0] == "make":
        assert set(words[1:]) <= TARGETS
    elif words[0] == "giftcards":
        command = typer.main.get_command(app)
        rest = words[1:]
        while hasattr(command, "commands"):
            assert rest, f"{line!r} is no whole command"
            assert rest[0] in command.commands, f"there is no command {rest[0]!r}"
            command = command.commands[rest.pop(0)]
        command.make_context(words[-1], rest)
    else:
        assert line in ELSEWHERE


def section(title: str) -> str:
    return re.split(r"^## ", README.split(f"## {title}\n")[1], flags=re.M)[0]


def rows(title: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section(title).splitlines() if line[:1] == "|"
    ]


def test_every_make_target_that_is_named_exists():
    assert set(re.findall(r"`make ([a-z-]+)`", README)) <= TARGETS


def test_the_permission_table_is_that_of_the_template():
    told: dict[str, set[str]] = {}
    role = ""
    for cells in rows("Who may do what")[2:]:
        role = cells[0] or role
        told.setdefault(role, set()).update(f"{action} on {cells[2]}" for action in re.findall(r"`([^`]+)`", cells[1]))
    for function, allowed in PERMISSIONS.items():
        own = {grant for grant in allowed if not grant.startswith(("logs:", "xray:"))}
        assert told[function.removesuffix("Function")] == own


def test_the_parameter_table_is_that_of_the_template(template: Template):
    told = {name for cells in rows("Deploy it to AWS")[2:] for name in re.findall(r"`([^`]+)`", cells[0])}
    assert told == set(template["Parameters"])
    for cells in rows("Deploy it to AWS")[2:]:
        names, defaults = re.findall(r"`([^`]+)`", cells[0]), re.findall(r"`([^`]+)`", cells[1])
        assert defaults == [str(template["Parameters"][name]["Default"]) for name in names]


def test_every_output_is_named(template: Template):
    assert [name for name in template["Outputs"] if f"`{name}`" not in section("Deploy it to AWS")] == []


@pytest.mark.parametrize("event", ANNOUNCEMENTS, ids=lambda event: event.detail_type)
def test_every_event_is_there_with_its_fields(event: type):
    (row,) = [cells for cells in rows("Events") if cells[0] == f"`{event.detail_type}`"]
    own = {field.alias for field in event.model_fields.values()}
    everywhere = {"schemaVersion", "orderId", "userId", "occurredAt"}
    told = set(re.findall(r"`([a-z][A-Za-z]+)`", row[2]))
    if "the same" in row[2]:
        told |= {"deliveryId", "quantity", "fulfilledQuantity", "fulfilledAmount", "pricePerCard"}
    assert told == own - everywhere


def test_every_held_reason_says_what_to_do():
    assert [cells[0].strip("`") for cells in rows("Held orders")[2:]] == [reason.value for reason in HeldReason]
