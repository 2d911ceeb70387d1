"""Artifacts of `sam build`: they fit the production runtime on any host, and need only the layers and boto3."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from giftcards_local import PROJECT
from giftcards_local.cloud import LocalCloud
from giftcards_local.pythons import find_python

RUNTIME_HAS = ("boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six.py", "jmespath")
ADAPTERS = ("api_key", "aws", "gate_table", "oneclickdz.supplier")
CARD_ADAPTERS = (*ADAPTERS, "audit_table", "event_bus", "order_table", "card_cipher")
FUNCTIONS = {  # its layers, topmost first, and its adapters, some of which are imported on the first call
    "CheckStatusFunction": (("CoreLayer",), ADAPTERS),
    "DeliverCardsFunction": (("EncryptionLayer", "CoreLayer"), CARD_ADAPTERS),
    "RevealCardsFunction": (("EncryptionLayer", "CoreLayer"), CARD_ADAPTERS),
    "ReconcileOrdersFunction": (("CoreLayer",), (*ADAPTERS, "discrepancy_table", "event_bus", "order_table")),
    "SweepOrdersFunction": (("CoreLayer",), ("aws", "event_bus", "executions", "order_table")),
    "CountEventsFunction": (("CoreLayer",), ("aws",)),
    "MeasureOrdersFunction": (("CoreLayer",), ("api_key", "aws", "gate_table", "order_table")),
    "StoreRecipientFunction": (("CoreLayer",), ("aws", "event_bus", "link_table", "recipient_cipher")),
    "SendLinkFunction": (("PageLayer", "CoreLayer"), ("aws", "link_key", "link_table", "mailer", "recipient_cipher")),
    "CreateLinkFunction": (("PageLayer", "CoreLayer"), ("aws", "link_key", "link_table", "mailer", "order_table")),
    "ServePageFunction": (("PageLayer", "CoreLayer"), ("aws", "link_table")),
    "RedeemLinkFunction": (("EncryptionLayer", "CoreLayer"), (*CARD_ADAPTERS, "link_table")),
    "ServeShopFunction": (("CoreLayer",), ("aws", "event_bus", "order_table", "shop_keys")),
    "RecordMailStatusFunction": (("CoreLayer",), ("aws", "event_bus", "link_table")),
}
MAX_CORE_LAYER_BYTES = 15_000_000


ELF_MACHINE = {"arm64": b"\xb7\x00", "x86_64": b"\x3e\x00"}
RUNTIMES = ("3.12", "3.13", "3.14")


@dataclass(frozen=True)
class Build:
    """The output of `sam build` for one runtime and architecture."""

    folder: Path
    version: str
    architecture: str

    @property
    def layers(self) -> list[Path]:
        return [self.folder / name for name in ("CoreLayer", "EncryptionLayer")]

    @property
    def interpreter(self) -> str | None:
        """A Python of this version on this machine, or None."""
        return find_python(self.version)


def _environment() -> dict[str, str]:
    return os.environ | {
        "SAM_CLI_TELEMETRY": "0",
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
    }


def sam_build(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Build with parameters on the command line and an empty environment."""
    return subprocess.run(
        ["sam", "build", "--build-dir", str(folder / "build"), *arguments],
        cwd=PROJECT, env=_environment() | {"__SAM_CLI_APP_DIR": str(folder / "sam")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def build_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Build]:
    """Return a function that builds once for each runtime and architecture. A build lasts up to ten seconds."""

    @cache
    def build(version: str, architecture: str) -> Build:
        folder = tmp_path_factory.mktemp(f"{version}-{architecture}")
        parameters = [f"PythonRuntime=python{version}", f"Architecture={architecture}"]
        built = sam_build(folder, "--parameter-overrides", *parameters)
        assert built.returncode == 0, built.stderr
        return Build(folder / "build", version, architecture)

    return build


@pytest.fixture(params=[(v, a) for v in RUNTIMES for a in ELF_MACHINE], ids="-".join)
def production_build(request: pytest.FixtureRequest, build_for: Callable[[str, str], Build]) -> Build:
    """Build for AWS, for each runtime and architecture that the template allows."""
    return build_for(*request.param)


def test_native_modules_are_for_the_runtime_and_the_processor(production_build: Build) -> None:
    modules = [module for layer in production_build.layers for module in layer.rglob("*.so")]
    tag = f".cpython-{production_build.version.replace('.', '')}-"
    assert any(tag in module.name for module in modules)
    assert [module.name for module in modules if tag not in module.name and ".abi3." not in module.name] == []
    machine = ELF_MACHINE[production_build.architecture]
    assert {module.read_bytes()[18:20] for module in modules} == {machine}


def test_layers_are_compiled_where_this_machine_has_the_python(production_build: Build) -> None:
    # A layer is read-only, so each cold start would compile the modules again.
    suffix = f".cpython-{production_build.version.replace('.', '')}.pyc"
    for layer in production_build.layers:
        compiled = set(layer.rglob("*.pyc"))
        expected = {file.parent / "__pycache__" / f"{file.stem}{suffix}" for file in layer.rglob("*.py")}
        assert compiled == (expected if production_build.interpreter else set())
        # Flags 0b01: valid without a look at the source, because zip changes the times of files.
        assert {path.read_bytes()[4:8] for path in compiled} <= {b"\x01\x00\x00\x00"}


def test_core_layer_is_small_without_boto3_and_encryption_sdk(
    production_build: Build,
) -> None:
    layer = production_build.folder / "CoreLayer"
    size = sum(file.stat().st_size for file in layer.rglob("*") if file.is_file())
    assert size <= MAX_CORE_LAYER_BYTES
    packages = {path.name for path in (layer / "python").iterdir()}
    assert packages.isdisjoint({"boto3", "botocore", "aws_encryption_sdk", "cryptography"})
    assert {"giftcards", "httpx", "pydantic", "aws_lambda_powertools"} <= packages


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages that the Lambda runtime has, from this environment."""
    folder = tmp_path_factory.mktemp("runtime")
    site_packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    for package in RUNTIME_HAS:
        (folder / package).symlink_to(site_packages / package)
    return folder


@pytest.mark.parametrize("function", FUNCTIONS)
def test_production_artifacts_import_alone(production_build: Build, runtime: Path, function: str) -> None:
    if production_build.architecture != host_architecture():
        pytest.skip(f"needs a processor of type {production_build.architecture}")
    if production_build.interpreter is None:
        pytest.skip(f"needs Python {production_build.version}")
    import_alone(production_build.interpreter, production_build.folder, runtime, function)


def test_unsupported_runtime_is_not_built(tmp_path: Path) -> None:
    refused = sam_build(tmp_path, "--parameter-overrides", "PythonRuntime=python3.11")
    assert refused.returncode != 0
    (reason,) = (
        line for line in refused.stderr.splitlines() if "AWS no longer creates functions with python3.11" in line
    )
    assert "set PythonRuntime" in reason


@pytest.fixture(scope="module")
def build_for_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build for this machine's processor, so that the artifacts can be imported here."""
    return LocalCloud(tmp_path_factory.mktemp("local")).build()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_local_artifacts_import_alone(build_for_this_machine: Path, runtime: Path, function: str) -> None:
    """The local cloud's own packages are importable in its functions, so it does not notice a missing requirement."""
    import_alone(sys.executable, build_for_this_machine, runtime, function)


def host_architecture() -> str:
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def import_alone(interpreter: str, build: Path, runtime: Path, function: str) -> None:
    """Import a function with its layers and the runtime's packages alone. Bytecode goes to the runtime's folder."""
    layers, adapters = FUNCTIONS[function]
    folders = (function, *(f"{layer}/python" for layer in layers))
    path = [*(str(build / folder) for folder in folders), str(runtime)]
    use_case = re.sub("(?<!^)([A-Z])", r"_\1", function.removesuffix("Function")).lower()
    adapter_modules = [f"giftcards.adapters.{adapter}" for adapter in adapters]
    modules = ", ".join([f"giftcards.use_cases.{use_case}", *adapter_modules])
    program = f"import sys; sys.path[:0] = {path!r}; import app, {modules}"
    cache = f"pycache_prefix={runtime / 'bytecode'}"
    command = [interpreter, "-I", "-S", "-X", cache, "-c", program]  # -I -S: without this environment's packages
    imported = subprocess.run(command, env={"STAGE_NAME": "test"}, capture_output=True, timeout=60, check=False)
    assert imported.returncode == 0, imported.stderr.decode()
