"""One run of one engine: start it, count its replies, stop it, work out the figures."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import ideal, load
from .compared_engines import Engine
from .engine_contract import Contract
from .engine_figures import EngineFigures, Observation, figures
from .measured_process import EngineProcess
from .replies import ReplyTopic
from .workloads import Workload

POLL_S = 0.1


class EngineFailedError(Exception):
    """The engine ended by itself or answered next to nothing; the message is its last line."""


@dataclass(slots=True)
class Session:
    """Runs on one broker. A scenario's backlog is written once and read by every engine's own group."""

    bootstrap: str
    """Broker address, host:port."""

    folder: Path
    """Where contracts and engine logs go."""

    _ideals: dict[str, list[float]] = field(default_factory=dict)
    _runs: int = 0

    async def prepare(self, scenario: Workload) -> None:
        """Writes the backlog."""
        self._ideals[scenario.name] = ideal.completions(scenario)
        await load.fill(self.bootstrap, scenario)

    async def run(self, engine: Engine, scenario: Workload) -> EngineFigures:
        """One run. Raises EngineFailedError."""
        self._runs += 1
        contract = self._contract(f"{self._runs:03d}-{scenario.name}-{engine.name}", scenario)
        path = contract.write(self.folder / f"{contract.group}.json")
        async with ReplyTopic(self.bootstrap, contract.reply_topic) as topic:
            started_at = time.time()
            process = EngineProcess(engine.command(path), self.folder / f"{contract.group}.log")
            watcher = asyncio.create_task(process.watch(), name="samples")
            try:
                capped = await _drained(process, topic, scenario, started_at + engine.cap_s(scenario))
                ended_at = time.time()
                process.sample()
            finally:
                watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watcher
                await process.stop()
            replies = await topic.read()
        if replies.answered < 2:
            raise EngineFailedError(process.last_words())
        ideals = self._ideals[scenario.name]
        return figures(Observation(scenario, replies, process.samples, ideals, started_at, ended_at, capped))

    def _contract(self, run: str, scenario: Workload) -> Contract:
        return Contract(
            bootstrap=self.bootstrap,
            topic=load.topics(scenario).requests,
            reply_topic=load.topics(scenario).replies,
            group=run,
            concurrency=scenario.concurrency,
            latency_ms=scenario.latency_ms,
            jitter=scenario.jitter,
            slow_every=scenario.slow_every,
            slow_s=scenario.slow_s,
            seed=scenario.seed,
        )


async def _drained(process: EngineProcess, topic: ReplyTopic, scenario: Workload, deadline: float) -> bool:
    """Waits until every turn has a reply, or nothing more comes. True when the deadline came first."""
    wanted, seen, changed_at = scenario.turns, 0, time.time()
    patience = max(20.0, 1.5 * scenario.slow_s)
    while time.time() < deadline:
        if not process.running:
            raise EngineFailedError(process.last_words())
        await asyncio.sleep(POLL_S)
        count = await topic.count()
        if count != seen:
            seen, changed_at = count, time.time()
        if count >= wanted:
            replies = await topic.read()
            if replies.answered >= scenario.turns:
                return False
            wanted = count + scenario.turns - replies.answered
        elif time.time() - changed_at > patience:
            return False
    return True
