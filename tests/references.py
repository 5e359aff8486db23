"""What a document names, and whether there is such a thing: paths, settings, metrics, alerts, Python names."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("schemas", "telemetry", "producers", "workers", "operations", "gateway", "rehearsal", "cli")
FOLDERS = (*SOURCES, "tests", "k8s", "docs", "examples", "benchmarks")
_URL = re.compile(r"https?://\S+")
_FROM_THE_ROOT = re.compile(rf"(?<![\w./@:-])(?:{'|'.join(FOLDERS)})/(?:[\w.*-]+/?)+")
_FILE = re.compile(r"(?<![\w/.$-])[\w./*-]*\w\.(?:py|md|ya?ml|toml|jsonl?|lua|js|css|html|lock|sql)(?![\w.-])")
_SETTING = re.compile(r"\bFOREBAY_\w+")
_METRIC = re.compile(r"(?<![\w.])forebay_[a-z_]+\b(?![.(])")
_ALERT = re.compile(r"\bForebay(?:[A-Z][a-z]+)+\b")
_DOTTED = re.compile(r"(?<![\w./-])forebay(?:\.\w+)+(?![\w/=])")

OF_THE_TESTS = {"FOREBAY_NO_SKIPS"}
"""Variables that no process of ours reads."""


def faults(text: str, folder: Path = ROOT) -> list[str]:
    """What this text names and nobody has; ``folder`` is where it stands, for paths that are relative to it."""
    text = _URL.sub("", text)
    return [*_paths(text, folder), *_settings(text), *_metrics(text), *_alerts(text), *_python(text)]


def files_named(code: str, folder: Path = ROOT) -> list[str]:
    """The files that a piece of code in a page names and nobody has, however much of their path it gives."""
    return [f"no file {name}" for name in _FILE.findall(_URL.sub("", code)) if not _is_file(name, folder)]


def _is_file(name: str, folder: Path) -> bool:
    if any(folder.glob(name.lstrip("/"))):
        return True
    end = re.compile(f"(^|/){re.escape(name.lstrip('./')).replace(re.escape('*'), '[^/]*')}$")
    return any(end.search(file) for file in _files())


def _paths(text: str, folder: Path) -> Iterator[str]:
    for found in _FROM_THE_ROOT.findall(text):
        path = found.rstrip("./")
        if not (any(ROOT.glob(path)) or any(folder.glob(path))):
            yield f"no path {path}"


def _settings(text: str) -> Iterator[str]:
    for name in _SETTING.findall(text):
        known = name in _known_settings() | OF_THE_TESTS
        if not known and not (name.endswith("_") and any(one.startswith(name) for one in _known_settings())):
            yield f"no setting {name}"


def _metrics(text: str) -> Iterator[str]:
    for name in _METRIC.findall(text):
        family = re.sub(r"_(bucket|count|sum)$", "", name)
        if not {name, family} & _known_metrics() and not _is_in_the_sources(rf"def {name}\b|\"{name}\""):
            yield f"no metric {name}"


def _alerts(text: str) -> Iterator[str]:
    alerts = (ROOT / "k8s/monitoring/alerts.yaml").read_text()
    return (f"no alert {name}" for name in _ALERT.findall(text) if f"alert: {name}\n" not in alerts)


def _python(text: str) -> Iterator[str]:
    """Modules and what is in them; headers, spans and log events have dotted names too."""
    for name in _DOTTED.findall(text):
        if not _is_python(name) and not _is_in_the_sources(rf"[\"'`]{re.escape(name)}\b"):
            yield f"no module or name {name}"


@cache
def _is_python(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute, None)
        return found is not None
    return False


@cache
def _is_in_the_sources(pattern: str) -> bool:
    return bool(re.search(pattern, _source()))


@cache
def _source() -> str:
    return "\n".join(path.read_text() for root in SOURCES for path in sorted((ROOT / root).rglob("*.py")))


@cache
def _known_settings() -> frozenset[str]:
    """docs/configuration.md is written from the settings, and a test compares them."""
    return frozenset(re.findall(r"`(FOREBAY_\w+)`", (ROOT / "docs/configuration.md").read_text()))


@cache
def _known_metrics() -> frozenset[str]:
    """docs/observability.md has each metric in its table, and a test compares them."""
    return frozenset(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/observability.md").read_text(), re.MULTILINE))


@cache
def _files() -> frozenset[str]:
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts)
    return frozenset(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*"), *inside) if path.is_file())
