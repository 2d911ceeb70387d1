"""docs/aws.md matches the template: parameters, outputs, rollback alarms, and retained resources."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from giftcards.adapters.order_table import OrderTable
from giftcards.contracts.statuses import OrderStatus
from giftcards.rules.languages import LANGUAGES
from giftcards.rules.orders import Acceptance, Order
from giftcards_cli.commands.replay_dlq import REPLAY_SOURCE
from template.permissions import attributes_of
from template.reading import ROOT, Template, as_list
from template.test_deployment import ROLLS_BACK
from template.test_deployment_files import STACKS

PAGE = (ROOT / "docs/aws.md").read_text(encoding="utf-8")


def cells() -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows][2:]


def test_parameter_table_matches_the_template(template: Template):
    documented: dict[str, str] = {}
    for row in cells():
        documented |= dict(zip(re.findall(r"`([^`]+)`", row[0]), re.findall(r"`([^`]+)`", row[1]), strict=True))
    assert documented == {name: str(entry["Default"]) for name, entry in template["Parameters"].items()}


def test_every_language_can_be_chosen_and_is_listed(template: Template):
    (listed,) = (row[2] for row in cells() if row[0] == "`PageLanguage`")
    for where, languages in (
        ("template.yaml, AllowedValues of PageLanguage", template["Parameters"]["PageLanguage"]["AllowedValues"]),
        ("docs/aws.md, PageLanguage", re.findall(r"`(\w+)`", listed)),
    ):
        assert tuple(languages) == LANGUAGES, f"{where}: list the languages of rules/languages.py, in its order"


def test_every_output_is_named(template: Template):
    assert [name for name in template["Outputs"] if f"`{name}`" not in PAGE] == []


def test_rollback_alarms_are_listed():
    traffic = PAGE.split("**Traffic**")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+Alarm)`", traffic)) == set(ROLLS_BACK)


def test_retained_resources_are_listed_for_deletion(template: Template):
    (listed,) = re.findall(r"contains\('([^']+)', LogicalResourceId\)", PAGE)
    retained = {name for name, entry in template["Resources"].items() if entry.get("DeletionPolicy") == "Retain"}
    assert set(listed.split()) == retained


def test_command_blocks_need_aws_and_name_existing_stacks():
    assert PAGE.count("```sh") == PAGE.count("<!-- needs AWS -->\n```sh")
    stacks = {
        name for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for name in re.findall(r"giftcards-[a-z]+", block)
    }
    assert stacks <= {*STACKS.values(), "giftcards-network"}


# ------------------------------------------------------------------ policies

OWN_WORDS = {"Region", "Account", "Stack"}


def policies() -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.S)]


def test_example_policies_name_what_the_stack_has(template: Template):
    shop, operator = policies()
    assert [statement["Sid"] for statement in shop["Statement"]] == ["PlaceOrders", "ShowCards", "CreateLinks"]
    words = {word for policy in (shop, operator) for word in re.findall(r"<(\w+)>", json.dumps(policy))}
    assert words - OWN_WORDS <= set(template["Outputs"])
    named = set(re.findall(r"<Stack>-(\w+?)-\*", json.dumps(operator)))
    tables = {"AuditTable", "GateTable", "LinkTable"}
    queues = {"OrderPlacedDeadLetterQueue", "WebhookDeadLetterQueue"}
    assert named == {*tables, *queues, "ReconcileOrdersFunction"}
    assert named <= set(template["Resources"])


def test_example_policies_grant_no_service_event_and_no_key():
    for policy in policies():
        for statement in policy["Statement"]:
            actions = as_list(statement["Action"])
            assert not [action for action in actions if "*" in action or action.startswith(("kms:", "iam:"))]
            assert "secretsmanager:GetSecretValue" not in actions
            if statement["Sid"] == "PostEventsAgain":  # only the webhook's rule matches this source
                assert statement["Condition"] == {"StringEquals": {"events:source": REPLAY_SOURCE}}
            elif "events:PutEvents" in actions:
                (types,) = (condition["events:detail-type"] for condition in statement["Condition"].values())
                assert set(as_list(types)) <= {"OrderPlaced", "RecipientSet"}
                assert set(statement["Condition"]) == {"StringEquals"}


def test_operator_may_make_every_call_of_dead_letter_commands():
    source = (ROOT / "cli/giftcards_cli/dead_letters.py").read_text(encoding="utf-8")
    calls = {"".join(word.title() for word in name.split("_")) for name in re.findall(r"_sqs\.(\w+)\(", source)}
    (replay,) = (s for s in policies()[1]["Statement"] if s["Sid"] == "ReplayDeadLetters")
    assert {action.removeprefix("sqs:") for action in replay["Action"]} == calls


def test_operator_may_write_every_attribute_of_an_acceptance():
    requests: list[dict[str, Any]] = []

    class Recorder:
        def update_item(self, **request: Any) -> None:
            requests.append(request)

    now = datetime(2026, 3, 14, tzinfo=UTC)
    order = Order(order_id="1", user_id="alice", status=OrderStatus.HELD, claimed_at=now, held_at=now)
    OrderTable("cards", Recorder()).accept_cards(order, Acceptance(by="ops", reason="checked", at=now, cards=1))  # type: ignore[arg-type]

    (accept,) = (statement for statement in policies()[1]["Statement"] if statement["Sid"] == "AcceptCards")
    allowed = set(accept["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"])
    assert allowed == set().union(*map(attributes_of, requests))
