"""Restoring: placeholders in what a model wrote become the values again, in whole texts, JSON values and streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fold import fold
from .placeholder import begun, placeholders
from .vault import Vault


def restore(text: str, vault: Vault) -> str:
    """The text with the values of all placeholders that the vault knows; others stay as they are."""
    return _restored(text, fold(text), vault, 0, len(text)) if len(vault) else text


def restore_value(value: Any, vault: Vault) -> Any:
    """The same for a JSON value, such as a tool's arguments. Keys stay."""
    if isinstance(value, str):
        return restore(value, vault)
    if isinstance(value, Mapping):
        return {key: restore_value(item, vault) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [restore_value(item, vault) for item in value]
    return value


class RestoringStream:
    """``restore`` for a text in fragments: what ``feed`` and ``finish`` give, joined, is what it gives for the whole.

    Holds back only what may be the beginning of a placeholder, 56 characters at most.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._text = ""
        self._shown = 0
        """Characters of ``_text`` already shown: the last one is kept, as no placeholder begins within a word."""

    def feed(self, fragment: str) -> str:
        """What can be shown now."""
        self._text += fragment
        folded = fold(self._text)
        return self._show(folded, begun(folded, self._shown))

    def finish(self) -> str:
        """The rest."""
        return self._show(fold(self._text), len(self._text))

    def _show(self, folded: str, end: int) -> str:
        shown = _restored(self._text, folded, self._vault, self._shown, end)
        kept = max(0, end - 1)
        self._text, self._shown = self._text[kept:], end - kept
        return shown


def _restored(text: str, folded: str, vault: Vault, start: int, end: int) -> str:
    """``text[start:end]`` restored."""
    parts: list[str] = []
    position = start
    for written in placeholders(folded, start):
        if written.end > end:
            break
        value = vault.value(written.name)
        if value is not None:
            parts += text[position : written.start], value
            position = written.end
    return "".join(parts) + text[position:end]
