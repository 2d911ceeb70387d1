"""AWS is unreachable or refuses: one line names what to change."""

import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.command_line import CommandResult, command_line

SERVICE = {"CardTableName": "cards", "OrderBusName": "orders", "SupplierApiKeySecretArn": "arn"}
SSO = "sso_start_url=https://x.awsapps.com/start\nsso_region=eu-west-1\nsso_account_id=123456789012\nsso_role_name=r\n"
ROLE = "role_arn=arn:aws:iam::123456789012:role/x\n"


@dataclass
class Aws:
    """Answers every HTTP call as CloudFormation does, and records the requests."""

    url: str = ""
    stacks: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    error: tuple[int, str] | None = None
    listing_is_denied: bool = False
    body: str | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, form: str) -> tuple[int, str]:
        name = next((part.partition("=")[2] for part in form.split("&") if part.startswith("StackName=")), None)
        if self.body is not None:
            return 200, self.body
        if self.error is not None and not self.error[1]:
            return self.error[0], "<html>Bad gateway"
        if self.error is not None or (name is None and self.listing_is_denied):
            status, code = self.error or (403, "AccessDenied")
            return status, f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
        if name is not None and name not in self.stacks:
            code, text = "ValidationError", f"Stack with id {name} does not exist"
            return 400, f"<ErrorResponse><Error><Code>{code}</Code><Message>{text}</Message></Error></ErrorResponse>"
        members = "".join(self._member(each) for each in self.stacks if name in {None, each})
        result = f"<DescribeStacksResult><Stacks>{members}</Stacks></DescribeStacksResult>"
        return 200, f"<DescribeStacksResponse>{result}</DescribeStacksResponse>"

    def _member(self, name: str) -> str:
        status, outputs = self.stacks[name]
        pairs = "".join(
            f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            for key, value in outputs.items()
        )
        times = "<CreationTime>2026-03-14T09:26:53Z</CreationTime>"
        return (
            f"<member><StackName>{name}</StackName>{times}<StackStatus>{status}</StackStatus>"
            f"<Outputs>{pairs}</Outputs></member>"
        )


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Ignore broken connections, which these tests cause."""


def serve(aws: Aws, context: ssl.SSLContext | None = None) -> _Server:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            aws.requests.append((form, self.headers["Authorization"]))
            status, body = aws.answer(form)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Keep the output of the tests clean."""

    server = _Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    aws.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    return server


@pytest.fixture
def aws(on_loopback: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    aws = Aws()
    server = serve(aws)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    yield aws
    server.shutdown()
    server.server_close()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Create a self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now.replace(year=9999))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem, nobody = serialization.Encoding.PEM, serialization.NoEncryption()
    file = tmp_path / "authority.pem"
    file.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, nobody))
    return file


