"""A session of the simulated Claude Managed Agents: its history, its state, and the runs in which the agent answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from forebay.rehearsal.model_api.answers.call_prompt import CallPrompt
from forebay.rehearsal.model_api.answers.model_answer import ModelAnswer, compose, pieces
from forebay.rehearsal.model_api.faults import Fault, Strike
from forebay.rehearsal.model_api.http.endless_stream import EndlessStream
from forebay.rehearsal.model_api.wire.anthropic_request import invalid, read_request

from .managed_shapes import error_event, model_usage, read_texts, stamp

if TYPE_CHECKING:
    from forebay.rehearsal.model_api.service import Service

TERMINATE = "[session terminated]"
"""In a user's text: the session ends instead of answering."""
RESCHEDULE = "[session rescheduled]"
"""In a user's text: the session recovers from an error before it answers."""
_MAX_TOKENS = 1024
_ERRORS = {
    Fault.RATE_LIMIT: "model_rate_limited_error",
    Fault.OVERLOADED: "model_overloaded_error",
    Fault.SERVER_ERROR: "model_request_failed_error",
    Fault.SPEND_LIMIT: "billing_error",
    Fault.CONTEXT_TOO_LONG: "compaction_limit_reached_error",
}


class ManagedSession:
    """One conversation with an agent. Its runs are scripts: generators that yield the seconds to wait."""

    def __init__(self, session_id: str, agent: dict[str, Any], environment_id: str, service: Service) -> None:
        self.id, self.agent, self.environment_id = session_id, agent, environment_id
        self.created_at = stamp(service.clock())
        self.status = "idle"
        self.events: list[dict[str, Any]] = []
        self.feeds: list[EndlessStream] = []
        self.usage = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_input_tokens"), 0)
        self._service = service
        self._messages: list[dict[str, Any]] = []
        self._pending: dict[str, dict[str, Any] | None] = {}  # call id: its result, once it is there
        self._queue: list[dict[str, Any]] = []
        self._script: Iterator[float] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._request: tuple[str, CallPrompt] | None = (
            None  # of the model, under way: id of its start, what it was asked
        )

    def send(self, events: list[Any]) -> list[dict[str, Any]]:
        """Takes a client's events; returns them as they were recorded. Raises Refused, before any is taken."""
        if self.status == "terminated":
            raise invalid(f"session {self.id} is terminated")
        self._check(events)
        return [self._take(event) for event in events]

    def watch(self, feed: EndlessStream) -> None:
        """A client listens from now on."""
        self.feeds.append(feed)
        feed.on_leave = self.feeds.remove
        if self.status == "terminated":
            feed.end()

    def terminate(self) -> None:
        """The session ends, whatever it was doing."""
        if self.status != "terminated":
            self._stop("abandoned")
            self._state("terminated")
            for feed in tuple(self.feeds):
                feed.end()

    def _check(self, events: list[Any]) -> None:
        """That every event can be taken in its turn."""
        pending = {call_id for call_id, result in self._pending.items() if result is None}
        for number, event in enumerate(events):
            kind = event.get("type") if isinstance(event, dict) else None
            if kind == "user.custom_tool_result":
                if event.get("custom_tool_use_id") not in pending:
                    raise invalid(f"events.{number}: no tool call waits for {event.get('custom_tool_use_id')!r}")
                pending.discard(event["custom_tool_use_id"])
            elif kind == "user.message":
                read_texts(number, event.get("content"))
                if pending:
                    raise invalid(f"events.{number}: the session waits for results of {', '.join(sorted(pending))}")
            elif kind == "user.interrupt":
                pending.clear()
            else:
                raise invalid(f"events.{number}.type: {kind!r} is not supported here")

    def _take(self, event: dict[str, Any]) -> dict[str, Any]:
        taken = self._emit(event | {"id": self._service.managed.new_id("sevt")})
        if event["type"] == "user.interrupt":
            self._interrupt()
        elif event["type"] == "user.message":
            self._queue.append(event)
            if self._script is None:
                self._begin()
        else:
            self._pending[event["custom_tool_use_id"]] = event
            if all(self._pending.values()):
                self._give_results()
                self._begin()
        return taken

    def _give_results(self) -> None:
        results = [
            {
                "type": "tool_result",
                "tool_use_id": call_id,
                "content": (result or {}).get("content", []),
                "is_error": bool((result or {"is_error": True}).get("is_error")),
            }
            for call_id, result in self._pending.items()
        ]
        self._pending = {}
        self._messages.append({"role": "user", "content": results})

    def _interrupt(self) -> None:
        if self._pending:  # nobody answers them any more
            self._give_results()
            self._idle({"type": "end_turn"})
        elif self._script is not None:
            self._stop("interrupted")
            self._idle({"type": "end_turn"})

    def _stop(self, outcome: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._script, self._timer, self._queue = None, None, []
        if self._request is not None:
            self._request_ended(None, outcome)

    def _begin(self) -> None:
        self._script = self._run()
        # The request that began the run is answered first.
        self._timer = asyncio.get_running_loop().call_later(0, self._step)

    def _step(self) -> None:
        script = self._script
        wait_s = next(script, None) if script is not None else None
        if wait_s is not None and wait_s < math.inf and self._script is script:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._step)

    def _run(self) -> Iterator[float]:
        self._state("running")
        for event in self._queue:
            self._messages += [{"role": "user", "content": text} for text in read_texts(0, event["content"])]
        self._queue = []
        prompt = self._prompt()
        self._service.counters.begin()
        self._request = self._emit({"type": "span.model_request_start"})["id"], prompt
        strike = self._service.strike(prompt, self._service.counters.turn(prompt.last_text))
        yield self._latency_s(strike)
        if strike is not None and strike.kind is Fault.HANG:
            yield math.inf
        if TERMINATE in prompt.last_text:
            self._emit(error_event("unknown_error", "terminal"))
            return self.terminate()
        if RESCHEDULE in prompt.last_text:
            self._emit(error_event("model_overloaded_error", "retrying"))
            self._state("rescheduled")
            yield self._latency_s(None)
            self._state("running")
        if strike is not None and (error := _ERRORS.get(strike.kind)):
            self._request_ended(None, strike.kind.value)
            self._emit(error_event(error, "exhausted"))
            return self._idle({"type": "retries_exhausted"})
        yield from self._answer(compose(prompt, gullible=self._service.settings.gullible), strike)

    def _latency_s(self, strike: Strike | None) -> float:
        if strike is not None and strike.kind is Fault.SLOW_FIRST_TOKEN:
            return self._service.settings.slow_s if strike.seconds is None else strike.seconds
        return self._service.next_latency_ms(True) / 1000.0

    def _prompt(self) -> CallPrompt:
        """What the model is asked: a request of the Messages API, its prefix cached."""
        tools = [tool for tool in self.agent["tools"] if tool.get("type") == "custom"]
        asked = {"model": self.agent["model"]["id"], "max_tokens": _MAX_TOKENS, "stream": True, "tools": tools}
        asked |= {"system": self.agent["system"], "messages": self._messages, "cache_control": {"type": "ephemeral"}}
        return read_request(asked)

    def _answer(self, reply: ModelAnswer, strike: Strike | None) -> Iterator[float]:
        message_id = self._service.managed.new_id("sevt")
        self._preview({"type": "event_start", "event": {"type": "agent.message", "id": message_id}})
        shown = pieces(reply.text)
        for number, piece in enumerate(shown):
            if number == len(shown) // 2 and strike is not None and strike.kind is Fault.CUT:
                for feed in tuple(self.feeds):
                    feed.cut()
            delta = {"type": "content_delta", "index": 0, "content": {"type": "text", "text": piece}}
            self._preview({"type": "event_delta", "event_id": message_id, "delta": delta})
            yield self._service.settings.token_ms / 1000.0
        said = {"type": "text", "text": reply.text}
        self._emit({"type": "agent.message", "id": message_id, "content": [said]})
        calls = [
            self._emit({"type": "agent.custom_tool_use", "name": call.name, "input": orjson.loads(call.arguments)})
            for call in reply.tools
        ]
        used = [{"type": "tool_use"} | {name: call[name] for name in ("id", "name", "input")} for call in calls]
        self._messages.append({"role": "assistant", "content": [said, *used]})
        self._request_ended(reply, "ok")
        self._pending = dict.fromkeys((call["id"] for call in calls), None)
        waits = {"type": "requires_action", "event_ids": list(self._pending)}
        self._idle(waits if calls else {"type": "end_turn"})

    def _request_ended(self, reply: ModelAnswer | None, outcome: str) -> None:
        if self._request is None:
            return
        (start_id, prompt), self._request = self._request, None
        usage = model_usage(prompt, reply.tokens if reply else 0)
        for name in self.usage:
            self.usage[name] += usage[name]
        ended = {"model_request_start_id": start_id, "model_usage": usage, "is_error": reply is None}
        self._emit({"type": "span.model_request_end"} | ended)
        self._service.counters.finish("anthropic", outcome)

    def _idle(self, stop_reason: dict[str, Any]) -> None:
        self._script = None
        self._state("idle", stop_reason=stop_reason)
        if self._queue and not self._pending:
            self._begin()

    def _state(self, status: str, **more: Any) -> None:
        self.status = "rescheduling" if status == "rescheduled" else status
        self._emit({"type": f"session.status_{status}"} | more)

    def _emit(self, event: dict[str, Any]) -> dict[str, Any]:
        """Records an event and shows it to whoever listens."""
        event = {"id": self._service.managed.new_id("sevt"), "processed_at": stamp(self._service.clock())} | event
        self.events.append(event)
        self._show(event, self.feeds)
        return event

    def _preview(self, event: dict[str, Any]) -> None:
        self._show(event, [feed for feed in self.feeds if feed.previews])

    def _show(self, event: dict[str, Any], feeds: list[EndlessStream]) -> None:
        data = b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))
        for feed in tuple(feeds):
            feed.write(data)
