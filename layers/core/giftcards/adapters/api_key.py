"""The supplier's API key in Secrets Manager, cached so briefly that a rotated key needs no deploy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from pydantic import SecretStr

CACHE_SECONDS = 60


_SET_IT = "Store only the key in the secret, as plain text."


@dataclass(frozen=True)
class ApiKey:
    """The key and the secret's version.

    Attributes
    ----------
    value
        None if no usable key is set.
    version
        Version id of the secret; None if the secret has never had a value.
    problem
        Why there is no value, and what to do, without any part of the secret; empty if there is a value.
    """

    value: SecretStr | None
    version: str | None
    problem: str = ""


class _UnusableKeyError(ValueError):
    """The secret has no usable key. The message says why, without any part of the secret."""


def _key_in(secret: Mapping[str, Any]) -> str:
    """Find the key in the secret.

    Editors and consoles wrap it in a byte order mark, blanks, quotes, or a JSON object, which is the console's default
    (https://docs.aws.amazon.com/secretsmanager/latest/userguide/create_secret.html).
    """
    text = secret.get("SecretString")
    if text is None:
        try:
            text = secret.get("SecretBinary", b"").decode()
        except UnicodeDecodeError:
            raise _UnusableKeyError("The secret is binary and not text.") from None
    text = _unwrapped(text)
    if text[:1] in {"{", "["}:
        text = _unwrapped(_only_text_in(text))
    if text == "":
        raise _UnusableKeyError("The secret is empty.")
    if text[:1] in {"{", "["}:
        raise _UnusableKeyError("The secret contains JSON nested in JSON.")
    if not text.isascii() or not text.isprintable():
        raise _UnusableKeyError("The secret contains characters that are not allowed in an HTTP header.")
    return text


def _only_text_in(document: str) -> str:
    try:
        fields = json.loads(document)
    except (ValueError, RecursionError):
        raise _UnusableKeyError("The secret starts like JSON but is not valid JSON.") from None
    texts = [text for text in fields.values() if isinstance(text, str)] if isinstance(fields, dict) else []
    if len(texts) != 1:
        raise _UnusableKeyError(f"The secret is JSON with {len(texts)} string values; exactly one is needed.")
    return texts[0]


def _unwrapped(text: str) -> str:
    text = text.strip("\ufeff\u200b \t\r\n\f\v\x00\xa0")
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if is_quoted else text


class _VersionedSecretsProvider(SecretsProvider):
    """Keeps the version id, which Powertools' provider drops."""

    def _get(self, name: str, **_: Any) -> dict[str, str | None]:  # type: ignore[override]
        try:
            secret = self.client.get_secret_value(SecretId=name)
        except self.client.exceptions.ResourceNotFoundException:
            return {"value": None, "version": None, "problem": "The secret has never had a value."}
        try:
            return {"value": _key_in(secret), "version": secret["VersionId"], "problem": ""}
        except _UnusableKeyError as error:
            return {"value": None, "version": secret["VersionId"], "problem": str(error)}


class ApiKeySource:
    """Reads the key at most once in ``CACHE_SECONDS``."""

    def __init__(self, secret_arn: str, client: Any) -> None:
        self._secret_arn = secret_arn
        self._client = client
        self._provider = _VersionedSecretsProvider(boto3_client=client)

    def read(self, *, fresh: bool = False) -> ApiKey:
        """Return the current key; a fresh one bypasses the cache.

        Raises
        ------
        aws_lambda_powertools.utilities.parameters.exceptions.GetParameterError
            If Secrets Manager cannot be read.
        """
        secret: Any = self._provider.get(self._secret_arn, max_age=CACHE_SECONDS, force_fetch=fresh)
        if secret["value"] is None and not fresh:  # the first key is used immediately
            return self.read(fresh=True)
        if secret["value"] is None:
            return ApiKey(None, secret["version"], f"{secret['problem']} {_SET_IT}")
        return ApiKey(SecretStr(secret["value"]), secret["version"])

    def current_version(self) -> str | None:
        """Return the version id of the current key, without reading the key; None if the secret never had a value."""
        versions = self._client.describe_secret(SecretId=self._secret_arn).get("VersionIdsToStages", {})
        return next((version for version, stages in versions.items() if "AWSCURRENT" in stages), None)