@pytest.fixture
def tls(aws: Aws, authority: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    behind = Aws()
    server = serve(behind, context)
    monkeypatch.setenv("AWS_ENDPOINT_URL", behind.url)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    yield behind
    server.shutdown()
    server.server_close()


Run = Callable[..., CommandResult]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with environment variables; None removes one."""

    def run(*arguments: str, **variables: str | None) -> CommandResult:
        for name, value in variables.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        return command_line(monkeypatch, capsys)(*(arguments or ("show", "order-1")))

    return run


def explains(result: CommandResult, *words: str) -> None:
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("giftcards: ")
    assert result.err.count("\n") == 1
    assert [word for word in words if word not in result.err] == [], result.err
    assert "please report it" not in result.err


# ------------------------------------------------------------------- region


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": None}, "eu-central-1"),
        ({"AWS_REGION": None, "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-central-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
    ],
)
def test_region_of_either_variable_is_used(aws: Aws, run: Run, given: dict[str, str | None], used: str):
    explains(run(**given), f"no stack 'giftcards' in {used}")
    assert {authorization.split("/")[2] for _, authorization in aws.requests} == {used}


def test_region_of_the_profile_is_used_without_a_variable(aws: Aws, run: Run, tmp_path: Path):
    file = tmp_path / "config"
    file.write_text("[default]\nregion=eu-south-1\n")
    explains(run(AWS_DEFAULT_REGION=None, AWS_CONFIG_FILE=str(file)), "in eu-south-1")


# ------------------------------------------------------- profile, credentials

NONE = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_missing_profile_is_named_with_its_variable(aws: Aws, run: Run, variable: str):
    explains(run(**{variable: "nosuch"}), f"{variable} names the profile 'nosuch'", f"`unset {variable}`")
    assert aws.requests == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (f"[profile p]\n{SSO}", ["profile 'p'", "`aws sso login --profile p`"]),
        ("[profile p]\nsso_session=s\nsso_account_id=1\nsso_role_name=r\n", ['sso-session does not exist: "s"']),
        ("[profile p]\nlogin_session=x\n", ["`aws login --profile p`"]),
        ("[profile p]\nregion=eu-west-1\n", ["profile 'p'", "`giftcards local up`"]),
        ("[profile p]\ncredential_process=/no/such\n", ["/no/such cannot be read", "profile 'p'"]),
        ("[profile p]\ncredential_process=false\n", ["profile 'p'", "`aws sts get-caller-identity --profile p`"]),
        (f"[profile p]\n{ROLE}source_profile=q\n", ['source_profile "q"']),
        (f"[profile p]\n{ROLE}source_profile=p2\n[profile p2]\n{ROLE}source_profile=p\n", ["Infinite loop"]),
        (f"[profile p]\n{ROLE}credential_source=Nothing\n", ['"Nothing"']),
        ("[profile p\nx", ["config cannot be read as an AWS configuration file"]),
    ],
)  # fmt: skip
def test_profile_without_credentials_is_named(aws: Aws, run: Run, config: str, words: list[str], tmp_path: Path):
    file = tmp_path / "config"
    file.write_text(config)
    explains(run(AWS_PROFILE="p", AWS_CONFIG_FILE=str(file), HOME=str(tmp_path), **NONE), *words)


@pytest.mark.filterwarnings("ignore:Can not control echo")
def test_mfa_code_without_a_terminal_is_explained(aws: Aws, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "config"
    mfa = "mfa_serial=arn:aws:iam::123456789012:mfa/x\n"
    file.write_text(
        f"[profile p]\n{ROLE}source_profile=q\n{mfa}[profile q]\naws_access_key_id=a\naws_secret_access_key=b\n"
    )
    monkeypatch.setattr("sys.stdin", StringIO())
    result = run(AWS_PROFILE="p", AWS_CONFIG_FILE=str(file), **NONE)
    assert result.err.endswith("\n")
    assert "the credentials of profile 'p' require an MFA code" in result.err  # after the prompt for the code


def test_configuration_file_with_wrong_encoding_is_named(aws: Aws, run: Run, tmp_path: Path):
    file = tmp_path / "config"
    file.write_bytes("[default]\nregion=é".encode("latin-1"))
    explains(run(AWS_CONFIG_FILE=str(file)), f"{file} cannot be read as an AWS configuration file")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (NONE, ["no AWS credentials are set", "`giftcards local up`"]),
        ({"AWS_SECRET_ACCESS_KEY": None}, ["AWS_SECRET_ACCESS_KEY is missing"]),
        ({"AWS_CREDENTIAL_EXPIRATION": "2026-01-01T00:00:00Z"}, ["have expired (AWS_CREDENTIAL_EXPIRATION"]),
        ({"AWS_CREDENTIAL_EXPIRATION": "tomorrow"}, ["wrong value", "tomorrow"]),
        (NONE | {"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such", "AWS_ROLE_ARN": "arn:x"}, ["/no/such"]),
        ({"AWS_DEFAULT_REGION": None}, ["no AWS region is set", "AWS_REGION"]),
        ({"AWS_REGION": "eu west 1"}, ["'eu west 1' is not an AWS region: correct AWS_REGION"]),
        ({"AWS_DEFAULT_REGION": "eu_west_1"}, ["correct AWS_DEFAULT_REGION"]),
        ({"AWS_STS_REGIONAL_ENDPOINTS": "x"}, ["STS regional endpoints option x"]),
        ({"AWS_DEFAULTS_MODE": "x"}, ["defaults mode"]),
    ],
)  # fmt: skip
def test_missing_or_invalid_variable_is_named(
    aws: Aws, run: Run, variables: dict[str, str | None], words: list[str], tmp_path: Path
):
    explains(run(HOME=str(tmp_path), **variables), *words)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ExpiredToken", ["AWS refused DescribeStacks: ExpiredToken", "have expired"]),
        ("RequestExpired", ["clock"]),
        ("InvalidClientTokenId", ["does not accept the credentials in AWS_ACCESS_KEY_ID"]),
        ("SignatureDoesNotMatch", ["does not accept the credentials in AWS_ACCESS_KEY_ID"]),
        ("AccessDenied", ["AWS refused DescribeStacks: AccessDenied", "docs/runbook.md"]),
        ("Throttling", ["AWS refused DescribeStacks: Throttling"]),
    ],
)
def test_refusal_names_the_credentials(aws: Aws, run: Run, code: str, words: list[str]):
    aws.error = (400, code)
    explains(run(), *words)


def test_refusal_names_the_profile(aws: Aws, run: Run, tmp_path: Path):
    file = tmp_path / "config"
    file.write_text("[profile p]\naws_access_key_id=a\naws_secret_access_key=b\n")
    aws.error = (403, "AccessDenied")
    explains(run(AWS_PROFILE="p", AWS_CONFIG_FILE=str(file), **NONE), "the credentials of profile 'p'")


# ----------------------------------------------------------------- endpoint


@pytest.mark.parametrize(
    "endpoint",
    ["127.0.0.1:4566", "localhost:4566", "http://", "http:// x", "http://127.0.0.1:abc", "http://127.0.0.1:99999",
     "ftp://127.0.0.1:1", '"http://127.0.0.1:1"'],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_CLOUDFORMATION"])
def test_invalid_endpoint_is_named_with_its_variable(aws: Aws, run: Run, variable: str, endpoint: str):
    explains(run(**{variable: endpoint}), f"{variable}={endpoint} is not a valid", "http://HOST:PORT")


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"])
def test_credential_with_a_line_break_is_not_quoted(aws: Aws, run: Run, variable: str):
    result = run(**{variable: "AKIA1\nAKIA2"})
    explains(result, variable, "control character")
    assert "AKIA" not in result.err


def test_invalid_endpoint_of_one_service_is_named(aws: Aws, run: Run):
    aws.stacks = {"giftcards": ("CREATE_COMPLETE", SERVICE)}
    explains(run(AWS_ENDPOINT_URL_DYNAMODB="127.0.0.1:1"), "AWS_ENDPOINT_URL_DYNAMODB=127.0.0.1:1 is not a valid")
    explains(
        run("place", "x", "--user", "alice", AWS_ENDPOINT_URL_DYNAMODB="", AWS_ENDPOINT_URL_EVENTBRIDGE="127.0.0.1"),
        "is not a valid",
    )


def test_invalid_endpoint_in_a_file_is_named_with_the_file(aws: Aws, run: Run, tmp_path: Path):
    file = tmp_path / "config"
    file.write_text("[default]\nendpoint_url=127.0.0.1:1\n")
    explains(run(AWS_ENDPOINT_URL=None, AWS_CONFIG_FILE=str(file)), "endpoint_url", str(file))


def test_unreachable_endpoint_explains_how_to_create_a_stack(aws: Aws, run: Run):
    result = run(AWS_ENDPOINT_URL="http://user:secret@127.0.0.1:9")
    explains(result, "nothing answers at http://127.0.0.1:9", "`giftcards local up`")
    assert "secret" not in result.err


def test_unresolvable_host_is_named(aws: Aws, run: Run, monkeypatch: pytest.MonkeyPatch):
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    explains(run(AWS_ENDPOINT_URL="https://nosuch.invalid"), "the host of https://nosuch.invalid/ cannot be resolved")


@pytest.mark.parametrize(("status", "body"), [(200, "<html>hello</html>"), (200, "hello"), (200, "")])
def test_server_that_is_not_aws_is_named(aws: Aws, run: Run, status: int, body: str):
    aws.body = body
    explains(run(), f"{aws.url} answers", "not like AWS")


def test_gateway_error_is_named_with_its_status(aws: Aws, run: Run):
    aws.error = (502, "")
    result = run()
    explains(result, f"{aws.url} answered DescribeStacks with HTTP 502")


def test_untrusted_certificate_is_named(tls: Aws, run: Run):
    result = run()
    explains(result, f"the certificate of {tls.url}/ is not trusted (self-signed certificate)", "AWS_CA_BUNDLE")
    assert "nothing answers" not in result.err


def test_certificate_of_the_bundle_is_trusted(tls: Aws, run: Run, authority: Path):
    explains(run(AWS_CA_BUNDLE=str(authority)), "there is no stack 'giftcards'")


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_unreadable_bundle_is_named(tls: Aws, run: Run, content: bytes | None, tmp_path: Path):
    if content is not None:
        (tmp_path / "bundle").write_bytes(content)
    result = run(AWS_CA_BUNDLE=str(tmp_path / "bundle"))
    explains(result, "AWS_CA_BUNDLE")
    assert "nothing answers" not in result.err


def test_wrong_scheme_is_named(tls: Aws, aws: Aws, run: Run):
    explains(run(AWS_ENDPOINT_URL=tls.url.replace("https", "http")), "write it with https://")
    explains(run(AWS_ENDPOINT_URL=aws.url.replace("http", "https")), "write it with http://")


@pytest.mark.parametrize("proxy", ["http://user:secret@127.0.0.1:9", "http://127.0.0.1:9"])
def test_unreachable_proxy_is_named_with_its_variable(aws: Aws, run: Run, proxy: str):
    result = run(AWS_ENDPOINT_URL=None, HTTPS_PROXY=proxy)
    explains(result, "(HTTPS_PROXY) does not connect to AWS", "127.0.0.1:9")
    assert "secret" not in result.err
    assert "nothing answers" not in result.err


# -------------------------------------------------------------------- stack


def test_stack_of_another_stage_is_named(aws: Aws, run: Run):
    aws.stacks = {"giftcards-dev": ("UPDATE_COMPLETE", SERVICE), "website": ("CREATE_COMPLETE", {"Url": "x"})}
    result = run()
    explains(result, "there is no stack 'giftcards' in eu-west-1", "`--stack giftcards-dev`")
    assert "website" not in result.err
    aws.stacks["giftcards-staging"] = aws.stacks["giftcards-dev"]
    explains(run(), "`--stack giftcards-dev` or `--stack giftcards-staging`")


def test_missing_stack_is_named_if_listing_is_denied(aws: Aws, run: Run):
    aws.listing_is_denied = True
    explains(run("orders", "--stack", "giftcards-dev"), "there is no stack 'giftcards-dev' in eu-west-1", "AWS_REGION")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("CREATE_IN_PROGRESS", "try again when it is complete"),
        ("REVIEW_IN_PROGRESS", "change set"),
        ("ROLLBACK_IN_PROGRESS", "describe-stack-events --stack-name giftcards"),
        ("ROLLBACK_COMPLETE", "describe-stack-events --stack-name giftcards"),
        ("ROLLBACK_FAILED", "describe-stack-events --stack-name giftcards"),
        ("CREATE_FAILED", "describe-stack-events --stack-name giftcards"),
        ("DELETE_IN_PROGRESS", "wait until it is deleted, then deploy again"),
        ("DELETE_FAILED", "wait until it is deleted, then deploy again"),
        ("CREATE_COMPLETE", "not a gift-card service"),
    ],
)
def test_unusable_stack_is_named_with_its_status(aws: Aws, run: Run, status: str, words: str):
    aws.stacks = {"giftcards": (status, {})}
    explains(run(), f"the stack 'giftcards' is {status}", words)


@pytest.mark.parametrize("name", ["", "a b", "1a", "ü", "a_b", "a" * 129])
def test_invalid_stack_name_is_wrong_usage(aws: Aws, run: Run, name: str):
    result = run("orders", "--stack", name)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "--stack" in result.err
    assert aws.requests == []


def test_stack_of_another_release_names_what_is_missing(aws: Aws, run: Run):
    aws.stacks = {"giftcards": ("CREATE_COMPLETE", SERVICE)}
    real = aws.answer
    aws.answer = lambda form: (  # type: ignore[method-assign]
        (400, "<ErrorResponse><Error><Code>ValidationError</Code></Error></ErrorResponse>")
        if "DescribeStackResource" in form
        else real(form)
    )
    explains(run("gate"), "the stack 'giftcards' has no GateTable", "another release")
