"""One user of shared limits: a chain with one simulated model that notes when it was called and what that used.

python -m tests.integration.shared_user '{"url": ..., "name": ..., ...}' says "ready", reads until when it is to call, and writes
its calls to standard output.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import orjson

from forebay.schemas import Usage
from forebay.workers.flow.chain import Chain
from forebay.workers.flow.concurrency import AdaptiveLimit
from forebay.workers.flow.shared_limits import SharedLimits, SharedRateLimit
from forebay.workers.flow.upstream import Upstream
from forebay.workers.models import Catalogue, Completion, Message, Prompt

Calls = list[tuple[float, int]]
"""When each call began, in seconds since the epoch, and the tokens that it truly used."""


class PlayedModel:
    """Uses as many tokens as chance wills."""

    name = "played"

    def __init__(self, note: Callable[[float, int], None], chance: random.Random) -> None:
        self._note = note
        self._chance = chance

    async def complete(self, prompt: Prompt, on_text: object = None) -> Completion:
        began = time.time()
        read = len(prompt.messages[0].text) // 4 + 20
        written = self._chance.randint(20, 400)
        self._note(began, read + written)
        await asyncio.sleep(self._chance.uniform(0.02, 0.2))
        return Completion("x", "end_turn", Usage(input_tokens=read, output_tokens=written))


@dataclass
class User:
    """What a worker is for the limits: calls as many as it may, ``concurrency`` at once."""

    url: str
    name: str
    """Of the key."""
    quota: float
    """Tokens in a window."""
    window_s: float
    share: int = 3
    concurrency: int = 20
    longest: int = 3000
    """Characters of the longest prompt."""
    seed: int = 0
    calls: Calls = field(default_factory=list)

    def __post_init__(self) -> None:
        """Connects as a worker does."""
        self.shared = SharedLimits(self.url, self.share, self.window_s)
        self.limit: SharedRateLimit = self.shared.limit(self.name, {"tokens": self.quota})
        self._chance = random.Random(self.seed)
        model = PlayedModel(lambda at, tokens: self.calls.append((at, tokens)), self._chance)
        upstream = Upstream(model, Catalogue.load().find("claude-haiku-4-5")[1])
        upstream.rate = self.limit
        self._chain = Chain([[upstream]], AdaptiveLimit(self.concurrency))
        self.shared.on_change = self._chain.look

    async def run(self, until: float) -> None:
        """Calls until then, in seconds since the epoch."""
        await asyncio.gather(*(self._call(until) for _ in range(self.concurrency)))

    async def _call(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + until - time.time()
        while True:
            prompt = Prompt("", (Message("user", "x" * self._chance.randint(self.longest // 2, self.longest)),), 1000)
            try:
                upstream, call = await self._chain.admitted(prompt, set(), deadline)
            except TimeoutError:
                return
            await self._chain.call(upstream, call, prompt, None)
            if loop.time() >= deadline:
                return


def fullest(calls: Calls, window_s: float) -> int:
    """Most tokens that any window of this length held."""
    calls = sorted(calls)
    held = most = first = 0
    for at, tokens in calls:
        held += tokens
        while calls[first][0] <= at - window_s:
            held -= calls[first][1]
            first += 1
        most = max(most, held)
    return most


def used(calls: Calls, marks: Sequence[float]) -> list[int]:
    """Tokens used from each of these times to the next."""
    return [sum(tokens for at, tokens in calls if start <= at < end) for start, end in pairwise(marks)]


async def _main(**fields: object) -> None:
    user = User(**fields)  # type: ignore[arg-type]
    user.calls = _Printed()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await user.run(float(await asyncio.to_thread(sys.stdin.readline)))
    await user.shared.close()


class _Printed(Calls):
    """Tells each call at once: whoever is killed has told all."""

    def append(self, call: tuple[float, int]) -> None:
        sys.stdout.write(f"{call[0]} {call[1]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(**orjson.loads(sys.argv[1])))
