"""IAM statements of the transformed template, in a form that tests can compare."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from template.reading import Template, as_list, get_att, properties, ref, resources

# How the template refers to the ARN of a resource, by type. The other form gives a name (of a table, for example),
# which IAM accepts in a policy and never matches.
ARN_FORMS = {
    "AWS::DynamoDB::Table": get_att,
    "AWS::Events::ApiDestination": get_att,
    "AWS::Events::EventBus": get_att,
    "AWS::Events::Rule": get_att,
    "AWS::KMS::Key": get_att,
    "AWS::Lambda::Alias": ref,
    "AWS::Lambda::Function": get_att,
    "AWS::Logs::LogGroup": get_att,
    "AWS::SNS::Topic": ref,
    "AWS::SQS::Queue": get_att,
    "AWS::SecretsManager::Secret": lambda name: get_att(name, "Id"),
    "AWS::StepFunctions::StateMachine": ref,
}

# Resources named by a prefix, as the tests and docs/security.md call them: the prefix, and why it is not exact.
PREFIXES = {
    "executions of FulfilOrderStateMachine": (
        "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:execution:${AWS::StackName}-fulfil-order:*",
        "An execution is named after the event that starts it.",
    ),
}
# Resources of Amazon SES that the stack does not create, by their ARNs as written, and why the role names them.
IDENTITY = "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:identity/"
OF_MAIL = {
    "identity of MailFrom": (f"{IDENTITY}${{MailFrom}}", "SES checks the address where it is verified itself."),
    "identity of MailFrom's domain": (f"{IDENTITY}${{Domain}}", "SES checks the domain where that is verified."),
    "configuration set of the links": (
        "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:configuration-set/${AWS::StackName}-links",
        "SES checks the configuration set that a mail is sent with.",
    ),
}
OF_THIS_KEY = "In a key policy, `*` means this key."

# Statements that may allow every resource, and why.
EVERY_RESOURCE = {
    "FulfilOrderRole.DeliverLogs": "CloudWatch's log delivery actions have no resource-level permissions.",
    **{
        f"{role}.SendTraces": "X-Ray's write actions have no resource-level permissions."
        for role in (
            "FulfilOrderRole",
            "CheckStatusRole",
            "DeliverCardsRole",
            "RevealCardsRole",
            "SweepOrdersRole",
            "ReconcileOrdersRole",
            "CountEventsRole",
            "MeasureOrdersRole",
            "StoreRecipientRole",
            "SendLinkRole",
            "CreateLinkRole",
            "ServePageRole",
            "RedeemLinkRole",
            "RecordMailStatusRole",
            "ServeShopRole",
        )
    },
    "DeploymentRole.ReadAlarms": "DescribeAlarms has no resource-level permissions.",
    **{
        f"{role}.{sid}": "A network interface has no ARN before it exists; the code is denied all of these actions."
        for role in ("CheckStatusRole", "DeliverCardsRole", "ReconcileOrdersRole")
        for sid in ("ConnectToSubnets", "DenySubnetAccessToCode")
    },
    "CardKey.AccountManagesKey": OF_THIS_KEY,
    "CardKey.OnlyRevealCardsAndRedeemLinkDecrypt": OF_THIS_KEY,
    "CardKey.OnlyDeliverCardsEncrypts": OF_THIS_KEY,
    "LinkKey.AccountManagesKey": OF_THIS_KEY,
    "LinkKey.OnlyLinkFunctionsDeriveTokens": OF_THIS_KEY,
    "LinkKey.OnlyRedeemLinkVerifiesTokens": OF_THIS_KEY,
    "RecipientKey.AccountManagesKey": OF_THIS_KEY,
    "RecipientKey.OnlySendLinkDecrypts": OF_THIS_KEY,
    "StorageKey.AccountManagesKey": OF_THIS_KEY,
    "StorageKey.LogGroupsOfThisStack": OF_THIS_KEY,
    "StorageKey.WorkflowLogDelivery": OF_THIS_KEY,
    "StorageKey.AlarmsOfThisAccount": OF_THIS_KEY,
    "StorageKey.RulesPublishToTopic": OF_THIS_KEY,
    "StorageKey.CallersOfEncryptedServices": OF_THIS_KEY,
}
ROOT_KEEPS_THE_KEY = "AWS requires this statement: a key that nobody can manage is lost."

# Statements that may allow every action of a service, and why.
EVERY_ACTION = {
    "CardKey.AccountManagesKey": ROOT_KEEPS_THE_KEY,
    "LinkKey.AccountManagesKey": ROOT_KEEPS_THE_KEY,
    "RecipientKey.AccountManagesKey": ROOT_KEEPS_THE_KEY,
    "StorageKey.AccountManagesKey": ROOT_KEEPS_THE_KEY,
}


@dataclass(frozen=True)
class Statement:
    """One IAM statement and the resource whose policy it is in."""

    holder: str
    body: dict[str, Any]

    @property
    def name(self) -> str:
        """``holder.Sid``."""
        return f"{self.holder}.{self.body.get('Sid', '(no Sid)')}"

    @property
    def actions(self) -> list[str]:
        """The actions, always a list."""
        return as_list(self.body.get("Action", []))

    @property
    def resources(self) -> list[Any]:
        """The resources as written, always a list."""
        return as_list(self.body.get("Resource", []))

    @property
    def allows(self) -> bool:
        """Whether it allows, not denies."""
        return self.body["Effect"] == "Allow"


def statements(template: Template) -> Iterator[Statement]:
    """Yield every statement of every role, resource policy and key policy, except assume-role policies."""
    for name, resource in template["Resources"].items():
        held = resource.get("Properties", {})
        documents = [policy["PolicyDocument"] for policy in held.get("Policies", []) if "PolicyDocument" in policy]
        documents += [held[key] for key in ("PolicyDocument", "KeyPolicy", "ResourcePolicy") if key in held]
        if resource["Type"] == "AWS::Events::EventBusPolicy":
            documents.append({"Statement": held["Statement"]})
        for document in documents:
            yield from (Statement(name, body) for body in as_list(document["Statement"]))


def target(template: Template, resource: Any) -> str | None:
    """Return the logical id of the resource with this ARN, its index, or a name from PREFIXES, or None."""
    if not isinstance(resource, dict):
        return None
    if "Fn::Sub" in resource:
        written = as_list(resource["Fn::Sub"])[0]
        return _index(template, written) or _alias(template, written) or _prefix(written)
    named = resource.get("Ref") or resource.get("Fn::GetAtt", [None])[0]
    arn = ARN_FORMS.get(template["Resources"].get(named, {}).get("Type"))
    return named if arn and arn(named) == resource else None


def _index(template: Template, written: str) -> str | None:
    found = re.fullmatch(r"\$\{(\w+)\.Arn\}(/index/([\w-]+))", written)
    table = template["Resources"].get(found[1], {}) if found else {}
    if found is None or table.get("Type") != "AWS::DynamoDB::Table":
        return None
    indexes = {index["IndexName"] for index in table["Properties"].get("GlobalSecondaryIndexes", [])}
    return f"{found[1]}{found[2]}" if found[3] in indexes else None


def _alias(template: Template, written: str) -> str | None:
    found = re.fullmatch(r"\$\{(\w+)\.Arn\}:live", written)
    alias = f"{found[1]}Aliaslive" if found else ""
    return alias if alias in template["Resources"] else None


def _prefix(written: str) -> str | None:
    return next((name for name, (named, _) in (PREFIXES | OF_MAIL).items() if named == written), None)


def role_of(template: Template, function: str) -> str:
    """Return the logical id of the role of a function."""
    return template["Resources"][function]["Properties"]["Role"]["Fn::GetAtt"][0]


def grants(template: Template, role: str) -> set[str]:
    """Return what a role's policies allow, as ``action on resource``."""
    return {
        f"{action} on {target(template, resource) or resource}"
        for statement in statements(template)
        if statement.holder == role and statement.allows
        for action in statement.actions
        for resource in statement.resources
    }


