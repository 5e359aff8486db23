"""A model behind Claude Managed Agents: a session for each conversation, which remembers what was said in it.

A session is told only what is new to it: what the user says now, or what tools have brought. A call looks first how its
session stands, then listens, then sends; so it goes on after a crash, a cancelled call and a lost session alike.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Literal

import anthropic
import httpx2
import structlog
from cachetools import LRUCache

from forebay.schemas import SettingsError
from forebay.workers.messages import Message

from .anthropic import client as messages_client
from .anthropic import errors
from .model import Completion, ModelError, OnText, Trouble
from .options import ModelOptions
from .prompt import Prompt
from .sessions.agency import Agency
from .sessions.memory import Memory, declined, news
from .sessions.run import SessionRun
from .timeouts import CallClock, Timeouts

log = structlog.get_logger()

PREFIX = "managed:"
"""Prefix of the model's name that chooses this provider."""
INTERRUPT_S = 2.0
"""How long a cancelled call may take to interrupt its session, in seconds."""
SETTLE_S = 5.0
"""How long a session may take to become idle before a new one replaces it, in seconds."""
_REMEMBERED = 256
_STATES: list[Any] = [
    "session.status_idle",
    "session.status_running",
    "session.status_rescheduled",
    "session.status_terminated",
]

Standing = frozenset[str] | Literal["busy", "gone"]
"""Of a session: ids of the tool calls that it waits for (none of them: it rests), or why it cannot be told anything."""


def client(key: str, connections: int, timeouts: Timeouts) -> anthropic.AsyncAnthropic:
    """As for the Messages API, with twice the connections: a call sends while it listens.

    With fewer, calls that listen could hold all of them, and none could send.
    """
    return messages_client(key, 2 * connections, timeouts)


class ManagedAgentModel:
    """One model behind sessions."""

    def __init__(
        self,
        name: str,
        client: anthropic.AsyncAnthropic,
        agency: Agency,
        timeouts: Timeouts = Timeouts(),
        options: ModelOptions = ModelOptions(),
    ) -> None:
        """``name`` is the model's own, without the prefix. Raises SettingsError for options that no agent takes."""
        if options.sampling or options.max_tokens is not None:
            unknown = min({**options.sampling, **({"max_tokens": 0} if options.max_tokens is not None else {})})
            raise SettingsError(f"the assistant's options for {PREFIX}{name}: it takes no {unknown}; leave it out")
        self.name = PREFIX + name
        self._model = name
        self._sessions = client.beta.sessions
        self._agency = agency
        self._timeouts = timeouts.with_options(options)
        self._begun: LRUCache[tuple[str, tuple[Message, ...]], Memory] = LRUCache(_REMEMBERED)
        """Sessions made for a call that failed, by what they were to answer: for the next try.

        Were two conversations to begin with the same words, one could take the other's: it was told nothing else.
        """
        self._useless: LRUCache[str, bool] = LRUCache(_REMEMBERED)
        """Sessions that cannot go on although they have not ended."""

    async def complete(self, prompt: Prompt, on_text: OnText | None = None) -> Completion:
        """Calls the agent once, in the conversation's session or a new one. Raises ModelError.

        Waiting in line for a new session takes up to the time of a call, and then the call begins.
        """
        agent = self._agency.name(self._model, prompt)
        begun = self._begun.pop((agent, prompt.messages), None)
        memory, waits_for = begun or Memory.read(prompt.sessions.get(agent)), None
        with errors(lambda: "the session does not answer"):
            if memory is not None and memory.session_id not in self._useless:
                waits_for = await self._at_rest(memory, prompt)
            if memory is None or waits_for is None:
                until = asyncio.get_running_loop().time() + self._timeouts.call_s
                memory = begun = Memory(await self._agency.session(self._model, prompt, until))
                waits_for = frozenset()
            try:
                completion = await self._run(memory, prompt, waits_for, on_text)
            except BaseException:
                if begun is not None:
                    self._begun[agent, prompt.messages] = begun
                raise
        reply = Message("assistant", completion.text, completion.calls)
        return replace(completion, session=(agent, memory.told(prompt, reply).written()))

    async def _run(
        self, memory: Memory, prompt: Prompt, waits_for: frozenset[str], on_text: OnText | None
    ) -> Completion:
        """Tells a session that rests what is new, and hears what it answers."""
        events = news(prompt, memory, waits_for)
        assert events is not None, "it was brought to rest"
        clock = CallClock(self._timeouts, streamed=on_text is not None)
        run: SessionRun | None = None
        told, session = False, memory.session_id
        deltas: Any = ["agent.message"] if on_text is not None else anthropic.omit
        try:
            async with clock, await self._sessions.events.stream(session, event_deltas=deltas) as stream:
                told = True  # by now it may be, whatever becomes of the request
                sent: Any = await self._sessions.events.send(session, events=events)
                run = SessionRun(frozenset(event.id for event in sent.data or ()), on_text, clock.token)
                async for event in stream:
                    if (completion := run.hear(event)) is not None:
                        headers = stream.response.headers
                        return replace(completion, request_id=headers.get("request-id"), headers=headers)
            raise ModelError("the session's stream ended before its answer", Trouble.MALFORMED)
        except TimeoutError as error:
            raise ModelError(clock.reason(), Trouble.TIMEOUT) from error
        except anthropic.NotFoundError as error:  # the next try makes another
            raise ModelError(f"the session is gone: {error.message}", Trouble.SERVER) from error
        finally:
            if run is not None and run.useless:
                self._useless[session] = True
            if told and (run is None or not run.over):
                await self._interrupt(session)

    async def _at_rest(self, memory: Memory, prompt: Prompt) -> frozenset[str] | None:
        """Ids of the calls whose results the session waits for and the prompt has; None when it is of no use any more.

        What is left of a turn that never ended is brought to rest: a run that goes on, or calls that nobody answers.
        """
        session, asked = memory.session_id, False
        async with asyncio.timeout(self._timeouts.call_s):
            standing = await self._standing(session)
        try:
            async with asyncio.timeout(SETTLE_S):
                wait_s = 0.05
                while standing == "busy" or (standing != "gone" and news(prompt, memory, standing) is None):
                    if not asked:
                        unanswered = declined(standing) if isinstance(standing, frozenset) else []
                        events: list[Any] = [*unanswered, {"type": "user.interrupt"}]
                        await self._sessions.events.send(session, events=events)
                        asked = True
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, 0.5)
                    standing = await self._standing(session)
        except (TimeoutError, anthropic.BadRequestError, anthropic.NotFoundError):
            return None
        return standing if isinstance(standing, frozenset) else None

    async def _standing(self, session: str) -> Standing:
        """How a session stands, by its latest change of state; one that was told nothing yet has none."""
        try:
            latest: Any = await self._sessions.events.list(session, limit=1, order="desc", types=_STATES)
        except anthropic.NotFoundError:
            return "gone"
        if not latest.data or latest.data[0].type == "session.status_idle":
            reason = latest.data[0].stop_reason if latest.data else None
            return frozenset(reason.event_ids if reason is not None and reason.type == "requires_action" else ())
        return "gone" if latest.data[0].type == "session.status_terminated" else "busy"

    async def _interrupt(self, session: str) -> None:
        """Stops what nobody waits for: it would cost, and the next call would find the session at work."""
        try:
            async with asyncio.timeout(INTERRUPT_S):
                await self._sessions.events.send(session, events=[{"type": "user.interrupt"}])
        except (anthropic.AnthropicError, httpx2.HTTPError, OSError, TimeoutError) as error:
            # The next call on this session sees to it.
            log.warning("session.not_interrupted", session=session, error=str(error))
