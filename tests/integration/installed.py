"""Forebay as people have it: the wheel, installed apart from this checkout, in a project with modules of the same names."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.pages import ROOT

OWN = ("workers.py", "cli.py", "forebay_config.py", "producers", "gateway", "operations", "examples", "tests")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and all that this one has installed; it knows nothing of the checkout."""

    wheel: Path
    python: Path

    @property
    def command(self) -> Path:
        """The script ``forebay``."""
        return self.python.with_name("forebay")


@dataclass(frozen=True)
class Shop:
    """A project that has Forebay installed, and packages of its own that are called like rooms of ours."""

    installed: Installed
    folder: Path

    def forebay(
        self, *words: str | Path, timeout_s: float = 110, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command with these words, in the project's folder."""
        return self.run(self.installed.command, *words, timeout_s=timeout_s, **environment)

    def run(self, *command: str | Path, timeout_s: float = 110, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs any command in the project's folder."""
        return subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def clean_environment() -> dict[str, str]:
    """What this process has, without settings of ours and without ways to the checkout."""
    own = ("FOREBAY_", "ANTHROPIC", "OPENAI", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)} | {"COLUMNS": "120"}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built and installed once, without a network."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    # A folder that a .pth names is searched, but the .pth files within it are not read: the checkout stays unknown.
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = [
        find_uv_bin(),
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--python",
        str(python),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    return Installed(wheel, python)


@pytest.fixture
def shop(installed: Installed, tmp_path: Path) -> Shop:
    """Also with an assistant that uses a package of the shop's own."""
    folder = tmp_path / "shop"
    for name in (*OWN, "schemas"):
        file = folder / name if name.endswith(".py") else folder / name / "__init__.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('OWNER = "the shop"\n')
    (folder / "assistant.py").write_text(
        "from schemas import OWNER\n\nfrom forebay.workers.assistants import Assistant\n\n"
        'helper = Assistant(instructions=f"You answer for {OWNER}.")\n'
    )
    return Shop(installed, folder)
