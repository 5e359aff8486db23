"""Redaction: personal data leaves the text before it goes to a model or a log, and comes back in the answer. Pure, no I/O."""

from __future__ import annotations

from .redactor import KINDS, Redactor
from .restoring import RestoringStream, restore, restore_value
from .span import Detector, Span
from .vault import Vault

__all__ = ["KINDS", "Detector", "Redactor", "RestoringStream", "Span", "Vault", "restore", "restore_value"]
