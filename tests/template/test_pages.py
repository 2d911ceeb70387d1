"""README and docs/ match the code: commands, tables, links, and generated pages."""

import os
import re
from pathlib import Path
from uuid import UUID

import pytest

from giftcards.contracts.events import OUTGOING_EVENTS, OrderPlaced
from giftcards.contracts.links import RecipientSet
from support.page_commands import not_printed, run_blocks
from support.scripts import load
from template.command_lines import TARGETS, problems, recorded
from template.pages import PAGES, Block, blocks, exists, links, rows, text_of
from template.permission_table import PERMISSIONS
from template.reading import ROOT

BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN_BY = {  # the pages whose commands need no AWS, and the test that runs them
    "docs/getting-started.md": "tests/stack/test_getting_started.py",
    "docs/shops.md": "tests/stack/test_shop.py",
    "docs/runbook.md": "tools/drill/runbook.py",
}
RUN_OTHERWISE = {
    "make demo\nmake test\n": "tests/stack/test_demo.py runs the demo; this test is a part of the other",
}

each_page = pytest.mark.parametrize("page", PAGES)
each_block = pytest.mark.parametrize("block", BLOCKS, ids=str)


# ------------------------------------------------------------------ commands


@each_block
def test_every_command_exists_as_it_is_written(block: Block, tmp_path: Path):
    wrong = {" ".join(words): problems(words) for words in recorded(block.commands, tmp_path)}
    assert {line: why for line, why in wrong.items() if why} == {}


@each_block
def test_every_block_is_run_by_a_test_or_needs_aws(block: Block):
    if block.needs_aws or block.commands in RUN_OTHERWISE:
        return
    assert block.page in RUN_BY, f"{block}: no test runs it; if it needs AWS, write <!-- needs AWS --> before it"
    assert f'blocks("{block.page}")' in (ROOT / RUN_BY[block.page]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        "giftcards orders --nothing",
        "giftcards orders --status LOST",
        "giftcards local",
        "sam nothing",
        "sam deploy --nothing",
        "sam list stack-outputs --output xml",
        "sam deploy --config-env nothing",
        "aws nothing list",
        "aws lambda nothing",
        "aws lambda publish-version --name f",
        "aws lambda publish-version",
        "aws lambda invoke --function-name f",
        "aws lambda update-alias --function-name --name live",
        "aws lambda list-functions extra",
        "aws sts get-caller-identity --query 'Account['",
        "aws sts get-caller-identity --output paper",
        "aws logs put-retention-policy --log-group-name g --retention-in-days many",
        "aws sqs receive-message --queue-url q --attribute-names Nothing=1 --nothing",
        'aws dynamodb get-item --table-name t --key \'{"pk": {"S": 1}}\'',
        "aws cloudwatch set-alarm-state --alarm-name a --state-value FINE --state-reason r",
        "aws events put-targets --rule r --targets Id=1,Arm=2",
        "aws cloudformation wait stack-nothing --stack-name s",
    ],
)
def test_nonexistent_command_is_detected(line: str, tmp_path: Path):
    (words,) = recorded(line, tmp_path)
    assert problems(words)


@pytest.mark.parametrize(
    "line",
    [
        "make soak MINUTES=2",
        'ARN=$(aws sts get-caller-identity --query "Arn" --output text)',
        'aws sns subscribe --topic-arn "$TOPIC" --protocol email --notification-endpoint a@example.com',
        "aws dynamodb update-table --table-name t --no-deletion-protection-enabled",
        "aws cloudformation wait stack-delete-complete --stack-name s",
        "aws lambda invoke --function-name f --payload '{}' answer.json",
        "aws events put-targets --rule r --targets Id=1,Arn=2",
        'giftcards show "$ORDER_ID" \\\n  --json | jq .status',
    ],
)
def test_existing_command_is_accepted(line: str, tmp_path: Path):
    (words,) = recorded(line, tmp_path)
    assert problems(words) == []


@pytest.mark.parametrize("commands", ['echo "', "nothing here", "false && giftcards orders"])
def test_bash_errors_are_detected(commands: str, tmp_path: Path):
    with pytest.raises(AssertionError):
        recorded(commands, tmp_path)


