"""The pages lead where they say, name only what exists, and say the same in both languages."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from forebay.cli.command_line import app
from tests.pages import ROOT, Page, commands, pages, words
from tests.references import SOURCES, faults, files_named

PAGES = {page.name: page for page in pages()}
COMMAND = get_command(app)
COMMENTED = [
    *(ROOT / name for name in (".ci/run", ".dockerignore", "Dockerfile", "Makefile", "compose.yaml", "pyproject.toml")),
    *sorted(path for folder in ("k8s", "examples") for path in (ROOT / folder).rglob("*.yaml")),
]
"""Files whose comments are documentation."""
MODULES = sorted(path for folder in (*SOURCES, "benchmarks") for path in (ROOT / folder).rglob("*.py"))
NOT_OURS = {
    "docs/configuration.md": {"webhooks.toml"},  # what the reader makes
    "docs/gateway.md": {"/openapi.json"},  # a path of the gateway
    "docs/rehearse.md": {"rehearsal.html"},  # what the command writes
    "docs/security.md": {"keys.public.json"},  # what the reader makes
}
"""Names of files in the text that are none of the repository."""
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


@each_page
def test_every_path_setting_metric_and_python_name_exists(page: Page) -> None:
    folder = page.path.parent
    wrong = faults(page.path.read_text(encoding="utf-8"), folder)
    shown = [*page.spoken(), *(block.text for block in page.blocks("text"))]
    wrong += [fault for code in shown for fault in files_named(code, folder)]
    assert not set(wrong) - {f"no file {name}" for name in NOT_OURS.get(page.name, ())}


@pytest.mark.parametrize("path", COMMENTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_comments_and_manifests_name_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    said = [command for line in re.findall(r"(?m)(?:^|\s)# ?(.+)$", text) for command in _commands_in(line)]
    assert not [*faults(text, path.parent), *(f"{one}: {fault}" for one in said if (fault := _fault(one)))]


def _commands_in(comment: str) -> list[str]:
    """A comment that is a command, and what stands in backticks in one that is not."""
    whole = re.match(r"\s*(?:forebay|make|kubectl|python -m|pip install) [a-z-].*", comment)
    return [comment.strip()] if whole else re.findall(r"`([^`]+)`", comment)


def test_what_docstrings_and_comments_in_the_sources_name_exists() -> None:
    found = {str(path.relative_to(ROOT)): faults(path.read_text(encoding="utf-8"), path.parent) for path in MODULES}
    assert len(found) > 200
    assert not {path: wrong for path, wrong in found.items() if wrong}


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
    command: Any = COMMAND
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith(("-", "...", "<")):
        if rest[0] not in command.commands:
            return f"no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help", "--"}
    return next(
        (f"no option {word}" for word in rest if re.match(r"--\w", word) and word.split("=")[0] not in known), None
    )


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name.split("-")[0] for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


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
    assert not _leads(PAGES["README.md"], "docs/none" + ".md")
    assert files_named("workers/completion.py") == ["no file workers/completion.py"]
    assert files_named("schemas/completion.py") == []
    assert _commands_in(" forebay plan --fast") == ["forebay plan --fast"]
    assert _commands_in(" as `make nothing` does") == ["make nothing"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("in docs/none.md, too", "no path docs/none.md"),
        ("`workers/forebay/workers/none.py`", "no path workers/forebay/workers/none.py"),
        ("each k8s/overlays/*/none.yaml", "no path k8s/overlays/*/none.yaml"),
        ("`FOREBAY_CONCURENCY=50`", "no setting FOREBAY_CONCURENCY"),
        ("all of FOREBAY_NONE_*", "no setting FOREBAY_NONE_"),
        ("rate(forebay_turns_totl[1m])", "no metric forebay_turns_totl"),
        ("the alert ForebayNoModels", "no alert ForebayNoModels"),
        ("from forebay.producer import ChatClient", "no module or name forebay.producer"),
        ("`forebay.producers.ChatClients`", "no module or name forebay.producers.ChatClients"),
    ],
)
def test_a_name_that_nothing_has_is_found(text: str, fault: str) -> None:
    assert faults(text) == [fault]


def test_names_that_there_are_pass() -> None:
    assert not faults(
        "k8s/overlays/*/plan.yaml and docs/ say FOREBAY_CONCURRENCY, FOREBAY_GATEWAY_*, forebay_queued_seconds_bucket,"
        " ForebayNoModel, forebay.producers.ChatClient, and https://example.org/docs/none.md is somebody else's"
    )
