"""What all tests share: a real Kafka, a simulated model API, and no skips where nothing may be missing."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # no test may depend on a machine being fast
settings.load_profile("any machine")

pytest_plugins = ["forebay.testing.fixtures", "tests.integration.gateway"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With FOREBAY_NO_SKIPS, as in CI, a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("FOREBAY_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but nothing may be skipped here: {report.longrepr}"
    return report
