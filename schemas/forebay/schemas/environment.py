"""Settings from environment variables: read once at the start, immutable; each wrong one is reported in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """A setting is wrong or missing. The message has one line for each: its name, its value, the rule."""


class Environment(BaseSettings):
    """Base class of all settings: field ``drain_s`` is read from ``FOREBAY_DRAIN_S``.

    The docstring under each field is its description: docs/configuration.md is generated from them.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_prefix="FOREBAY_", extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )

    @classmethod
    def read(cls, options: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Reads the environment; values given here (such as command-line options) win over it.

        None counts as not given. ``options`` maps a field to its command-line option where the names differ.
        Raises SettingsError.
        """
        given = {name: value for name, value in given.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError(
                "\n".join(_explain(dict(detail), given, options or {}) for detail in error.errors())
            ) from None


def _explain(detail: Mapping[str, Any], given: Mapping[str, Any], options: Mapping[str, str]) -> str:
    if not detail["loc"]:
        return str(detail["ctx"]["error"]) if "error" in detail.get("ctx", {}) else str(detail["msg"])
    field = str(detail["loc"][0])
    option = options.get(field, f"--{field.replace('_', '-')}")
    name = option if field in given else f"FOREBAY_{field.upper()}"
    if detail["type"] == "missing":
        return f"{name} is not set"
    shown = "(hidden)" if "password" in field or field.endswith("_key") else repr(detail["input"])
    rule = str(detail["msg"]).removeprefix("Value error, ")
    return f"{name}={shown}: {rule[0].lower()}{rule[1:]}"