def holders(template: Template, action: str, resource: str) -> set[str]:
    """Return the roles that may do this."""
    roles = resources(template, "AWS::IAM::Role")
    return {role for role in roles if f"{action} on {resource}" in grants(template, role)}


def loose_statements(template: Template) -> list[str]:
    """Return a problem for each statement that allows more than named actions on named resources of the stack."""
    found = []
    for statement in statements(template):
        if not statement.body.get("Sid"):
            found.append(f"{statement.holder}: the statement on {statement.actions} needs a Sid that says its purpose")
        found += [
            f"{statement.name}: write {key} as Action or Resource; what is left out would be allowed"
            for key in ("NotAction", "NotResource", "NotPrincipal")
            if key in statement.body
        ]
        if not statement.actions:
            found.append(f"{statement.name}: it names no action")
        found += [
            f"{statement.name}: name the actions instead of {action}, or give the reason in EVERY_ACTION"
            for action in statement.actions
            if "*" in action and statement.name not in EVERY_ACTION
        ]
        if statement.name in EVERY_RESOURCE:
            continue
        found += [
            f"{statement.name}: {resource} is not the ARN of one resource of this stack; "
            "write it with !GetAtt or !Ref, or give the reason in EVERY_RESOURCE or PREFIXES"
            for resource in statement.resources or ["no resource"]
            if target(template, resource) is None
        ]
    return found


