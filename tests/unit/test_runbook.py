"""The runbook has a section for everything that sends somebody there, and names only what there is."""

from __future__ import annotations

import re
import shlex
from typing import Any, get_args

import pytest
import typer

from forebay.cli.command_line import app
from forebay.operations.findings import RUNBOOK, Code, runbook
from tests.pages import ROOT, Page
from tests.unit.test_monitoring import DASHBOARD, RULES, code_of

PAGE = Page(ROOT / "docs" / "runbook.md")
TEXT = PAGE.path.read_text()
CODES = set(get_args(Code)) | {code_of(rule["alert"]) for rule in RULES}


def test_every_finding_and_alert_has_its_section_and_no_section_is_for_nothing() -> None:
    sections = re.search(r"^## Findings and alerts\n(.*?)^## ", TEXT, re.DOTALL | re.MULTILINE)
    assert sections is not None
    named = {heading.lower().replace(" ", "-") for heading in re.findall(r"^### (.+)$", sections[1], re.MULTILINE)}
    assert named == CODES
    assert named <= PAGE.anchors()


def test_every_address_of_the_runbook_is_this_page() -> None:
    assert runbook("x") == f"{RUNBOOK}#x"
    assert RUNBOOK == "docs/runbook.md"
    (asked,) = [variable for variable in DASHBOARD["templating"]["list"] if variable["name"] == "runbook"]
    assert asked["query"] == asked["current"]["value"] == RUNBOOK
    assert [link["url"] for link in DASHBOARD["links"]] == ["${runbook}"]


@pytest.mark.parametrize("code", sorted(CODES))
def test_each_section_says_how_bad_it_is_what_to_do_and_when_it_ends(code: str) -> None:
    section = re.search(rf"^### {code.replace('-', ' ')}\n(.*?)^##", TEXT, re.DOTALL | re.MULTILINE | re.IGNORECASE)
    assert section is not None
    alert = next((rule for rule in RULES if code_of(rule["alert"]) == code), None)
    says = section[1].strip()
    assert says.startswith(f"*{alert['labels']['severity'].title()}" if alert else "*"), "how bad it is stands first"
    if code != "turns-failing":
        assert "**Ends**" in says


@pytest.mark.takes(1)
def test_every_command_in_the_text_is_one() -> None:
    spoken = [words for words in PAGE.spoken() if words.startswith("forebay ")]
    shown = [line.strip() for block in PAGE.blocks("sh") for line in block.text.splitlines()]
    found = spoken + [command for line in shown for command in re.findall(r"(?:^|\| )(forebay [^>&|]*)", line)]
    assert len(found) > 30
    for command in found:
        _parse(shlex.split(command)[1:])


def _parse(words: list[str]) -> None:
    """A command may stand without its arguments."""
    command: Any = typer.main.get_command(app)
    while subcommands := getattr(command, "commands", None):
        assert words[0] in subcommands, words
        command, words = subcommands[words[0]], words[1:]
        if not words:
            return
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known, (command.name, words)
