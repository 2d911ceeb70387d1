"""Programs and clients of the local cloud ignore the AWS settings of the user's environment."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.awsrequest import AWSRequest

from giftcards_local import environment
from giftcards_local.cloud import LocalCloud
from giftcards_local.environment import (
    MACHINE,
    NETWORK,
    download_environment,
    is_on_this_machine,
    local_environment,
    local_session,
    shell_lines,
)
from giftcards_local.processes import Process
from support.hostile import Listener, hostile_environment, listening


@pytest.fixture
def listener(on_loopback: None) -> Iterator[Listener]:
    with listening() as running:
        yield running


@pytest.fixture
def hostile(listener: Listener, tmp_path: Path) -> dict[str, str]:
    return hostile_environment(listener.url, tmp_path / "home")


NO_FILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
DIRECT = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def test_only_allowed_variables_are_kept(hostile: dict[str, str]):
    given = hostile | {"PATH": "/bin", "LANG": "C", "NO_PROXY": "intranet", "FUTURE_VARIABLE": "x"}
    assert local_environment(given) == {"PATH": "/bin", "LANG": "C"} | NO_FILES | DIRECT


def test_downloads_use_the_proxy_certificates_and_indexes(hostile: dict[str, str]):
    network = {"HTTPS_PROXY": "http://proxy", "no_proxy": "intranet", "SSL_CERT_FILE": "/cert"}
    indexes = {"UV_INDEX": "https://index", "UV_INDEX_OURS_PASSWORD": "p", "UV_DEFAULT_INDEX": "https://other"}
    kept = download_environment(hostile | network | indexes)
    assert network.items() - kept.items() == {("no_proxy", "intranet")}
    assert kept["no_proxy"] == kept["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    assert indexes.items() <= kept.items()
    assert not {"UV_PYTHON", "UV_SYSTEM_PYTHON", "PIP_USER", "PYTHONPATH", "AWS_PROFILE"} & kept.keys()


def test_no_allowed_variable_can_redirect_aws_programs():
    assert not [name for name in (*MACHINE, *NETWORK, *environment.DOWNLOADS) if name.startswith(("AWS", "SAM"))]


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1:1234", True),
        ("http://[::1]:1234", True),
        ("http://localhost", True),
        ("https://supplier.localhost/v3", True),
        ("https://api.supplier.example", False),
        ("https://10.0.0.1", False),
        ("https://localhost.example", False),
    ],
)
def test_supplier_on_this_machine_is_recognized(url: str, is_local: bool):
    assert is_on_this_machine(url) is is_local


@pytest.fixture
def cloud(tmp_path: Path) -> LocalCloud:
    return LocalCloud(tmp_path, Process(pid=1, started=0.0, port=1234))


def test_clients_of_the_local_cloud_ignore_the_environment(
    hostile: dict[str, str], cloud: LocalCloud, listener: Listener, monkeypatch: pytest.MonkeyPatch
):
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    client = cloud.client("dynamodb")
    sent: list[AWSRequest] = []

    def answer(request: AWSRequest, **_: object) -> None:
        sent.append(request)
        raise InterruptedError

    client.meta.events.register("before-send", answer)
    with pytest.raises(InterruptedError):
        client.list_tables()
    assert sent[0].url == "http://127.0.0.1:1234/"
    assert b"Credential=test/" in sent[0].headers["Authorization"]
    assert b"/us-east-1/" in sent[0].headers["Authorization"]
    assert "X-Amz-Security-Token" not in sent[0].headers
    assert client.meta.config.proxies == {}
    assert client.meta.config.retries["mode"] == "legacy"
    assert listener.heard == []


def test_session_has_the_default_settings_of_botocore(hostile: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    core = local_session()._session
    for name, (_, _, default, _) in core.SESSION_VARIABLES.items():
        if name not in {"config_file", "credentials_file", "region"}:
            assert core.get_config_variable(name) == default, name
    assert core.full_config == {"profiles": {}}


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "dash"])
def test_sourced_file_replaces_all_aws_variables(
    shell: str, hostile: dict[str, str], cloud: LocalCloud, tmp_path: Path
):
    file = tmp_path / "env"
    file.write_text(shell_lines(cloud.environment | {"SUPPLIER_URL": "http://127.0.0.1/$x'y z"}), encoding="utf-8")
    path = {"PATH": os.environ["PATH"]}
    if subprocess.run(["which", shell], capture_output=True, check=False).returncode:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [shell, "-euc", '. "$1" && . "$1" && exec env', shell, str(file)],
        env=hostile | path | {"NO_PROXY": "intranet"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    variables = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert {name: value for name, value in variables.items() if name.startswith("AWS_")} == cloud.environment
    assert variables["SUPPLIER_URL"] == "http://127.0.0.1/$x'y z"
    assert variables["NO_PROXY"] == variables["no_proxy"]
    assert variables["no_proxy"].startswith("intranet,127.0.0.1,localhost")
    assert variables["HTTP_PROXY"] == hostile["HTTP_PROXY"]  # for all other hosts
