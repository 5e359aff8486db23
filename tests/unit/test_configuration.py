"""docs/configuration.md says what the settings classes say, and who reads what it says they read."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forebay.cli.command_line import app
from forebay.cli.configuration import SECTIONS, Section, document, fields_of
from forebay.schemas import SettingsError

ROOT = Path(__file__).parents[2]
SOURCES = [
    file
    for package in ("schemas", "telemetry", "producers", "workers", "operations", "gateway", "rehearsal", "cli")
    for file in (ROOT / package).rglob("*.py")
]
WORDS = {"ask": ["hi"], "dlq show": ["0-1"], "dlq replay": ["--all", "--yes"], "dlq purge": ["--all", "--yes"]}
WRONG = {"kafka": "nowhere", "topic_partitions": "0", "concurrency": "0", "drain_s": "-1", "rpm": "0"}
WRONG |= {"breaker_failures": "0", "budget_near": "2", "catalogue": "no/such.toml", "turn_ttl_s": "0"}
WRONG |= {"webhooks_timeout_s": "0", "gateway_port": "-1", "gateway_body_kib": "0"}


def test_the_page_is_what_the_settings_print() -> None:
    committed = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert committed == document(), "write it anew: make docs"


def test_every_settings_class_and_field_is_on_the_page() -> None:
    pattern = re.compile(r"^class (\w+)\((?:Environment|FleetSettings)\b", re.M)
    classes = {name for file in SOURCES for name in pattern.findall(file.read_text())}
    assert classes - {"FleetSettings", "StoreSettings"} == {section.settings.__name__ for section in SECTIONS}
    for settings in {section.settings for section in SECTIONS}:
        shown = [name for section in SECTIONS if section.settings is settings for name in fields_of(section)]
        assert sorted(shown) == sorted(settings.model_fields), "each field in one section"
        undescribed = [name for name, field in settings.model_fields.items() if not field.description]
        assert not undescribed, "write a docstring under each field"


def test_every_variable_that_the_code_names_is_on_the_page() -> None:
    named = {name for file in SOURCES for name in re.findall(r"\bFOREBAY_[A-Z0-9_]*[A-Z0-9]\b(?!_)", file.read_text())}
    assert len(named) > 30
    unknown = {name for name in named if f"`{name}`" not in document()}
    assert not unknown


def _probes() -> list[tuple[str, Section, str]]:
    return [
        (command, section, next(name for name in fields_of(section) if name in WRONG))
        for section in SECTIONS
        for command in section.commands
        if any(name in WRONG for name in fields_of(section))
    ]


def test_each_section_has_a_value_to_try() -> None:
    assert {section.title for _, section, _ in _probes()} == {section.title for section in SECTIONS}


@pytest.mark.parametrize(("command", "section", "field"), _probes(), ids=lambda value: getattr(value, "title", value))
def test_the_commands_read_what_the_page_says(
    command: str, section: Section, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in os.environ:
        if name.startswith("FOREBAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FOREBAY_GATEWAY_OPEN", "true")
    monkeypatch.setenv(name := f"FOREBAY_{field.upper()}", WRONG[field])
    done = CliRunner().invoke(app, [*command.split(), *WORDS.get(command, [])])
    assert isinstance(done.exception, SettingsError), done.output
    assert str(done.exception).startswith(f"{name}=")
