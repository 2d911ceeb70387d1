"""CONTRIBUTING.md names files that exist, and the changelog the version that is packaged."""

import re
import tomllib

import pytest

from template.pages import text_of
from template.reading import ROOT

FOLDERS = (ROOT, ROOT / "layers/core/giftcards", ROOT / "cli/giftcards_cli")
RECIPES = text_of("CONTRIBUTING.md").split("\n## Recipes\n")[1]
NAMED = sorted(set(re.findall(r"`([\w./-]+(?:/|\.(?:py|json|yaml|toml|md)))`", RECIPES)))


@pytest.mark.parametrize("path", NAMED)
def test_recipe_names_a_file_that_exists(path: str):
    assert any((folder / path).exists() for folder in FOLDERS)


def test_there_are_ten_recipes():
    assert len(re.findall(r"^### .+ \((?:\d|1 or 2) files?(?:, .+)?\)$", RECIPES, re.MULTILINE)) == 10


def test_changelog_has_the_packaged_version_first():
    version = tomllib.loads(text_of("pyproject.toml"))["project"]["version"]
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", text_of("CHANGELOG.md"), re.MULTILINE)
    assert released[0] == version
