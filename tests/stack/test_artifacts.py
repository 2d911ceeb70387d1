"""What `sam build` makes: for production from any host, and needing nothing but the layers and boto3."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from giftcards_local.cloud import PROJECT
from stack.conftest import Service

RUNTIME_HAS = ("boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six.py", "jmespath")
FUNCTIONS = {  # its layers, topmost first, and what builds its clients on the first call
    "CheckStatusFunction": (("CoreLayer",), "status_check"),
    "DeliverCardsFunction": (("EncryptionLayer", "CoreLayer"), "card_delivery"),
    "RevealCardsFunction": (("EncryptionLayer", "CoreLayer"), "card_reveal"),
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


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_artifact_imports_with_its_layers_and_boto3_alone(service: Service, tmp_path: Path, function: str) -> None:
    """The local cloud lends functions its own packages, so a forgotten requirement would go unnoticed there."""
    layers, builder = FUNCTIONS[function]
    site_packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    for package in RUNTIME_HAS:
        (runtime / package).symlink_to(site_packages / package)
    build = service.cloud.folder / "build"
    path = [str(build / function), *(str(build / layer / "python") for layer in layers), str(runtime)]
    program = f"import sys; sys.path[:0] = {path!r}; import app; from giftcards import wiring; wiring.{builder}()"
    configured = service.cloud.client("lambda").get_function_configuration(FunctionName=service.physical_id(function))
    command = [sys.executable, "-I", "-S", "-B", "-c", program]  # -I -S: nothing of this environment is on its path
    environment = configured["Environment"]["Variables"] | service.cloud.environment
    imported = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert imported.returncode == 0, imported.stderr.decode()
