"""The house as it is built: imports go down, packages are cheap to import, and hand on what they say."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import ROOT

ROOTS = ("schemas", "telemetry", "producers", "workers", "operations", "gateway", "rehearsal", "cli")

FLOORS = [
    {"schemas"},
    {"telemetry"},
    {"producers"},
    {"workers"},
    {"operations"},
    {"gateway"},
    {"rehearsal", "testing"},
    {"cli"},
]
"""From the bottom up. A package may use what stands below it, and those beside it."""

NEVER_KNOWS = {
    "engine": {"flow", "models", "conversations", "assistants", "answering", "webhooks"},
    "flow": {"conversations", "assistants", "answering", "engine"},
    "models": {"flow", "conversations", "assistants", "answering", "engine"},
    "conversations": {"models", "flow", "engine", "assistants", "answering"},
    "assistants": {"aiokafka", "engine", "answering"},
    "answering": {"aiokafka"},
    "webhooks": {"conversations", "assistants", "answering"},
}
"""What a room of the workers never knows: other rooms, and packages of others."""


def _modules() -> dict[str, Path]:
    return {
        ".".join(file.relative_to(ROOT / root).with_suffix("").parts): file
        for root in ROOTS
        for file in sorted((ROOT / root).rglob("*.py"))
    }


def _imports(name: str, file: Path) -> Iterator[str]:
    """Every module that it names in an import, wherever that stands."""
    package = name.removesuffix(".__init__").split(".") if name.endswith("__init__") else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            near = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*near, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


MODULES = _modules()
IMPORTS = {name: tuple(_imports(name, file)) for name, file in MODULES.items()}
PACKAGES = [name.removesuffix(".__init__") for name in MODULES if name.endswith(".__init__")]


def test_no_root_shuts_the_namespace() -> None:
    assert len(MODULES) > 300
    assert not list(ROOT.glob("*/forebay/__init__.py"))
    assert {file.name for root in ROOTS for file in (ROOT / root).iterdir()} - {"__pycache__"} == {"forebay"}


def test_imports_go_down() -> None:
    floor = {package: height for height, packages in enumerate(FLOORS) for package in packages}
    up = [
        f"{name} imports {used}"
        for name, used_by in IMPORTS.items()
        for used in used_by
        if used.startswith("forebay.") and floor[used.split(".")[1]] > floor[name.split(".")[1]]
    ]
    assert not up


def test_a_room_of_the_workers_knows_its_neighbours_only() -> None:
    known = []
    for name, used_by in IMPORTS.items():
        room = name.split(".")[2] if name.startswith("forebay.workers.") else ""
        for used in used_by:
            parts = used.split(".")
            neighbour = parts[2] if used.startswith("forebay.workers.") else parts[0]
            if neighbour in NEVER_KNOWS.get(room, ()):
                known.append(f"{name} imports {used}")
    assert not known


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_hands_on_what_it_says(package: str) -> None:
    file = MODULES[f"{package}.__init__"]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "say what it is"
    module = importlib.import_module(package)
    handed = list(getattr(module, "__all__", []))
    submodules = {path.stem for path in file.parent.iterdir()}
    assert not submodules & set(handed), (
        "a name and a module of one name: which one is meant depends on the order of imports"
    )
    for name in handed:
        assert getattr(module, name) is not None
    imported = [alias.asname or alias.name for alias in _imported_for_types(tree)]
    assert sorted(imported) == sorted(handed)
    assert sorted(" ".join(getattr(module, "_MODULES", {}).values()).split()) == sorted(handed)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def _imported_for_types(tree: ast.Module) -> Iterator[ast.alias]:
    """What a package imports; when it runs, that is nothing but `lazily`."""
    for node in tree.body:
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) == "TYPE_CHECKING"
            for imported in node.body:
                assert isinstance(imported, ast.ImportFrom)
                yield from imported.names
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            assert [alias.name for alias in node.names] in (["TYPE_CHECKING"], ["lazily"]), (
                "load it when it is asked for"
            )


HEAVY = ("aiohttp", "aiokafka", "anthropic", "httptools", "mcp", "openai", "pydantic", "redis", "rich", "uvloop")


def _loaded_by(code: str) -> set[str]:
    said = "import sys; sys.stderr.write(chr(10).join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"import atexit; atexit.register(lambda: exec({said!r}))\n{code}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split("\n"))


def test_packages_are_cheap_to_import() -> None:
    loaded = _loaded_by("\n".join(f"import {package}" for package in PACKAGES))
    assert not loaded & set(HEAVY)
    assert len(loaded) < 150


def test_help_loads_little() -> None:
    loaded = _loaded_by(
        "import sys; sys.argv = ['forebay', '--help']\nfrom forebay.cli.command_line import main; main()"
    )
    assert not loaded & {*HEAVY, "asyncio", "importlib.metadata"}
    assert len(loaded) < 208, "half of what it once was"


def test_a_client_loads_no_worker_and_no_server() -> None:
    loaded = _loaded_by("from forebay.producers import ChatClient; from forebay.schemas import Cluster; Cluster.read()")
    assert not loaded & {"aiohttp", "anthropic", "openai", "uvloop", "rich", "typer", "forebay.workers"}
