"""What programs of the local cloud get of the user's environment: what is named here, and nothing else.

A variable or configuration file that diverts an AWS program can have any name (a new one comes with each SDK), so that
the local cloud cannot work by removing those that are known today.
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
"""What any program may know. HOME is not among them: programs read configuration there."""
NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""How this machine reaches other machines, for programs that have to."""
DOWNLOADS = (
    *NETWORK,
    *("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NETRC", "UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_LINK_MODE"),
    *("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_OFFLINE", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES"),
    *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_INSECURE_HOST", "UV_KEYRING_PROVIDER"),
)
"""How `uv` finds packages; `UV_INDEX`, `UV_INDEX_URL` and each index's user and password come besides."""
_LOOPBACK = ("127.0.0.1", "localhost")
_NO_PROXY = ",".join(_LOOPBACK)


def local_environment(given: Mapping[str, str], *more: str) -> dict[str, str]:
    """Return the variables for a program that only talks to this machine.

    Parameters
    ----------
    given
        The user's environment.
    more
        Names to keep besides those of `MACHINE`.
    """
    kept = {name: given[name] for name in (*MACHINE, *more) if name in given}
    beyond = [host for host in given.get("no_proxy", given.get("NO_PROXY", "")).split(",") if host]
    direct = ",".join(dict.fromkeys([*beyond, *_LOOPBACK])) if "NO_PROXY" in more else _NO_PROXY
    # Not only without HTTP_PROXY: on a Mac, Python asks the system for a proxy unless a variable names any host.
    return kept | {"NO_PROXY": direct, "no_proxy": direct} | no_configuration()


def download_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a program that downloads packages."""
    indexes = [name for name in given if name.startswith("UV_INDEX")]
    return local_environment(given, *DOWNLOADS, *indexes)


def no_configuration() -> dict[str, str]:
    """Return the variables that have AWS programs read no configuration file of the user."""
    return {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


def is_on_this_machine(url: str) -> bool:
    """Whether a URL names this machine."""
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def shell_lines(variables: Mapping[str, str]) -> str:
    """Write what a shell sources so that its AWS programs talk to the local cloud, whatever it had set before.

    Parameters
    ----------
    variables
        Names and values that it gets.
    """
    lines = [
        "# Points the AWS programs of this shell at the local cloud. Forget what pointed them anywhere else:",
        "for name in $(env | sed -n 's/^\\(AWS_[A-Za-z0-9_]*\\)=.*/\\1/p'); do unset \"$name\"; done",
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        'no_proxy="${no_proxy:-${NO_PROXY:-}}"',
        f'export no_proxy="${{no_proxy:+$no_proxy,}}{_NO_PROXY}"',
        'export NO_PROXY="$no_proxy"',
    ]
    return "\n".join(lines) + "\n"


def local_session(credentials: tuple[str, str, str | None] = ("test", "test", None)) -> boto3.Session:
    """Return a boto3 session of the local cloud that reads no variable, file or proxy of the user.

    Its clients need an ``endpoint_url``.

    Parameters
    ----------
    credentials
        Access key, secret key and session token; those of the account by default, which may do everything.
    """
    defaults: dict[str, Any] = {
        name: (None, None, default, conversion)
        for name, (_, _, default, conversion) in botocore.session.Session.SESSION_VARIABLES.items()
    }
    nowhere = (None, None, os.devnull, None)
    core = botocore.session.Session(session_vars=defaults | {"config_file": nowhere, "credentials_file": nowhere})
    core.set_default_client_config(Config(proxies={}))  # None would have botocore look for the environment's
    access_key, secret_key, token = credentials
    return boto3.Session(access_key, secret_key, token, region_name=REGION, botocore_session=core)
