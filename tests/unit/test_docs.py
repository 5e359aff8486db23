"""The pages lead where they say, name only what there is, and say the same in both languages."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import tomllib
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from forebay.cli.command_line import app
from tests.pages import ROOT, Page, commands, pages, words

PAGES = {page.name: page for page in pages()}
LANGUAGES = {"sh", "text", "python", "js", "jsx", "html", "json", "yaml", "toml", "promql", "ini"}

each_page = pytest.mark.parametrize("page", PAGES.values(), ids=str)


@each_page
def test_links_lead_somewhere(page: Page) -> None:
    broken = [link for link in page.links() if not _leads(page, link)]
    assert not broken


def _leads(page: Page, link: str) -> bool:
    if link.startswith(("http://", "https://", "mailto:")):
        return True
    file, _, anchor = link.partition("#")
    target = (page.path.parent / file).resolve() if file else page.path
    if not target.exists():
        return False
    return not anchor or (target.suffix == ".md" and anchor in Page(target).anchors())


@each_page
def test_every_block_says_its_language(page: Page) -> None:
    """So that no command hides in a block that nobody runs."""
    unsaid = [(block.line, block.language) for block in page.blocks() if block.language not in LANGUAGES]
    assert not unsaid, f"write one of {', '.join(sorted(LANGUAGES))} behind the fence"


@each_page
def test_python_blocks_can_be_compiled(page: Page) -> None:
    for block in page.blocks("python"):
        compile(block.text, f"{page}:{block.line}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@each_page
def test_what_is_named_exists(page: Page) -> None:
    """Commands within the text and within blocks: `forebay ...` with its options, make's targets, modules, extras."""
    said = [*page.spoken(), *(line for block in page.blocks("sh") for line in commands(block.text))]
    wrong = [f"{command}: {fault}" for command in said if (fault := _fault(command))]
    assert not wrong


def _fault(command: str) -> str | None:
    try:
        given = words(command)
    except ValueError:
        return None  # no command: a text with half a quotation
    match given:
        case ["forebay", *rest] if rest and "|" not in rest:
            return _unknown(rest)
        case ["make", target, *_] if not re.match(r"[A-Z]+=", target):
            done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
            return done.stderr or None
        case ["python", "-m", module, *_]:
            return None if importlib.util.find_spec(module) else "no such module"
        case ["kubectl" | "kustomize", *rest]:
            return next((f"no {word}" for word in rest if word.startswith("k8s/") and not (ROOT / word).exists()), None)
        case ["pip", "install", *rest]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            asked = {extra for word in rest for found in re.findall(r"\[(.+)\]", word) for extra in found.split(",")}
            return f"no extra {asked - set(extras)}" if asked - set(extras) else None
    return None


def _unknown(rest: list[str]) -> str | None:
    """What the command line does not have: a command, or an option of it."""
    command: Any = get_command(app)
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith(("-", "...", "<")):
        if rest[0] not in command.commands:
            return f"no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help", "--"}
    return next(
        (f"no option {word}" for word in rest if re.match(r"--\w", word) and word.split("=")[0] not in known), None
    )


def test_both_readmes_say_the_same() -> None:
    english, chinese = PAGES["README.md"], PAGES["README.zh.md"]
    assert len(english.headings()) == len(chinese.headings())
    assert _commands(english) == _commands(chinese)
    assert [block.text for block in english.blocks("python")] == [block.text for block in chinese.blocks("python")]
    assert "README.zh.md" in english.links()
    assert "README.md" in chinese.links()


def _commands(page: Page) -> list[str]:
    return [shlex.join(words(line)) for block in page.blocks("sh") for line in commands(block.text)]


def test_the_rules_find_faults() -> None:
    assert _fault("forebay drain") == "no command drain"
    assert _fault("forebay dlq replay --fast 3-1") == "no option --fast"
    assert _fault("forebay dlq replay --rate=200 3-1 -- -x") is None
    assert _fault("make nothing-of-the-kind")
    assert _fault("python -m benchmarks.nothing") == "no such module"
    assert _fault("pip install 'forebay[nothing]'")
    assert not _leads(PAGES["README.md"], "docs/guide.md#no-such-heading")
    assert not _leads(PAGES["README.md"], "docs/none.md")