def borrowed_policies(template: Template) -> list[str]:
    """Return a problem for each managed policy and each SAM policy template that a template uses."""
    found = []
    for name, resource in template["Resources"].items():
        held = resource.get("Properties", {})
        if "ManagedPolicyArns" in held or resource["Type"] == "AWS::IAM::ManagedPolicy":
            found.append(f"{name}: write its statements into the role instead of a managed policy")
        if resource["Type"].startswith("AWS::Serverless::"):
            found += [
                f"{name}: write the statements of {policy} out"
                for policy in as_list(held.get("Policies", []))
                if not isinstance(policy, dict) or "Statement" not in policy
            ]
    return found


def lenient_trust(template: Template, services: dict[str, str]) -> list[str]:
    """Return a problem for each role that anyone except its one service can assume."""
    found = []
    for name, role in resources(template, "AWS::IAM::Role").items():
        for statement in as_list(role["Properties"]["AssumeRolePolicyDocument"]["Statement"]):
            who, how = statement["Principal"], as_list(statement["Action"])
            expected = services.get(name, "lambda.amazonaws.com")
            if set(who) != {"Service"} or as_list(who["Service"]) != [expected] or how != ["sts:AssumeRole"]:
                found.append(f"{name}: only {expected} may assume it, not {who} by {how}")
    return found


def attributes_of(request: Mapping[str, Any]) -> set[str]:
    """Give the attributes that a request to DynamoDB names anywhere."""
    names = request.get("ExpressionAttributeNames", {})
    found = set(request.get("Key", {}))
    item = request.get("Item", "")
    found |= set(re.findall(r"'(\w+)': \{'[SN]'", item)) if isinstance(item, str) else set(item)
    for kind in ("UpdateExpression", "ConditionExpression", "ProjectionExpression"):
        words = re.findall(r"(?<![:\w])#?[A-Za-z]\w*(?!\w*\()", request.get(kind, ""))
        found |= {names.get(word, word) for word in words} - {"SET", "REMOVE", "AND", "OR", "NOT", "IN"}
    return found


def statement_of(template: Template, function: str, index: int) -> dict[str, Any]:
    return properties(template, role_of(template, function))["Policies"][0]["PolicyDocument"]["Statement"][index]
