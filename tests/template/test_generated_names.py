"""Generated names fit into the limits of AWS."""

from template.reading import Template, resources
from template.test_deployment_files import STACKS

MAX_STACK_NAME_LENGTH = 27
MAX_ARCHIVE_NAME_LENGTH = 48


def test_no_generated_name_is_cut(on_aws: Template):
    # CloudFormation appends a hyphen and 12 characters, and cuts the stack's name where that makes more than 64
    # characters. The patterns of the policies (`<stack>-…`) then match nothing.
    generated = resources(on_aws, "AWS::IAM::Role") | resources(on_aws, "AWS::Lambda::Function")
    assert {"RevealCardsRole", "RevealCardsFunction"} <= set(generated)
    suffixes = {
        given["Fn::Sub"].removeprefix("${AWS::StackName}") if given else f"-{logical_id}-{12 * 'x'}"
        for logical_id, resource in generated.items()
        for given in [resource["Properties"].get("FunctionName")]
    }
    assert all(suffix.startswith("-") for suffix in suffixes)
    assert {suffix for suffix in suffixes if MAX_STACK_NAME_LENGTH + len(suffix) > 64} == set()


def test_stack_whose_names_would_be_cut_cannot_be_created(on_aws: Template):
    (archive,) = resources(on_aws, "AWS::Events::Archive").values()
    suffix = str(archive["Properties"]["ArchiveName"]["Fn::Sub"]).removeprefix("${AWS::StackName}")
    assert len(suffix) == MAX_ARCHIVE_NAME_LENGTH - MAX_STACK_NAME_LENGTH
    assert all(len(stack) <= MAX_STACK_NAME_LENGTH for stack in STACKS.values())
