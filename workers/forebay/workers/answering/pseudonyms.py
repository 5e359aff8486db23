"""Pseudonyms of one turn: what its models are shown in place of personal data, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from forebay.workers.conversations.redaction import Redactor, RestoringStream, Vault, restore, restore_value
from forebay.workers.messages import ToolCall, ToolResult

from .deltas import DeltaStream


class Pseudonyms:
    """Hides what the turn brings and restores what models write. The vault grows with every new value.

    JSON goes through the standard library: orjson makes floats of whole numbers over 64 bits.
    """

    __slots__ = ("_redactor", "vault")

    def __init__(self, redactor: Redactor | None = None, stored: Mapping[str, str | None] = {}) -> None:
        self._redactor = redactor
        self.vault = Vault(stored)

    def hide(self, text: str) -> str:
        """The text as a model may read it."""
        if self._redactor is None:
            return text
        hidden, self.vault = self._redactor.redact(text, self.vault)
        return hidden

    def hide_json(self, text: str) -> str:
        """The same where the text may be JSON: a key says what its value is."""
        if self._redactor is None:
            return text
        try:
            value = json.loads(text)
            hidden, vault = self._redactor.redact_value(value, self.vault)
        except (ValueError, RecursionError):
            return self.hide(text)
        if vault is self.vault and hidden == value:
            return text
        self.vault = vault
        return json.dumps(hidden, ensure_ascii=False)

    def hide_results(self, results: Sequence[ToolResult]) -> tuple[ToolResult, ...]:
        """What tools returned, as a model may read it."""
        return tuple(result._replace(text=self.hide_json(result.text)) for result in results)

    def restore(self, text: str) -> str:
        """The text as the customer reads it."""
        return restore(text, self.vault)

    def restore_calls(self, calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
        """Calls as tools are given them. What is no JSON stays as it is, for the tool's check to refuse."""
        if not len(self.vault):
            return calls
        return tuple(call._replace(arguments=self._restore_json(call.arguments)) for call in calls)

    def _restore_json(self, text: str) -> str:
        try:
            return json.dumps(restore_value(json.loads(text), self.vault), ensure_ascii=False)
        except (ValueError, RecursionError):
            return text


class RestoredDeltas:
    """A turn's deltas with the real values in them."""

    def __init__(self, deltas: DeltaStream, pseudonyms: Pseudonyms) -> None:
        self._deltas, self._pseudonyms = deltas, pseudonyms
        self._restoring: RestoringStream | None = None

    def add(self, text: str) -> None:
        """See `DeltaStream.add`."""
        if self._restoring is None and len(self._pseudonyms.vault):
            self._restoring = RestoringStream(self._pseudonyms.vault)
        self._deltas.add(text if self._restoring is None else self._restoring.feed(text))

    def flush(self) -> None:
        """See `DeltaStream.flush`; the call has ended."""
        if self._restoring is not None:
            self._deltas.add(self._restoring.finish())
            self._restoring = None
        self._deltas.flush()

    def restart(self) -> None:
        """See `DeltaStream.restart`."""
        self._restoring = None
        self._deltas.restart()


def hidden(redactor: Redactor) -> Callable[[str], str]:
    """Hides personal data in texts that nobody needs to restore, such as log lines."""
    return lambda text: redactor.redact(text, Vault())[0]
