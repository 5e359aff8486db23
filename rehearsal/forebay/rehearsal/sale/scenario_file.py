"""A scenario read from a YAML file and from options on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from forebay.schemas import SettingsError

from .scenario import Scenario, ScenarioError


def scenario_of(
    file: Path | None,
    targets: Path | None,
    latency: str | None,
    default: Mapping[str, Any] | None = None,
    **given: Any,
) -> Scenario:
    """The scenario that these options say; ``default`` stands in for a file. Raises SettingsError, with one line."""
    try:
        if latency is not None:
            given["models__latency"] = _latency(latency)
        if targets is not None:
            given["targets"] = _targets(targets)
        return read_scenario(file, default, **given)
    except ScenarioError as error:
        raise SettingsError(str(error)) from error


def as_yaml(scenario: Scenario) -> str:
    """The whole scenario as YAML, to write one's own from."""
    return str(yaml.safe_dump(scenario.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def read_scenario(file: Path | None, default: Mapping[str, Any] | None = None, **given: Any) -> Scenario:
    """The scenario of a file, or the default one, with some parts replaced. Raises ScenarioError.

    ``given`` are names such as ``traffic__peak``; those that are None stay as they are.
    """
    document = deepcopy(dict(default or {})) if file is None else _document(file)
    for name, value in given.items():
        if value is not None:
            *parts, last = name.split("__")
            place = document
            for part in parts:
                place = place.setdefault(part, {})
                if not isinstance(place, dict):
                    raise ScenarioError(f"{file}: {part}: must have fields")
            place[last] = value
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, wrong['loc'])) or 'the scenario'}: {wrong['msg'].removeprefix('Value error, ')}"
            for wrong in error.errors(include_url=False)[:3]
        )
        raise ScenarioError(f"{file or 'the options'}: {said}") from error


def _document(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"{file}: is no YAML: {' '.join(str(error).split())}") from error
    if document is not None and not isinstance(document, dict):
        raise ScenarioError(f"{file}: must have fields such as `traffic:`")
    return document or {}


def _latency(said: str) -> dict[str, str]:
    parts = dict(part.partition("=")[::2] for part in said.split(","))
    if set(parts) != {"p50", "p99"}:
        raise ScenarioError(f"--latency {said!r}: write p50=3,p99=20, in seconds")
    return parts


def _targets(file: Path) -> dict[str, Any]:
    try:
        targets = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ScenarioError(f"--targets {file}: {' '.join(str(error).split())}") from error
    if not isinstance(targets, dict):
        raise ScenarioError(f"--targets {file}: write a figure and its bound a line, such as latency_p99_s: 20")
    return targets
