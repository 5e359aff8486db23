"""Destinations: which server the replies of a tenant go to, as a TOML file says."""

from __future__ import annotations

import base64
import binascii
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from forebay.schemas import Outcome, SettingsError

from .addresses import inward

OUTCOMES: tuple[str, ...] = get_args(Outcome)
_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
"""Of a secret, as Standard Webhooks wants it."""
_MOST_SECRETS = 4

Secrets = tuple[SecretStr, ...]


class Destination(BaseModel):
    """One server, and what it is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    secret: Secrets = ()
    """Each signs every webhook, so that a new one can be brought in before the old one goes."""
    secret_env: tuple[str, ...] = ()
    """Names of environment variables with secrets."""
    events: tuple[Outcome, ...] = Field(default=OUTCOMES, min_length=1, validate_default=True)
    """Outcomes of the replies that are sent."""
    allow_http: bool = False
    """Whether the URL may be without TLS."""
    allow_private: bool = False
    """Whether the server may be in a private network, or on this machine."""

    @field_validator("secret", "secret_env", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given

    @field_validator("secret")
    @classmethod
    def _can_sign(cls, secrets: Secrets) -> Secrets:
        for secret in secrets:
            _check_secret(secret.get_secret_value())
        return secrets

    @model_validator(mode="after")
    def _may_be_asked(self) -> Destination:
        if not 1 <= len(self.secret) + len(self.secret_env) <= _MOST_SECRETS:
            raise ValueError(f"give 1 to {_MOST_SECRETS} secrets, as secret or secret_env")
        _check_url(self.url, allow_http=self.allow_http, allow_private=self.allow_private)
        return self

    @property
    def host(self) -> str:
        """Host and port: what logs and dead letters name, for a path may be as good as a password."""
        return urlsplit(self.url).netloc


class Destinations(BaseModel):
    """All destinations; ``default`` is for replies without a tenant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Destination | None = None
    tenants: Mapping[str, Destination] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _any(self) -> Destinations:
        if self.default is None and not self.tenants:
            raise ValueError("it names no destination: write [default] or [tenants.NAME] with url and secret")
        return self

    def named(self) -> Iterator[tuple[str | None, Destination]]:
        """Each with its tenant; None is for replies without one."""
        if self.default is not None:
            yield None, self.default
        yield from self.tenants.items()


def read_destinations(file: Path, environ: Mapping[str, str] = os.environ) -> Destinations:
    """The destinations of a file, secrets from the environment filled in. Raises SettingsError, in one line."""
    where = f"FOREBAY_WEBHOOKS={file}"
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError(f"{where}: cannot be read: {reason}") from None
    try:
        return _with_secrets(Destinations.model_validate(written), environ)
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        # What was written is not repeated: it may be a secret.
        place = ".".join(str(part) for part in detail["loc"])
        said = str(detail["msg"]).removeprefix("Value error, ")
        raise SettingsError(f"{where}: {place + ': ' if place else ''}{said[:1].lower()}{said[1:]}") from None
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None


def _with_secrets(destinations: Destinations, environ: Mapping[str, str]) -> Destinations:
    default = destinations.default and _filled("default", destinations.default, environ)
    tenants = {name: _filled(f"tenants.{name}", each, environ) for name, each in destinations.tenants.items()}
    return Destinations.model_construct(default=default, tenants=tenants)


def _filled(place: str, destination: Destination, environ: Mapping[str, str]) -> Destination:
    secrets = list(destination.secret)
    for name in destination.secret_env:
        if not environ.get(name):
            raise ValueError(f"{place}.secret_env: {name} is not set")
        try:
            _check_secret(environ[name])
        except ValueError as error:
            raise ValueError(f"{place}.secret_env: {name}: {error}") from None
        secrets.append(SecretStr(environ[name]))
    changed: dict[str, Any] = {"secret": tuple(secrets)}
    return destination.model_copy(update=changed)


def _check_secret(secret: str) -> None:
    rule = f"a secret is {_PREFIX} and {_SECRET_BYTES[0]} to {_SECRET_BYTES[-1]} random bytes as base64"
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(rule) from None
    if not secret.startswith(_PREFIX) or len(key) not in _SECRET_BYTES:
        raise ValueError(rule)


def _check_url(url: str, *, allow_http: bool, allow_private: bool) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("url is no URL") from None
    if parts.scheme not in ("https", "http") or not host or any(character.isspace() for character in url):
        raise ValueError("url must be such as https://shop.example/forebay")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("url must have no user, password or fragment: webhooks are signed instead")
    if parts.scheme == "http" and not allow_http:
        raise ValueError("url must be https, unless allow_http = true")
    if not allow_private and (why := inward(host)):
        raise ValueError(f"url is {why}, unless allow_private = true")
