"""The template as written, and as deployed to AWS and to the local cloud. Each test gets fresh copies."""

import pytest

from template.reading import Template, deploy, load


@pytest.fixture
def template() -> Template:
    """template.yaml as written, with wiring.yaml included."""
    return load()


@pytest.fixture
def on_aws(template: Template) -> Template:
    """What is deployed with DeployTarget=aws."""
    return deploy(template, on_aws=True)


@pytest.fixture
def on_local_cloud(template: Template) -> Template:
    """What is deployed with DeployTarget=local."""
    return deploy(template, on_aws=False)


@pytest.fixture
def in_vpc(template: Template) -> Template:
    """What is deployed to AWS with subnets and a permissions boundary."""
    return deploy(
        template,
        on_aws=True,
        VpcSubnetIds="subnet-0123456789abcdef0,subnet-0123456789abcdef1",
        VpcSecurityGroupIds="sg-0123456789abcdef0",
        PermissionsBoundaryArn="arn:aws:iam::123456789012:policy/boundary",
    )
