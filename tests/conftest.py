"""What all tests share: a real Kafka, a simulated model API, the order in which they run, and no skips where nothing may be missing."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # no test may depend on a machine being fast
settings.load_profile("any machine")

pytest_plugins = ["forebay.testing.fixtures", "tests.integration.gateway"]

# A broker of tests lives for minutes at most: Java is to compile quickly, not well. That halves the CPU of its start.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Two for each core with ``-n auto``, since half of what tests do is to wait; one with ``-n logical``, for unit tests."""
    return None if config.option.numprocesses == "logical" else 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first, so that none is left alone at the end, and the unit tests last."""
    items.sort(key=_begins)


def _begins(item: pytest.Item) -> tuple[bool, float]:
    long = item.get_closest_marker("takes")
    return "unit" in item.path.parts, -long.args[0] if long else 0.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With FOREBAY_NO_SKIPS, as in CI, a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("FOREBAY_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but nothing may be skipped here: {report.longrepr}"
    return report
