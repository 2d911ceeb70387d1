"""The template as written, and as it is deployed to AWS and to the local cloud. Each test gets copies of its own."""

import pytest

from template.reading import Template, deploy, load


@pytest.fixture
def template() -> Template:
    """template.yaml as written."""
    return load()


@pytest.fixture
def on_aws(template: Template) -> Template:
    """What is deployed with DeployTarget=aws."""
    return deploy(template, on_aws=True)


@pytest.fixture
def on_local_cloud(template: Template) -> Template:
    """What is deployed with DeployTarget=local."""
    return deploy(template, on_aws=False)
