"""The disguise of one turn: what its models are shown in place of personal data, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from forebay.workers.conversations.redaction import Redactor, RestoringStream, Vault, restore, restore_value
from forebay.workers.models import ToolCall, ToolResult

from .deltas import DeltaStream


class Disguise:
    """Hides what the turn brings and shows again what models write. Its vault grows with every new value.

    JSON goes through the standard library: orjson makes floats of whole numbers over 64 bits.
    """

    def __init__(self, redactor: Redactor | None, stored: Mapping[str, str | None]) -> None:
        self._redactor = redactor
        self.vault = Vault(stored)

    def hide(self, text: str) -> str:
        """As a model may read it."""
        if self._redactor is None:
            return text
        hidden, self.vault = self._redactor.redact(text, self.vault)
        return hidden

    def hide_results(self, results: Sequence[ToolResult]) -> tuple[ToolResult, ...]:
        """The same for what tools brought: where it is JSON its keys say what the values are."""
        return tuple(result._replace(text=self.hide_json(result.text)) for result in results)

    def show(self, text: str) -> str:
        """As the customer reads it."""
        return restore(text, self.vault)

    def show_calls(self, calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
        """As tools are given them. What is no JSON stays as it is, for the tool's check to refuse."""
        if not len(self.vault):
            return calls
        return tuple(call._replace(arguments=self._show_json(call.arguments)) for call in calls)

    def _show_json(self, text: str) -> str:
        try:
            return json.dumps(restore_value(json.loads(text), self.vault), ensure_ascii=False)
        except (ValueError, RecursionError):
            return text

    def hide_json(self, text: str) -> str:
        """As a model may read it, JSON or not: a key says what its value is."""
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


class ShownDeltas:
    """A turn's deltas with the real values in them."""

    def __init__(self, deltas: DeltaStream, disguise: Disguise) -> None:
        self._deltas, self._disguise = deltas, disguise
        self._restoring: RestoringStream | None = None

    def add(self, text: str) -> None:
        """See `DeltaStream.add`."""
        if self._restoring is None and len(self._disguise.vault):
            self._restoring = RestoringStream(self._disguise.vault)
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
    """For texts that nobody needs to restore, such as logs."""
    return lambda text: redactor.redact(text, Vault())[0]
