"""The SDK clients that models are asked through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .catalogue import Provider
from .model import Model
from .options import ModelOptions
from .timeouts import Timeouts


class Clients:
    """The SDK clients of a worker, one for each API key with its own connection pool, shared by all models of that key."""

    def __init__(self, connections: int, timeouts: Timeouts = Timeouts()) -> None:
        self._connections, self._timeouts = connections, timeouts
        self._clients: dict[tuple[str, str], Any] = {}
        self._agencies: dict[str, Any] = {}

    def model(self, name: str, provider: Provider, key: str, options: ModelOptions = ModelOptions()) -> Model:
        """A model with one key; a name that begins with ``managed:`` means Claude Managed Agents."""
        # Each SDK takes 30 MB and half a second to import: only the one that is used.
        if provider == "anthropic" and name.startswith("managed:"):
            return self._managed(name.removeprefix("managed:"), key, options)
        if provider == "anthropic":
            from . import anthropic

            client = self._client(provider, key, anthropic.client)
            return anthropic.AnthropicModel(name, client, self._timeouts, options)
        from . import openai

        return openai.OpenAIModel(name, self._client(provider, key, openai.client), self._timeouts, options)

    def _managed(self, name: str, key: str, options: ModelOptions) -> Model:
        from . import managed_agent
        from .sessions import agency

        client = self._client("managed", key, managed_agent.client)
        if key not in self._agencies:
            self._agencies[key] = agency.Agency(client)
        return managed_agent.ManagedAgentModel(name, client, self._agencies[key], self._timeouts, options)

    async def close(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.close()

    def _client(self, provider: str, key: str, make: Callable[[str, int, Timeouts], Any]) -> Any:
        client = self._clients.get((provider, key))
        if client is None:
            client = self._clients[provider, key] = make(key, self._connections, self._timeouts)
        return client
