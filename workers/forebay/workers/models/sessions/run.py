"""One run of a session: from what was sent to it until it is idle again, as its events tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from forebay.schemas import Usage
from forebay.workers.messages import ToolCall
from forebay.workers.models.model import Completion, ModelError, OnText, Trouble, count, whole_text

_TROUBLE_OF_ERROR = {
    "model_overloaded_error": Trouble.OVERLOADED,
    "model_rate_limited_error": Trouble.RATE_LIMITED,
    "billing_error": Trouble.SPENDING_LIMIT,
    "compaction_limit_reached_error": Trouble.CONTEXT,
    "tool_use_limit_reached_error": Trouble.REJECTED,
}
"""By `session.error.error.type`; every other one is the provider's own trouble."""


class SessionRun:
    """Hears the events of a session's stream. Those of an earlier run, which may still come, are not heard."""

    def __init__(self, sent: frozenset[str], on_text: OnText | None, token: Callable[[], None]) -> None:
        """``sent`` are the ids of the events that began the run; ``token`` is called whenever the reply grows."""
        self._sent, self._on_text, self._token = sent, on_text, token
        self._begun = False
        self._shown: dict[str, str] = {}  # by message: what of it was streamed
        self._texts: list[str] = []
        self._calls: dict[str, ToolCall] = {}
        self._usage = [0, 0, 0]  # input, output, cache read
        self._error: ModelError | None = None
        self._interrupted = False
        self.over = False
        """Whether the session rests, or has ended."""
        self.useless = False
        """Whether the session can go on no more, though it has not ended."""

    def hear(self, event: Any) -> Completion | None:
        """Takes one event of the stream; returns the completion when the session has come to rest.

        Raises ModelError for a run that failed.
        """
        try:
            return self._heard(event.type, event)
        except (AttributeError, TypeError) as error:  # the SDK takes events as they come, whatever they lack
            raise ModelError(f"malformed event: {error}", Trouble.MALFORMED) from error

    def _heard(self, kind: str, event: Any) -> Completion | None:
        if kind == "session.status_terminated" or kind == "session.deleted":
            self.over = True
            raise self._error or ModelError(f"the session has ended: {kind}", Trouble.SERVER)
        self._begun = self._begun or kind == "session.status_running" or getattr(event, "id", None) in self._sent
        if not self._begun:
            return None
        if kind == "session.status_idle":
            self.over = True
            return self._rested(event.stop_reason)
        if note := _NOTES.get(kind):
            note(self, event)
        return None

    def _delta(self, event: Any) -> None:
        text = event.delta.content.text
        if event.event_id not in self._shown:
            self._shown[event.event_id] = ""
            text = self._parted(text)
        self._shown[event.event_id] += event.delta.content.text
        self._show(text)

    def _message(self, event: Any) -> None:
        """The whole of a message: deltas may have stopped early, or never come."""
        text = whole_text("".join(block.text for block in event.content if block.type == "text"))
        shown = self._shown.get(event.id)
        if shown is None:
            self._show(self._parted(text))
        else:
            self._show(text[len(shown) :] if text.startswith(shown) else "")
        self._texts.append(text)

    def _parted(self, text: str) -> str:
        """A message after another begins a paragraph."""
        return f"\n\n{text}" if self._texts else text

    def _show(self, text: str) -> None:
        self._token()
        if text and self._on_text is not None:
            self._on_text(text)

    def _call(self, event: Any) -> None:
        self._calls[event.id] = ToolCall(event.id, event.name, orjson.dumps(event.input).decode())

    def _spent(self, event: Any) -> None:
        usage = event.model_usage
        self._usage[0] += count(usage.input_tokens) + count(usage.cache_creation_input_tokens)
        self._usage[1] += count(usage.output_tokens)
        self._usage[2] += count(usage.cache_read_input_tokens)

    def _failed(self, event: Any) -> None:
        error = event.error
        trouble = _TROUBLE_OF_ERROR.get(error.type, Trouble.SERVER)
        self._error = ModelError(f"{error.type}: {error.message}"[:500], trouble)

    def _stopped(self, _: Any) -> None:
        self._interrupted = True

    def _rested(self, reason: Any) -> Completion:
        kind = reason.type
        if kind == "retries_exhausted":
            error = self._error or ModelError("the session gave up", Trouble.SERVER)
            self.useless = error.trouble is Trouble.CONTEXT  # a new one can be told less
            raise error
        if kind == "budget_reached":
            self.useless = True
            raise ModelError("the session's budget is spent", Trouble.SERVER)
        if self._interrupted:
            raise ModelError("the session was interrupted", Trouble.SERVER)
        calls: tuple[ToolCall, ...] = ()
        if kind == "requires_action":
            if strange := set(reason.event_ids) - set(self._calls):
                raise ModelError(f"the session waits for what no worker gives: {min(strange)}", Trouble.REJECTED)
            calls = tuple(self._calls[call_id] for call_id in reason.event_ids)
        usage = Usage(input_tokens=self._usage[0], output_tokens=self._usage[1], cache_read_tokens=self._usage[2])
        return Completion("\n\n".join(self._texts), "tool_use" if calls else str(kind), usage, calls=calls)


_NOTES: Mapping[str, Callable[[SessionRun, Any], None]] = {
    "event_delta": SessionRun._delta,
    "agent.message": SessionRun._message,
    "agent.custom_tool_use": SessionRun._call,
    "span.model_request_end": SessionRun._spent,
    "session.error": SessionRun._failed,
    "user.interrupt": SessionRun._stopped,
}
