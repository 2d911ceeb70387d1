"""Permissions and conditions on the local cloud."""

import pytest

from template.permission_table import PERMISSIONS, SENDING_MAIL
from template.permissions import (
    grants,
    role_of,
    statement_of,
    statements,
)
from template.reading import Template, deploy


@pytest.mark.parametrize("function", sorted(PERMISSIONS))
def test_permissions_on_the_local_cloud_are_those_on_aws(on_local_cloud: Template, function: str):
    # Whatever a mail is sent from, the local cloud looks for the resource `*`.
    expected = {f"{grant.split(' on ')[0]} on *" if grant in SENDING_MAIL else grant for grant in PERMISSIONS[function]}
    assert grants(on_local_cloud, role_of(on_local_cloud, function)) == expected


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


def test_a_condition_that_denies_on_the_local_cloud_is_found(template: Template):
    statement = statement_of(template, "RevealCardsFunction", 2)
    statement["Condition"] = statement["Condition"]["Fn::If"][1]
    assert unmatched_conditions(deploy(template, on_aws=False))
