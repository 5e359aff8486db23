"""Logs: what is personal is in none of them, in neither form, tracebacks included."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import logging, sys, structlog
from forebay.telemetry import logs
from forebay.workers.conversations.redaction import Redactor
from forebay.workers.answering.pseudonyms import hidden

logs.configure(sys.argv[1], hide=hidden(Redactor()), worker="w-1")
phone = "13800138000"

def fail(number):
    raise ValueError(f"no route to {number}")

try:
    fail(phone)
except ValueError:
    structlog.get_logger().exception("tool.failed", conversation_id="c-13900139000", error="mail jo@example.com")
    logging.getLogger("library").exception("it said %s", phone)
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_personal_data_is_in_no_log(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, form], capture_output=True, text=True, check=True, timeout=60
    )
    assert "13800138000" not in done.stderr
    assert "jo@example.com" not in done.stderr
    assert "[PHONE_1]" in done.stderr
    assert "[EMAIL_1]" in done.stderr
    assert "c-13900139000" in done.stderr, "what logs are searched by stays"
    assert "no route to" in done.stderr
    assert "Traceback" in done.stderr
