"""Explain in one line why a call to AWS failed, and what to change.

Variables and configuration files are quoted. Responses are not: they could contain a card.
"""

import re
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

HOW_TO_CREATE = (
    "`giftcards local up` creates one on this machine (then `source .giftcards/env`); "
    "`make deploy STAGE=dev` creates one on AWS"
)
CONNECT_TIMEOUT_SECONDS = 3
_CORRECT = "correct it, or the variable that names it"
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_UNKNOWN = {
    *("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure"),
    *("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "MissingAuthenticationToken"),
}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "Forbidden", "403"}
_SETTINGS = (
    *(aws.InvalidConfigError, aws.InvalidRetryConfigurationError, aws.InvalidSTSRegionalEndpointsConfigError),
    *(aws.InvalidDefaultsMode, aws.InvalidIMDSEndpointError, aws.InvalidIMDSEndpointModeError),
    *(aws.EndpointVariantError, aws.EndpointProviderError, aws.InvalidProxiesConfigError),
    *(aws.MissingDependencyException, aws.UnknownRegionError, aws.UnknownCredentialError),
)
"""Their messages quote only variables and configuration files."""
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def region(environment: Mapping[str, str]) -> str | None:
    """Return the region, or None if the profile sets it. boto3 ignores ``AWS_REGION``; Lambda and ``aws`` use it.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html
    """
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or None


def explain(error: Exception, stack_name: str, environment: Mapping[str, str]) -> str:
    """Return one line that says why a call to AWS failed, and what to do."""
    if isinstance(error, aws.ClientError):
        return _refusal(error, environment)
    if isinstance(
        error, (aws.NoRegionError, aws.NoCredentialsError, aws.EndpointConnectionError, aws.ConnectTimeoutError)
    ):
        return f"{_unreachable(error, environment)}, so the stack {stack_name!r} cannot be reached: {HOW_TO_CREATE}"
    reasons = (
        _about_control_characters,
        _about_profile,
        _about_credentials,
        _about_proxy_and_certificate,
        _about_endpoint,
        _about_settings,
    )
    explanations = (reason(error, environment) for reason in reasons)
    return next(filter(None, explanations), f"the call to AWS failed ({type(error).__name__}); try again")


def _refusal(error: aws.ClientError, environment: Mapping[str, str]) -> str:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?")
    code = str(error.response.get("Error", {}).get("Code") or status)
    refused = f"AWS refused {error.operation_name}: {code}"
    credentials = _credentials(environment)
    if code in _EXPIRED:
        return f"{refused}; {credentials} have expired (or this machine's clock is wrong): get new ones"
    if code in _UNKNOWN:
        return f"{refused}; AWS does not accept {credentials}: check that they are complete and for the right account"
    if code in _DENIED:
        return f"{refused}; {credentials} do not have the permission: docs/runbook.md lists what each command needs"
    if code.isdigit():  # not from AWS, but from a proxy or gateway
        return (
            f"{_endpoints(environment)} answered {error.operation_name} with HTTP {code}, not as AWS does: "
            "check the endpoint, and any proxy or gateway on the way"
        )
    return refused


def _unreachable(error: aws.BotoCoreError, environment: Mapping[str, str]) -> str:
    match error:
        case aws.NoRegionError():
            return "no AWS region is set (`export AWS_REGION=…`)"
        case aws.NoCredentialsError():
            profile = _profile(environment)
            return f"no AWS credentials are set{f' in profile {profile!r}' if profile else ''}"
        case aws.ConnectTimeoutError():
            return f"nothing answers at {_where(error)} within {CONNECT_TIMEOUT_SECONDS} s"
    if "NameResolution" in type(error.kwargs.get("error")).__name__:
        return f"the host of {_where(error)} cannot be resolved (check the network and the region)"
    return f"nothing answers at {_where(error)}"


def _about_profile(error: Exception, environment: Mapping[str, str]) -> str | None:
    match error:
        case aws.ProfileNotFound():
            variable = _profile_variable(environment)
            return (
                f"{variable} names the profile {_profile(environment)!r}, which is not in {_files(environment)}: "
                f"name one that `aws configure list-profiles` shows, or `unset {variable}`"
            )
        case aws.PartialCredentialsError():
            return f"{_credentials(environment)} are incomplete: {error.kwargs['cred_var']} is missing"
    return None


def _about_credentials(error: Exception, environment: Mapping[str, str]) -> str | None:
    profile = _profile(environment)
    credentials = _credentials(environment)
    match error:
        case aws.LoginError():
            return f"{credentials} have expired or were never fetched: `aws login{_option(profile)}`"
        case aws.SSOError() | aws.TokenRetrievalError() | aws.UnauthorizedSSOTokenError():
            return f"{credentials} have expired or were never fetched: `aws sso login{_option(profile)}`"
        case aws.CredentialRetrievalError():
            how = f"`aws sts get-caller-identity{_option(profile)}` shows why"
            return f"{credentials} cannot be fetched ({error.kwargs['provider']}): {how}"
        case aws.RefreshWithMFAUnsupportedError() | EOFError():
            return f"{credentials} require an MFA code: run the command in a terminal"
        case RuntimeError():  # raised by RefreshableCredentials: https://github.com/boto/botocore/blob/develop/botocore/credentials.py
            return f"{credentials} have expired (AWS_CREDENTIAL_EXPIRATION, or at their source): get new ones"
    return None


