"""Who can call RevealCards."""

import re

import pytest

from template.reading import Template, deploy, get_att, ref, resources

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
