"""Who can call the functions that show cards or give links to them."""

import re

import pytest

from template.reading import Template, deploy, get_att, ref, resources

CALLERS = "arn:aws:iam::123456789012:role/shop,arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/operators*"
OWN_CALLER = "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/${AWS::StackName}-ServeShopRole-*"
GUARDED = {
    "RevealPrincipalArns": ("RevealCardsFunction", ref("RevealPrincipalArns")),
    "LinkPrincipalArns": ("CreateLinkFunction", {"Fn::Sub": f"${{LinkPrincipalArns}},{OWN_CALLER}"}),
}
"""By parameter: the function whose callers it restricts, and all that may call it."""
each_parameter = pytest.mark.parametrize("parameter", GUARDED)


@each_parameter
def test_function_can_be_restricted_to_named_callers(template: Template, parameter: str):
    function, callers = GUARDED[parameter]
    deployed = deploy(template, on_aws=True, **{parameter: CALLERS})
    guarded = {}
    for policy in resources(deployed, "AWS::Lambda::ResourcePolicy").values():
        (body,) = policy["Properties"]["PolicyDocument"]["Statement"]
        assert (body["Effect"], body["Principal"], body["Action"]) == ("Deny", "*", "lambda:InvokeFunction")
        assert body["Condition"] == {"ArnNotLike": {"aws:PrincipalArn": {"Fn::Split": [",", callers]}}}
        guarded[str(policy["Properties"]["ResourceArn"])] = body["Resource"]
    arn, alias = get_att(function), ref(f"{function}Aliaslive")
    assert guarded == {str(arn): [arn, {"Fn::Sub": f"${{{function}.Arn}}:*"}], str(alias): alias}


@each_parameter
def test_permission_and_policy_of_a_function_do_not_clash(template: Template, parameter: str):
    function, _ = GUARDED[parameter]
    deployed = deploy(template, on_aws=True, **{parameter: CALLERS})
    permitted = {str(p["Properties"]["FunctionName"]) for p in resources(deployed, "AWS::Lambda::Permission").values()}
    assert not {name for name in permitted if function in name}


@each_parameter
def test_function_is_not_restricted_unless_asked_for(on_aws: Template, template: Template, parameter: str):
    assert not resources(on_aws, "AWS::Lambda::ResourcePolicy")
    local = deploy(template, on_aws=False, **{parameter: CALLERS})
    assert not resources(local, "AWS::Lambda::ResourcePolicy"), "the local cloud does not know the type"


@each_parameter
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
def test_only_roles_and_users_can_be_named_as_callers(template: Template, parameter: str, given: str, taken: bool):
    pattern = template["Parameters"][parameter]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, given)) is taken