def _about_proxy_and_certificate(error: Exception, environment: Mapping[str, str]) -> str | None:
    match error:
        case aws.ProxyConnectionError():
            names = _set(environment, "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
            return (
                f"the proxy {error.kwargs['proxy_url']} ({names}) does not connect to AWS: correct the variable, "
                "or add the endpoint's host to NO_PROXY"
            )
        case aws.SSLError():
            where, cause = _where(error), error.kwargs["error"].args[0]
            bundle = _set(environment, "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE") or "ca_bundle of the profile"
            if isinstance(cause, ssl.SSLCertVerificationError):
                return (
                    f"the certificate of {where} is not trusted ({cause.verify_message}): "
                    "set AWS_CA_BUNDLE to the file with its CA certificate"
                )
            if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError):
                return f"the certificates that {bundle} names cannot be read: {cause.strerror}"
            if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
                return f"{where} does not use TLS: if the endpoint is right, write it with http://"
            reason = getattr(cause, "reason", None) or type(cause).__name__
            return f"no TLS connection to {where} ({reason}): check {bundle}"
    return None


def _about_control_characters(error: Exception, environment: Mapping[str, str]) -> str | None:
    unsendable = [name for name in _CREDENTIALS if not environment.get(name, "").isprintable()]
    if unsendable and (isinstance(error, ValueError) or type(error) is aws.HTTPClientError):
        return f"{' and '.join(unsendable)} contains a line break or another control character: copy the value again"
    return None


def _about_endpoint(error: Exception, environment: Mapping[str, str]) -> str | None:
    match error:
        case aws.ReadTimeoutError():
            return f"{_where(error)} accepted the call but did not respond in time; try again"
        case aws.ConnectionClosedError():
            return f"{_where(error)} closed the connection without a response: if the endpoint is right, write it with https://"
        case ResponseParserError() | KeyError():
            return f"{_endpoints(environment)} answers, but not like AWS: check that the endpoint is the right server"
    if isinstance(error, ValueError) or type(error) is aws.HTTPClientError:
        wrong = [
            f"{name}={value}"
            for name, value in environment.items()
            if name.startswith("AWS_ENDPOINT_URL") and not _is_url(value)
        ]
        if wrong:
            return f"{' and '.join(wrong)} is not a valid endpoint URL: write it as http://HOST:PORT or https://HOST"
        if "nvalid endpoint" in str(error):
            return f"endpoint_url in {_files(environment)} is not a valid URL: write it as http://HOST:PORT or https://HOST"
    return None


def _about_settings(error: Exception, environment: Mapping[str, str]) -> str | None:
    match error:
        case aws.InvalidRegionError():
            variable = _set(environment, "AWS_REGION") or _set(environment, "AWS_DEFAULT_REGION")
            return f"{error.kwargs['region_name']!r} is not an AWS region: correct {variable or _files(environment)}"
        case aws.ConfigParseError() | aws.ConfigNotFound():
            return f"{error.kwargs['path']} cannot be read as an AWS configuration file: {_CORRECT}"
        case OSError():
            return (
                f"{error.filename or 'a file'} cannot be read ({error.strerror}): {_credentials(environment)} need it"
            )
        case ValueError():
            return f"an AWS_ variable or {_files(environment)} has a wrong value: {error}"
    if isinstance(error, _SETTINGS):
        return f"an AWS_ variable or {_files(environment)} is wrong: {error}"
    return None


def _profile_variable(environment: Mapping[str, str]) -> str | None:
    return next((name for name in ("AWS_DEFAULT_PROFILE", "AWS_PROFILE") if environment.get(name)), None)


def _profile(environment: Mapping[str, str]) -> str | None:
    variable = _profile_variable(environment)
    return environment[variable] if variable else None


def _option(profile: str | None) -> str:
    return f" --profile {profile}" if profile else ""


def _credentials(environment: Mapping[str, str]) -> str:
    """Name the credentials in use. Credentials in variables take precedence over a profile named by a variable."""
    if environment.get("AWS_ACCESS_KEY_ID"):
        return "the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    profile = _profile(environment)
    if profile:
        return f"the credentials of profile {profile!r}"
    return "the credentials of the default profile"


def _files(environment: Mapping[str, str]) -> str:
    config = environment.get("AWS_CONFIG_FILE") or "~/.aws/config"
    return f"{config} or {environment.get('AWS_SHARED_CREDENTIALS_FILE') or '~/.aws/credentials'}"


def _set(environment: Mapping[str, str], *names: str) -> str:
    return " or ".join(name for name in names if environment.get(name))


def _where(error: aws.BotoCoreError) -> str:
    return _without_password(str(error.kwargs.get("endpoint_url", "AWS")))


def _endpoints(environment: Mapping[str, str]) -> str:
    urls = [_without_password(value) for name, value in environment.items() if name.startswith("AWS_ENDPOINT_URL")]
    return " or ".join(dict.fromkeys(urls)) or "a proxy or gateway on the way to AWS"


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text.strip())
        return (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and " " not in parts.netloc and parts.port != 0
        )
    except ValueError:
        return False
