"""The part of the user's environment that programs of the local cloud receive.

It is a list of allowed variables. A list of forbidden ones would not be safe: each new AWS SDK can add a variable or
configuration file that redirects AWS programs.
"""

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config

REGION = "us-east-1"
MACHINE = ("PATH", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE")
"""Allowed for every program. Not HOME: programs read configuration files there."""
NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""For programs that call other machines."""
DOWNLOADS = (
    *NETWORK,
    *("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NETRC", "UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_LINK_MODE"),
    *("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_OFFLINE", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES"),
    *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_INSECURE_HOST", "UV_KEYRING_PROVIDER"),
)
"""For ``uv``; in addition, all variables that start with ``UV_INDEX``: indexes, their users and passwords."""
_LOOPBACK = ("127.0.0.1", "localhost")
_NO_PROXY = ",".join(_LOOPBACK)


def local_environment(given: Mapping[str, str], *more: str) -> dict[str, str]:
    """Return the variables for a program that only calls this machine.

    Parameters
    ----------
    given
        The user's environment.
    more
        Names to keep in addition to ``MACHINE``.
    """
    kept = {name: given[name] for name in (*MACHINE, *more) if name in given}
    excluded = [host for host in given.get("no_proxy", given.get("NO_PROXY", "")).split(",") if host]
    direct = ",".join(dict.fromkeys([*excluded, *_LOOPBACK])) if "NO_PROXY" in more else _NO_PROXY
    # Always, even without HTTP_PROXY: macOS's own proxy is used unless a variable such as NO_PROXY is set.
    return kept | {"NO_PROXY": direct, "no_proxy": direct} | no_configuration()


def download_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a program that downloads packages."""
    indexes = [name for name in given if name.startswith("UV_INDEX")]
    return local_environment(given, *DOWNLOADS, *indexes)


def no_configuration() -> dict[str, str]:
    """Return the variables that keep AWS programs from reading the user's configuration files."""
    return {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


def is_on_this_machine(url: str) -> bool:
    """Whether the host of a URL is this machine."""
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def shell_lines(variables: Mapping[str, str]) -> str:
    """Return a script for the shell's ``source``: it unsets all AWS variables and sets the given ones."""
    lines = [
        "# Points the AWS programs of this shell at the local cloud. First, unset all other AWS variables:",
        "for name in $(env | sed -n 's/^\\(AWS_[A-Za-z0-9_]*\\)=.*/\\1/p'); do unset \"$name\"; done",
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        'no_proxy="${no_proxy:-${NO_PROXY:-}}"',
        f'export no_proxy="${{no_proxy:+$no_proxy,}}{_NO_PROXY}"',
        'export NO_PROXY="$no_proxy"',
    ]
    return "\n".join(lines) + "\n"


def local_session(credentials: tuple[str, str, str | None] = ("test", "test", None)) -> boto3.Session:
    """Return a boto3 session that reads no variable, file or proxy of the user. Its clients need an ``endpoint_url``.

    Parameters
    ----------
    credentials
        Access key, secret key and session token. Default: the account's own, which have all permissions.
    """
    defaults: dict[str, Any] = {
        name: (None, None, default, conversion)
        for name, (_, _, default, conversion) in botocore.session.Session.SESSION_VARIABLES.items()
    }
    nowhere = (None, None, os.devnull, None)
    core = botocore.session.Session(session_vars=defaults | {"config_file": nowhere, "credentials_file": nowhere})
    core.set_default_client_config(Config(proxies={}))  # with None, botocore uses the proxies of the environment
    access_key, secret_key, token = credentials
    return boto3.Session(access_key, secret_key, token, region_name=REGION, botocore_session=core)
