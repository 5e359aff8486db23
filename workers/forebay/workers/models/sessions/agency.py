"""The agency: what the sessions of one key need besides a conversation: agents, an environment, and a place in line."""

from __future__ import annotations

import asyncio
import os
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import anthropic
import orjson

from forebay.workers.models.model import ModelError, Trouble, retry_after_s
from forebay.workers.models.prompt import Prompt, ToolSpec

from .line import SessionLine

NAME = "forebay"
"""Of the agents and the environment that it makes."""
_REFUSED_S = 1.0
"""How long the line stands still after a refusal that does not say."""


class Agency:
    """Makes an agent for each model, instructions and tools, and one environment, when they are first needed.

    ``FOREBAY_MANAGED_AGENT`` and ``FOREBAY_MANAGED_ENVIRONMENT`` are ids of such as exist already: then none are made, and
    sessions replace the agent's model, instructions and tools by their own.
    """

    def __init__(self, client: anthropic.AsyncAnthropic, line: SessionLine | None = None) -> None:
        self._beta = client.beta
        self._line = line or SessionLine()
        self._given = os.environ.get("FOREBAY_MANAGED_AGENT") or None
        self._environment = os.environ.get("FOREBAY_MANAGED_ENVIRONMENT") or None
        self._environment_given = self._environment is not None
        self._agents: dict[str, str] = {}
        self._making = asyncio.Lock()
        # Another key may be another organisation's, which knows nothing of our sessions.
        self._key = (client.api_key or "").encode()

    def name(self, model: str, prompt: Prompt) -> str:
        """The name under which a conversation keeps its session: another for other instructions, tools or keys."""
        return f"managed:{model}/{_fingerprint(self._key, prompt.system, prompt.tools)}"

    async def session(self, model: str, prompt: Prompt, until: float) -> str:
        """The id of a new session. Waits in line until then (of the loop's clock) at most.

        Raises ModelError when its turn does not come, and whatever the SDK raises.
        """
        name, in_line = self.name(model, prompt), False
        try:
            async with asyncio.timeout_at(until):
                agent, environment = await self._prepared(name, model, prompt)
                while True:
                    in_line = True
                    async with self._line.place():
                        in_line = False
                        try:
                            made = await self._beta.sessions.create(agent=agent, environment_id=environment)
                        except anthropic.RateLimitError as error:
                            self._refused(error, until)
                        else:
                            return made.id
        except TimeoutError:
            if in_line:
                raise ModelError("no new session in time: too many conversations begin", Trouble.RATE_LIMITED) from None
            raise
        except anthropic.NotFoundError as error:
            if not self._environment_given:
                self._environment = None
            if self._agents.pop(name, None) is None:
                raise
            # Somebody has deleted what we made: the next try makes it anew.
            raise ModelError(f"the agent or its environment is gone: {error.message}", Trouble.SERVER) from error

    def _refused(self, error: anthropic.RateLimitError, until: float) -> None:
        """Others use the organisation's sessions too: the line stands still, if there is time to wait for it."""
        wait_s = retry_after_s(error.response.headers) or _REFUSED_S
        if asyncio.get_running_loop().time() + wait_s >= until:
            raise error
        self._line.close_for(wait_s)

    async def _prepared(self, name: str, model: str, prompt: Prompt) -> tuple[Any, str]:
        """(what to create a session with: an agent's id or overrides, the environment's id)."""
        tools = _tools(prompt.tools)
        async with self._making:
            if self._environment is None:
                # Nothing runs in it: tools are ours.
                closed: Any = {"type": "cloud", "networking": {"type": "limited"}}
                self._environment = (await self._beta.environments.create(name=NAME, config=closed)).id
            if self._given is not None:
                overrides = {"model": model, "system": prompt.system or None, "tools": tools}
                return {"type": "agent_with_overrides", "id": self._given, **overrides}, self._environment
            if name not in self._agents:
                made = await self._beta.agents.create(model=model, name=NAME, system=prompt.system or None, tools=tools)
                self._agents[name] = made.id
            return self._agents[name], self._environment


@lru_cache(maxsize=64)
def _fingerprint(key: bytes, system: str, tools: tuple[ToolSpec, ...]) -> str:
    words = orjson.dumps([system, *map(list, tools)])
    return blake2b(words, key=blake2b(key, digest_size=32).digest(), digest_size=6).hexdigest()


def _tools(tools: tuple[ToolSpec, ...]) -> list[Any]:
    return [
        {"type": "custom", "name": name, "description": what, "input_schema": orjson.loads(schema)}
        for name, what, schema in tools
    ]
