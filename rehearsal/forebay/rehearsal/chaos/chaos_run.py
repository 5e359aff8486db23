"""One run: the script is sent, the schedule is performed between its records, and what is left is counted."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from aiokafka import AIOKafkaProducer

from forebay.producers import TopicSettings, apply_topics
from forebay.rehearsal.model_api import ModelApiSettings
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.schemas import Cluster

from .count import count
from .counts import Counts
from .evidence import Evidence
from .reading import Follower, until_joined, whole
from .schedule import BEGINNINGS, RATE, WORKERS, EventKind, ScheduledEvent, schedule
from .script import Line, script
from .watched_model_api import WatchedModelApi
from .worker_kinds import FOREBAY, WorkerKind
from .workers import ChaosWorkers
from .world import World

_PARTITIONS = 6
_PATIENCE_S = 60.0
"""After so long without anything new the run is over; what is missing then is lost. Longer than any wait of a worker."""
_AT_MOST_S = 1_800.0

BROKER = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "400"}
"""Broker settings: after SIGKILL it waits out its own old session, 9 s by default, before it takes requests again."""

Say = Callable[[str], None]
"""Is told one human sentence at a time."""


@dataclass(frozen=True, slots=True)
class SeededRun:
    """One run, as far as the seed decides it."""

    seed: int
    seconds: float = 60.0
    """How long it takes at least, at the full rate; the fewer records, the fewer events."""
    rate: float = RATE
    """Records a second at most."""
    kinds: Collection[EventKind] = field(default=BEGINNINGS)
    """What may happen."""

    @property
    def script(self) -> tuple[Line, ...]:
        """The records."""
        return script(self.seed, int(self.seconds * self.rate))

    @property
    def events(self) -> tuple[ScheduledEvent, ...]:
        """What happens between them."""
        return schedule(self.seed, int(self.seconds * self.rate), rate=self.rate, kinds=self.kinds)


@dataclass(frozen=True, slots=True)
class ChaosOutcome:
    """What came of a run."""

    rehearsal: SeededRun
    counts: Counts
    seconds: float
    """From the first record to the last reply."""
    ended_by_themselves: int
    """Workers that ended without being told to, and were started again."""
    bad_ends: tuple[str, ...]
    """Workers that were told to end in order and did not."""

    def broken(self) -> list[str]:
        """The promises that were broken, in words."""
        return [*self.counts.broken(), *(f"SIGTERM did not end in order: {end}" for end in self.bad_ends)]


async def run(
    rehearsal: SeededRun, kafka: EmbeddedKafka, folder: Path, engine: WorkerKind = FOREBAY, say: Say = lambda _: None
) -> ChaosOutcome:
    """Performs one run on a broker that keeps its data over a restart (`BROKER`). ``folder`` takes logs and the store."""
    cluster = Cluster(kafka=kafka.bootstrap_servers, topic_prefix=f"chaos-{engine.name}-{rehearsal.seed}")
    await apply_topics(cluster, TopicSettings(topic_partitions=_PARTITIONS))
    async with AsyncExitStack() as stack:
        api = WatchedModelApi(ModelApiSettings(seed=rehearsal.seed))
        await stack.enter_async_context(api)
        store = folder / "conversations.db"
        environment = {
            "FOREBAY_KAFKA": cluster.kafka,
            "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
            "FOREBAY_STORE": f"sqlite:///{store}",
            "ANTHROPIC_BASE_URL": api.url,
        }
        fleet = ChaosWorkers(engine, folder, environment, say)
        stack.callback(fleet.close)
        world = World(kafka, api, store, fleet.strike, fleet.restart)
        stack.callback(world.close)
        return await _Run(rehearsal, cluster, engine, fleet, world, api, folder, say).run()


class _Run:
    def __init__(
        self,
        rehearsal: SeededRun,
        cluster: Cluster,
        engine: WorkerKind,
        fleet: ChaosWorkers,
        world: World,
        api: WatchedModelApi,
        folder: Path,
        say: Say,
    ) -> None:
        self._rehearsal = rehearsal
        self._cluster = cluster
        self._engine = engine
        self._fleet = fleet
        self._world = world
        self._api = api
        self._folder = folder
        self._say = say
        self._happened: list[tuple[str, float, float]] = []
        self._script = rehearsal.script
        self._follower = Follower(cluster, self._script)

    async def run(self) -> ChaosOutcome:
        await self._fleet.start(WORKERS)
        await until_joined(self._cluster, self._engine.group, WORKERS)
        await self._follower.start()
        began = time.monotonic()
        try:
            await self._send()
            seconds = await self._until_quiet() - began
        finally:
            await self._follower.stop()
        self._say("all is quiet")
        bad_ends = await self._fleet.stop()
        evidence = await self._evidence()
        self._note(evidence)
        return ChaosOutcome(
            self._rehearsal,
            count(self._script, evidence, remembers=self._engine.judged),
            seconds,
            self._fleet.ended_by_themselves,
            tuple(bad_ends),
        )

    async def _send(self) -> None:
        """Sends every record at its turn. An event happens between two records, however long it takes."""
        due: defaultdict[int, list[ScheduledEvent]] = defaultdict(list)
        for event in self._rehearsal.events:
            due[event.at].append(event)
        # Large batches: a full one would make `send` wait for a broker that is to come back only some records later.
        producer = AIOKafkaProducer(
            acks="all", enable_idempotence=True, max_batch_size=1 << 20, **self._cluster.connection()
        )
        await producer.start()
        try:
            sent = []
            for number, line in enumerate(self._script):
                await self._perform(due[number])
                sent.append(await producer.send(self._cluster.topics.requests, line.value, key=line.key))
                self._fleet.supervise()
                # Never faster than the rate, not even to catch up: a length in records is a length in seconds.
                await asyncio.sleep(1.0 / self._rehearsal.rate)
            await self._perform(due[len(self._script)])
            await asyncio.gather(*sent)
            self._say("all is sent")
        finally:
            await producer.stop()

    async def _perform(self, events: list[ScheduledEvent]) -> None:
        for event in events:
            self._say(str(event))
            began = time.time()
            await self._world.perform(event)
            self._happened.append((str(event), began, time.time()))

    async def _until_quiet(self) -> float:
        """Waits until everything is answered, or nothing more comes; returns the moment of the last thing that came."""
        turns = sum(line.poison is None for line in self._script)
        letters = len(self._script) - turns if self._engine.judged else 0
        give_up = time.monotonic() + _AT_MOST_S
        latest, seen = time.monotonic(), -1
        while (now := time.monotonic()) < min(give_up, latest + _PATIENCE_S):
            self._fleet.supervise()
            replied, buried = len(self._follower.replied), len(self._follower.buried)
            if replied + buried > seen:
                latest, seen = now, replied + buried
            if replied == turns and buried >= letters:
                break
            await asyncio.sleep(0.2)
        return latest

    def _note(self, evidence: Evidence) -> None:
        """For whoever looks into a broken promise: the times that no worker's log has, in Unix seconds."""
        noted = {"events": self._happened, "blows": evidence.blows, "calls": evidence.calls}
        (self._folder / "evidence.json").write_bytes(orjson.dumps(noted, default=list))

    async def _evidence(self) -> Evidence:
        topics = self._cluster.topics
        return Evidence(
            await whole(self._cluster, topics.requests),
            await whole(self._cluster, topics.replies),
            await whole(self._cluster, topics.dead_letters),
            tuple(self._api.calls),
            tuple(self._fleet.blows),
        )
