"""What `sam build` makes: for production from any host, and needing nothing but the layers and boto3."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from giftcards_local import PROJECT
from giftcards_local.cloud import LocalCloud

RUNTIME_HAS = ("boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six.py", "jmespath")
ADAPTERS = ("api_key", "aws", "gate_table", "supplier")
CARD_ADAPTERS = (*ADAPTERS, "audit_table", "event_bus", "order_table", "vault")
FUNCTIONS = {  # its layers, topmost first, and the adapters that it uses, some of which are imported on the first call
    "CheckStatusFunction": (("CoreLayer",), ADAPTERS),
    "DeliverCardsFunction": (("EncryptionLayer", "CoreLayer"), CARD_ADAPTERS),
    "RevealCardsFunction": (("EncryptionLayer", "CoreLayer"), CARD_ADAPTERS),
    "ReconcileOrdersFunction": (("CoreLayer",), (*ADAPTERS, "difference_table", "event_bus", "order_table")),
    "SweepOrdersFunction": (("CoreLayer",), ("aws", "event_bus", "executions", "order_table")),
    "CountEventsFunction": (("CoreLayer",), ("aws",)),
    "MeasureOrdersFunction": (("CoreLayer",), ("api_key", "aws", "gate_table", "order_table")),
}
LARGEST_CORE_LAYER_BYTES = 15_000_000


@pytest.fixture(scope="module")
def production_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build as for AWS: no parameter overrides, no LAYER_TARGET."""
    folder = tmp_path_factory.mktemp("production")
    environment = {name: value for name, value in os.environ.items() if name != "LAYER_TARGET"} | {
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(folder / "sam"),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
    }
    command = ["sam", "build", "--build-dir", str(folder / "build")]
    built = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, timeout=200, check=False)
    assert built.returncode == 0, built.stderr.decode()
    return folder / "build"


def test_the_default_build_is_for_python_3_13_on_arm64(production_build: Path) -> None:
    modules = sorted(production_build.rglob("*.so"))
    assert modules
    assert all("aarch64" in module.name or "abi3" in module.name for module in modules), modules
    assert any("cpython-313-aarch64" in module.name for module in modules)
    elf_machine_is_aarch64 = b"\xb7\x00"
    assert all(module.read_bytes()[18:20] == elf_machine_is_aarch64 for module in modules)


def test_the_layer_of_check_status_is_small_and_has_neither_boto3_nor_the_encryption_sdk(
    production_build: Path,
) -> None:
    layer = production_build / "CoreLayer"
    size = sum(file.stat().st_size for file in layer.rglob("*") if file.is_file())
    assert size <= LARGEST_CORE_LAYER_BYTES
    packages = {path.name for path in (layer / "python").iterdir()}
    assert packages.isdisjoint({"boto3", "botocore", "aws_encryption_sdk", "cryptography"})
    assert {"giftcards", "httpx", "pydantic", "aws_lambda_powertools"} <= packages


@pytest.fixture(scope="module")
def build_for_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build as for the local cloud: artifacts of another processor cannot be imported here."""
    return LocalCloud(tmp_path_factory.mktemp("local")).build()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_artifact_imports_with_its_layers_and_boto3_alone(
    build_for_this_machine: Path, tmp_path: Path, function: str
) -> None:
    """The local cloud lends functions its own packages, so a forgotten requirement would go unnoticed there."""
    layers, adapters = FUNCTIONS[function]
    site_packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    for package in RUNTIME_HAS:
        (tmp_path / package).symlink_to(site_packages / package)
    folders = (function, *(f"{layer}/python" for layer in layers))
    path = [*(str(build_for_this_machine / folder) for folder in folders), str(tmp_path)]
    program = f"import sys; sys.path[:0] = {path!r}; import app; from giftcards.adapters import {', '.join(adapters)}"
    command = [sys.executable, "-I", "-S", "-B", "-c", program]  # -I -S: nothing of this environment is on its path
    imported = subprocess.run(command, env={"STAGE_NAME": "test"}, capture_output=True, timeout=60, check=False)
    assert imported.returncode == 0, imported.stderr.decode()
