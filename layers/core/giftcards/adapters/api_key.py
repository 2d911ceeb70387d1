"""The supplier's API key in Secrets Manager, cached for so short a time that a rotated key needs no deploy."""

from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from pydantic import SecretStr

CACHE_SECONDS = 60


@dataclass(frozen=True)
class ApiKey:
    """The key and the version of the secret that it came from.

    Attributes
    ----------
    value
        None where no key has been set, or none that an HTTP header can hold.
    version
        Version id of the secret; None where the secret has never had a value.
    """

    value: SecretStr | None
    version: str | None


class _VersionedSecretsProvider(SecretsProvider):
    """Keeps the version id beside the value, which Powertools' own provider drops."""

    def _get(self, name: str, **_: Any) -> dict[str, str | None]:  # type: ignore[override]
        try:
            secret = self.client.get_secret_value(SecretId=name)
        except self.client.exceptions.ResourceNotFoundException:  # a secret that never had a value
            return {"value": "", "version": None}
        return {"value": secret.get("SecretString", "").strip(), "version": secret["VersionId"]}


class ApiKeySource:
    """Reads the key, at most once in ``CACHE_SECONDS``."""

    def __init__(self, secret_arn: str, client: Any) -> None:
        self._secret_arn = secret_arn
        self._client = client
        self._provider = _VersionedSecretsProvider(boto3_client=client)

    def read(self, *, fresh: bool = False) -> ApiKey:
        """Return the current key.

        Parameters
        ----------
        fresh
            Whether to ask Secrets Manager although the cached key is not too old.

        Raises
        ------
        aws_lambda_powertools.utilities.parameters.exceptions.GetParameterError
            If Secrets Manager cannot be read.
        """
        secret: Any = self._provider.get(self._secret_arn, max_age=CACHE_SECONDS, force_fetch=fresh)
        if secret["value"] == "" and not fresh:  # the first key is seen at once
            return self.read(fresh=True)
        value = secret["value"]
        is_usable = value.isascii() and value.isprintable() and value != ""
        return ApiKey(SecretStr(value) if is_usable else None, secret["version"])

    def current_version(self) -> str | None:
        """Return the version id of the current key, without its value; None where the secret has never had one."""
        versions = self._client.describe_secret(SecretId=self._secret_arn).get("VersionIdsToStages", {})
        return next((version for version, stages in versions.items() if "AWSCURRENT" in stages), None)
