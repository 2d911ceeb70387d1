"""Under which licences everything is that is deployed or installed for development."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions

import pytest
from packaging.utils import canonicalize_name

from template.reading import ROOT

ENVIRONMENTS = (".venv", ".venv-cloud", ".venv-checks", ".venv-browser")

# What may be used, as packages name it. The only place.
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
    "MPL-2.0",  # asks for the source of its own files, which nobody here changes
    "PSF-2.0",
    "Zlib",
    # Classifiers, and what older packages say
    "Apache Software License",
    "BSD",
    "BSD License",
    "ISC License (ISCL)",
    "MIT License",
    "MIT No Attribution License (MIT-0)",
    "Mozilla Public License 2.0 (MPL 2.0)",
    "Python Software Foundation License",
}

# Packages whose metadata does not say it, or says more than one has to accept.
KNOWN = {
    "axe-playwright-python": "Its metadata names none; its licence file is MIT, and axe in it is MPL-2.0.",
    "cookiecutter": "Its metadata names none; its licence file is BSD-3-Clause.",
    "text-unidecode": "Artistic License or GPL, as one likes: Artistic. Comes with SAM.",
}


def licences(package: Distribution) -> set[str]:
    """Return what a package says of its licence: its SPDX expression, else its classifiers, else free text.

    All of an expression counts, also what `OR` leaves to choose.
    """
    told = package.metadata
    if expression := told.get("License-Expression"):
        return set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR", "WITH"}
    classifiers = told.get_all("Classifier", [])
    if names := {line.rsplit(" :: ", 1)[1] for line in classifiers if line.startswith("License :: OSI Approved")}:
        return names
    text = (told.get("License") or "").strip()
    return set(text.split(" AND ")) if text and text != "UNKNOWN" else set()


def objection(package: Distribution) -> str | None:
    """Say in one line why a package may not be used, or None."""
    what = f"{package.metadata['Name']} {package.version}"
    names = licences(package)
    if not names:
        return f"{what} names no licence: read its licence file and write it into KNOWN"
    if names <= ALLOWED:
        return None
    return f"{what} is under {', '.join(sorted(names - ALLOWED))}: not in ALLOWED"


def installed(environment: str) -> Iterator[Distribution]:
    """Yield what is installed in an environment of this folder."""
    folders = [str(path) for path in (ROOT / environment).glob("lib/python*/site-packages")]
    assert folders, f"{environment} is not there: run `make {environment}/.installed`, as `make test` does"
    return distributions(path=folders)


def name(package: Distribution) -> str:
    return canonicalize_name(package.metadata["Name"])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_package_has_a_licence_that_is_allowed(environment: str):
    objections = [objection(package) for package in installed(environment) if name(package) not in KNOWN]
    found = [line for line in objections if line]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("layer", ["core", "encryption", "page"])
def test_what_a_layer_brings_along_is_looked_at(layer: str):
    pins = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / f"layers/{layer}/requirements.txt").read_text(), re.M)
    here = {(name(package), package.version) for package in installed(".venv")}
    assert pins
    assert {(canonicalize_name(package), version) for package, version in pins} - here == set()
    assert [package for package, _ in pins if canonicalize_name(package) in KNOWN] == []


def test_no_package_is_excepted_for_nothing():
    needed = {name(package) for environment in ENVIRONMENTS for package in installed(environment) if objection(package)}
    assert set(KNOWN) - needed == set(), "metadata says it now, or the package is gone: remove it"
