"""Licences of everything that is deployed or installed for development."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions

import pytest
from packaging.utils import canonicalize_name

from template.reading import ROOT

ENVIRONMENTS = (".venv", ".venv-cloud", ".venv-checks", ".venv-browser", ".venv-openapi")

# Allowed licences, as packages name them.
ALLOWED = {
    # SPDX names
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "MIT",
    "MIT-0",
    "MIT-CMU",  # MIT, and not to advertise with the authors' names; Pillow, which only draws
    "MPL-2.0",  # requires publishing changes to its files; nothing here changes them
    "PSF-2.0",
    "Zlib",
    # Classifiers, and names in older packages
    "Apache Software License",
    "BSD",
    "BSD License",
    "ISC License (ISCL)",
    "MIT License",
    "MIT No Attribution License (MIT-0)",
    "Mozilla Public License 2.0 (MPL 2.0)",
    "Python Software Foundation License",
}

# Packages whose metadata names no licence or offers a choice, and programs under another licence.
KNOWN = {
    "axe-playwright-python": "The metadata names none; the licence file is MIT, and axe in it is MPL-2.0.",
    "codespell": "GPL-2.0-only. `make lint` runs it as a program; nothing imports or deploys it.",
    "cookiecutter": "The metadata names none; the licence file is BSD-3-Clause.",
    "text-unidecode": "A choice of Artistic License or GPL: Artistic. A dependency of SAM.",
}


def licences(package: Distribution) -> set[str]:
    """Return a package's licence: its SPDX expression, or its classifiers, or free text.

    Every part of an expression counts, also the alternatives of `OR`.
    """
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR", "WITH"}
    classifiers = metadata.get_all("Classifier", [])
    if names := {line.rsplit(" :: ", 1)[1] for line in classifiers if line.startswith("License :: OSI Approved")}:
        return names
    text = (metadata.get("License") or "").strip()
    return set(text.split(" AND ")) if text and text != "UNKNOWN" else set()


def objection(package: Distribution) -> str | None:
    """Return in one line why a package may not be used, or None."""
    what = f"{package.metadata['Name']} {package.version}"
    names = licences(package)
    if not names:
        return f"{what} names no licence: read its licence file and add it to KNOWN"
    if names <= ALLOWED:
        return None
    return f"{what} is under {', '.join(sorted(names - ALLOWED))}: not in ALLOWED"


def installed(environment: str) -> Iterator[Distribution]:
    """Yield the packages installed in an environment of this folder."""
    folders = [str(path) for path in (ROOT / environment).glob("lib/python*/site-packages")]
    assert folders, f"{environment} does not exist: run `make {environment}/.installed`, as `make test` does"
    return distributions(path=folders)


def name(package: Distribution) -> str:
    return canonicalize_name(package.metadata["Name"])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_package_has_an_allowed_licence(environment: str):
    objections = [objection(package) for package in installed(environment) if name(package) not in KNOWN]
    found = [line for line in objections if line]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("layer", ["core", "encryption", "page"])
def test_licences_of_layer_packages_are_checked(layer: str):
    pins = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / f"layers/{layer}/requirements.txt").read_text(), re.M)
    here = {(name(package), package.version) for package in installed(".venv")}
    assert pins
    assert {(canonicalize_name(package), version) for package, version in pins} - here == set()
    assert [package for package, _ in pins if canonicalize_name(package) in KNOWN] == []


def test_every_licence_exception_is_needed():
    needed = {name(package) for environment in ENVIRONMENTS for package in installed(environment) if objection(package)}
    assert set(KNOWN) - needed == set(), "not needed any more: remove it"
