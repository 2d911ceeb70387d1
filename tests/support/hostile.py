"""An environment that diverts every AWS program, Python and package installer, and a listener that notices it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONFIG = """[default]
region = eu-north-1
endpoint_url = {url}
use_fips_endpoint = true
ca_bundle = /no/such/bundle
ignore_configured_endpoint_urls = true
services = elsewhere
credential_process = /no/such/program

[services elsewhere]
dynamodb =
  endpoint_url = {url}
cloudformation =
  endpoint_url = {url}
"""


def hostile_environment(url: str, folder: Path) -> dict[str, str]:
    """Return variables that lead to a URL, or break what believes them.

    Parameters
    ----------
    url
        Of a server that must not be called.
    folder
        Takes the configuration files, as a home folder.
    """
    (folder / ".aws").mkdir(parents=True)
    for name in ("config", "credentials"):
        (folder / ".aws" / name).write_text(CONFIG.format(url=url), encoding="utf-8")
    services = (
        "CLOUDFORMATION",
        "DYNAMODB",
        "EVENTBRIDGE",
        "KMS",
        "LAMBDA",
        "S3",
        "SECRETS_MANAGER",
        "SFN",
        "SQS",
        "STS",
    )
    return {
        "HOME": str(folder),
        "AWS_PROFILE": "nosuch",
        "AWS_DEFAULT_PROFILE": "nosuch",
        "AWS_CONFIG_FILE": str(folder / ".aws" / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / ".aws" / "credentials"),
        "AWS_ENDPOINT_URL": url,
        **{f"AWS_ENDPOINT_URL_{service}": url for service in services},
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_ACCESS_KEY_ID": "AKIAHOSTILE",
        "AWS_SECRET_ACCESS_KEY": "hostile",
        "AWS_SESSION_TOKEN": "hostile",
        "AWS_CREDENTIAL_EXPIRATION": "2026-01-01T00:00:00Z",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/hostile",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such/token",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/no/such/token",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
        "AWS_REGION": "eu-north-1",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_CA_BUNDLE": "/no/such/bundle",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_STS_REGIONAL_ENDPOINTS": "no-such-mode",
        "AWS_RETRY_MODE": "no-such-mode",
        "AWS_MAX_ATTEMPTS": "no-number",
        "AWS_DEFAULTS_MODE": "no-such-mode",
        "AWS_CSM_ENABLED": "true",
        "AWS_DATA_PATH": "/no/such/folder",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": "hostile",
        "SAM_CLI_CONFIG_ENV": "prod",
        "SAM_CLI_STACK_NAME": "hostile",
        "SAM_CLI_BETA_FEATURES": "0",
        "LAYER_TARGET": "--python-version 3.8",
        "MINISTACK_HOST": "hostile.invalid",
        "LOCALSTACK_HOSTNAME": "hostile.invalid",
        "EDGE_PORT": "1",
        "USE_SSL": "1",
        "SERVICES": "s3",
        "LAMBDA_EXECUTOR": "docker",
        "SUPPLIER_BASE_URL": url,
        "HTTP_PROXY": url,
        "http_proxy": url,
        "REQUESTS_CA_BUNDLE": "/no/such/bundle",
        "CURL_CA_BUNDLE": "/no/such/bundle",
        "PIP_USER": "1",
        "PIP_TARGET": "/no/such/folder",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "UV_PYTHON": "3.8",
        "UV_SYSTEM_PYTHON": "1",
        "UV_REQUIRE_HASHES": "1",
        "UV_NO_BUILD_ISOLATION": "1",
        "UV_PROJECT_ENVIRONMENT": "/no/such/folder",
        "VIRTUAL_ENV": "/no/such/folder",
        "CONDA_PREFIX": "/no/such/folder",
        "PYTHONIOENCODING": "ascii",
        "MAKEFLAGS": "--no-such-option",
    }  # fmt: skip


class Listener:
    """Accepts connections on 127.0.0.1, answers none, and keeps the first bytes of each."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(1)
                    first = b"(nothing)"
                    with suppress(OSError):
                        first = connection.recv(300)
                    self.heard.append(first)


@contextmanager
def listening() -> Iterator[Listener]:
    """Listen for calls that should not come."""
    listener = Listener()
    try:
        yield listener
    finally:
        listener.close()
