"""The local cloud: one AWS emulator process, and the deployment of the template to it.

docs/architecture.md lists the emulator's settings and limits.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.exceptions import ClientError

from giftcards_local import PROJECT, STACK_NAME
from giftcards_local.environment import (
    NETWORK,
    REGION,
    download_environment,
    local_environment,
    local_session,
    no_configuration,
)
from giftcards_local.processes import LocalError, Process, free_port, start

CLOUD_PYTHON = PROJECT / ".venv-cloud" / "bin" / "python"
_PYTHON = PROJECT / ".venv" / "bin" / "python"
TEMPLATE = PROJECT / "template.yaml"
SAM_TIMEOUT_SECONDS = 1800
"""``sam`` downloads packages, and takes ten times as long on a busy machine."""
MAIL_FROM = "cards@shop.example"
ON_LOCAL_CLOUD = {
    "DeployTarget": "local",
    "Stage": "local",
    "ShopName": "Example Shop",
    "ShopContact": "help@shop.example",
    "MailFrom": MAIL_FROM,
    "ShopApi": "true",
}


class LocalCloud:
    """A local cloud with all its files in one folder: state, builds, logs and temporary files.

    Parameters
    ----------
    process
        The emulator, if it is running already.
    """

    def __init__(self, folder: Path, process: Process | None = None) -> None:
        self.folder = folder
        self.process = process

    def start(self, *, preferred_port: int | None = None, reaches_out: bool = False) -> Process:
        """Start the emulator on 127.0.0.1, with the state it had when it was stopped.

        Parameters
        ----------
        preferred_port
            Used if it is free.
        reaches_out
            Whether the functions call a supplier on another machine and need the user's proxy and certificates.
        """
        if not CLOUD_PYTHON.exists():
            raise LocalError("the local cloud is not installed; run `make setup` in the project's folder first")
        port = free_port(preferred_port)
        temporary = self.folder / "tmp"  # the emulator leaves gigabytes of worker folders there
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        self.process = start(
            [str(CLOUD_PYTHON), "-P", "-m", "ministack"],
            port=port,
            log=self.folder / "cloud.log",
            environment=local_environment(os.environ, *(NETWORK if reaches_out else ()))
            | {
                "HOME": str(temporary),
                "GATEWAY_PORT": str(port),
                "BIND_HOST": "127.0.0.1",
                "AUTH": "true",  # enforce the functions' roles
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                "LAMBDA_WARM_TTL_SECONDS": os.environ.get("LAMBDA_WARM_TTL_SECONDS", "20"),
                "PERSIST_STATE": "1",
                "STATE_DIR": str(self.folder / "state"),
                "S3_PERSIST": "1",
                "S3_DATA_DIR": str(self.folder / "s3"),
                "TMPDIR": str(temporary),
            },
            ready=lambda: _is_healthy(port),
        )
        return self.process

    def stop(self) -> None:
        """Stop the emulator, which saves its state."""
        if self.process is not None:
            self.process.stop()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that point AWS programs at this cloud."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        } | no_configuration()

    @property
    def url(self) -> str:
        """Endpoint of all AWS services of this cloud."""
        return self._running.url

    @property
    def session(self) -> boto3.Session:
        """A boto3 session with this cloud's credentials; clients also need the ``url``."""
        return local_session()

    def client(self, service: str) -> Any:
        return self.session.client(service, endpoint_url=self.url)  # type: ignore[call-overload]

    def dynamodb(self) -> Any:
        """Return a DynamoDB client that converts to and from Python types."""
        return self.session.resource("dynamodb", endpoint_url=self.url).meta.client

    def sent_mails(self) -> list[dict[str, str]]:
        """Return the mails that functions have sent with SES, the oldest first. None of them left this machine."""
        answer = httpx.get(f"{self.url}/_ministack/ses/messages", timeout=10, trust_env=False).raise_for_status()
        records = [record for account in answer.json()["messages"].values() for record in account]
        return [
            {
                "to": ", ".join(record["To"]),
                "from": record["Source"],
                "subject": record["Subject"],
                "text": record["BodyText"],
                "html": record["BodyHtml"],
                "sentAt": datetime.fromtimestamp(record["Timestamp"], UTC).isoformat(timespec="seconds"),
            }
            for record in sorted(records, key=lambda record: record["Timestamp"])
        ]

    def build(self, template: Path = TEMPLATE) -> Path:
        """Build a template for this machine and return the folder of the artifacts. The cloud need not run."""
        folder = self.folder / "build"
        overrides = _overrides({**_this_machine(), **ON_LOCAL_CLOUD})
        options = ["--template-file", str(template), "--build-dir", str(folder), *overrides]
        self._sam("build", *options, environment=download_environment(os.environ))
        return folder

    def deploy(self, parameters: Mapping[str, str], template: Path = TEMPLATE) -> None:
        """Build a template for this machine and deploy it as the stack ``STACK_NAME``.

        Parameters
        ----------
        parameters
            Stack parameters in addition to the target, runtime and architecture.

        Raises
        ------
        LocalError
            If ``sam`` fails; the message names its log.
        """
        built = str(self.build(template) / "template.yaml")
        options = ["--template-file", built, "--stack-name", STACK_NAME, "--no-confirm-changeset"]
        overrides = _overrides({**parameters, **_this_machine(), **ON_LOCAL_CLOUD})
        self.client("sesv2").create_email_identity(EmailIdentity=MAIL_FROM)  # this cloud verifies it at once
        self._sam("deploy", *options, *overrides, environment=local_environment(os.environ) | self.environment)

    def set_api_key(self, api_key: str) -> None:
        """Store the supplier's API key in the stack's secret, unless it is stored already."""
        secrets = self.client("secretsmanager")
        secret_arn = self.outputs()["SupplierApiKeySecretArn"]
        if secrets.get_secret_value(SecretId=secret_arn).get("SecretString") != api_key:
            secrets.put_secret_value(SecretId=secret_arn, SecretString=api_key)

    def shop_variables(self) -> dict[str, str]:
        """Return what a shop's program needs: the API's URL and key, and the webhook's key if there is a webhook."""
        outputs, secrets = self.outputs(), self.client("secretsmanager")

        def value(output: str) -> str:
            return str(secrets.get_secret_value(SecretId=outputs[output])["SecretString"])

        variables = {"SHOP_API_URL": f"{self.url}{outputs['ShopApiUrl']}", "SHOP_API_KEY": value("ShopApiKeySecretArn")}
        if "WebhookKeySecretArn" in outputs:
            variables["WEBHOOK_KEY"] = value("WebhookKeySecretArn")
        return variables

    def has_stack(self) -> bool:
        """Whether the stack is deployed."""
        try:
            return bool(self.outputs())
        except ClientError:
            return False

    def outputs(self) -> dict[str, str]:
        cloudformation = self.client("cloudformation")
        stack = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        return {str(output["OutputKey"]): str(output["OutputValue"]) for output in stack["Outputs"]}

    @property
    def _running(self) -> Process:
        if self.process is None:
            raise LocalError("the local cloud is not running; start it with `giftcards local up`")
        return self.process

    def _sam(self, command: str, *arguments: str, environment: Mapping[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"sam-{command}.log"
        sam = [str(_PYTHON), "-P", "-m", "samcli", command, "--config-file", str(PROJECT / "samconfig.toml")]
        try:
            with log.open("wb") as output:
                subprocess.run(
                    [*sam, *arguments],
                    cwd=PROJECT,
                    env={**environment, **self._sam_environment()},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=SAM_TIMEOUT_SECONDS,
                    check=True,
                )
        except subprocess.CalledProcessError:
            raise LocalError(f"`sam {command}` failed; its output is in {log}") from None
        except subprocess.TimeoutExpired:
            raise LocalError(
                f"`sam {command}` took longer than {SAM_TIMEOUT_SECONDS} s; its output is in {log}"
            ) from None

    def _sam_environment(self) -> dict[str, str]:
        return {
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.2",  # seconds; the default of 5 is for AWS, which takes longer
            "__SAM_CLI_APP_DIR": str(self.folder / "sam"),  # otherwise it writes to the home folder
            "PATH": os.pathsep.join((str(_PYTHON.parent), os.environ.get("PATH", ""))),  # uv is next to sam
        }


def _is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/_ministack/health", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _overrides(parameters: Mapping[str, str]) -> list[str]:
    return ["--parameter-overrides", *(f'{name}="{value}"' for name, value in parameters.items())]


def _this_machine() -> dict[str, str]:
    """Return the parameters for functions that run in the emulator, which uses its own Python."""
    version = subprocess.run(
        [str(CLOUD_PYTHON), "-P", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        env=local_environment(os.environ),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    architecture = "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"
    return {"PythonRuntime": f"python{version}", "Architecture": architecture}