@each_page
def test_every_command_in_the_text_exists(page: str):
    named = re.findall(r"`make ([a-z-]+)", text_of(page))
    assert set(named) <= TARGETS
    for words in re.findall(r"`giftcards ((?:local )?[a-z-]+)", text_of(page)):
        assert problems(["giftcards", *words.split(), "--help"]) == []


# ---------------------------------------------------------- following a page


def block(commands: str, prints: str = "") -> Block:
    return Block("page.md", 1, commands, needs_aws=False, prints=prints)


def test_blocks_of_a_page_are_run_in_one_shell(tmp_path: Path):
    page = [block("mkdir in && cd in\nname=value\n"), block('echo "$name" in "$(basename "$PWD")"\n')]
    assert run_blocks(page, tmp_path, os.environ, within_seconds=10) == ["", "value in in\n"]


@pytest.mark.parametrize("wrong", ["false", "false\ntrue", "false | true", "! true", "exit 7"])
def test_failing_command_is_detected(wrong: str, tmp_path: Path):
    with pytest.raises(AssertionError, match=r"^page\.md:1 exits"):
        run_blocks([block(f"{wrong}\n"), block("true\n")], tmp_path, os.environ, within_seconds=10)


PRINTED = """
order-1  alice  FULFILLED  2/2   11-24 18:34:08
delivery   765f1fd0-3061-572b-9e30-c4fab9aec751
execution  arn:aws:states:a-name
"""


@pytest.mark.parametrize(
    "output",
    ["order-1 alice FULFILLED 2/2 01-02 03:04:05", "delivery 00000000-0000-0000-0000-000000000000", "execution …"],
)
def test_times_ids_and_spaces_in_output_may_differ(output: str):
    assert not_printed(block("", output), PRINTED) == []


@pytest.mark.parametrize(
    "output",
    [
        "order-1",
        "order-1 alice FULFILLED 1/2 …",
        "delivery 12",
        f"delivery {UUID(int=0)}\norder-1 …",
        "execution …another",
        "… HELD …",
    ],
)
def test_words_and_order_in_output_may_not_differ(output: str):
    assert not_printed(block("", output), PRINTED)


# --------------------------------------------------------------------- links


@each_page
def test_every_link_leads_to_a_file_or_heading(page: str):
    assert [target for target in links(page) if not exists(page, target)] == []


def test_every_page_can_be_reached_from_the_readme():
    found, new = set[str](), {"README.md"}
    while new:
        page = new.pop()
        found.add(page)
        targets = [((ROOT / page).parent / target.partition("#")[0]).resolve() for target in links(page)]
        new |= {str(target.relative_to(ROOT)) for target in targets if target.suffix == ".md"} & {*PAGES} - found
    assert found == {*PAGES}


# ------------------------------------------------- written from the code


def test_event_reference_matches_the_models(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    written = load("tools/write_reference.py").page()
    assert text_of("docs/events.md") == written, "the events have changed: run `make docs`"
    for model in (OrderPlaced, RecipientSet, *OUTGOING_EVENTS):
        assert {row[0].strip("`") for row in rows("docs/events.md", model.detail_type)} >= {
            str(field.alias)
            for name, field in model.model_fields.items()
            if name not in ("schema_version", "occurred_at")
        }


def test_command_reference_matches_the_command_line():
    written = load("tools/write_commands.py").page()
    assert text_of("docs/commands.md") == written, "the commands have changed: run `make docs`"


# -------------------------------------------------------------------- tables


def test_permission_table_matches_the_template():
    documented: dict[str, set[str]] = {}
    role = ""
    for cells in rows("docs/security.md", "Who may do what"):
        role = cells[0] or role
        documented.setdefault(role, set()).update(
            f"{action} on {cells[2]}" for action in re.findall(r"`([^`]+)`", cells[1])
        )
    for function, allowed in PERMISSIONS.items():
        own = {grant for grant in allowed if not grant.startswith(("logs:", "xray:"))}
        assert documented[function.removesuffix("Function")] == own
