"""One rehearsal from beginning to end: the world is set up, the sale opens, and all is seen until nothing is waiting."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Self
from uuid import uuid4

from aiokafka.errors import KafkaError

from forebay.operations.planning.autoscaler import Autoscaler
from forebay.operations.planning.traffic import Traffic
from forebay.producers import TopicSettings, apply_topics
from forebay.rehearsal.chaos.schedule import ScheduledEvent
from forebay.rehearsal.chaos.world import World
from forebay.rehearsal.customers import Visit
from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.worker_processes import FleetError
from forebay.schemas import Cluster, ClusterError

from .deployment import Deployment
from .impatient_customer import since
from .lag import Lag
from .load_generator import LoadGenerator
from .observations import Happening, Observations, SaleSample
from .scenario import Incident, Scenario
from .screen import SaleState
from .setting import api_settings, remove_topics, visits_of, worker_environment
from .waiting_curve import Capacity

log = logging.getLogger(__name__)

_SAMPLE_S = 0.25
_PATIENCE_S = 90.0
"""After so long without a reply what is missing is lost."""


class SaleError(Exception):
    """The rehearsal cannot be held; the message says why and what to do."""


Watch = Callable[["Sale"], None]
"""Is called four times a second while the sale goes on."""


async def rehearse(
    scenario: Scenario, cluster: Cluster, folder: Path, kafka: EmbeddedKafka | None, watch: Watch, *, variant: str = ""
) -> Observations:
    """Holds one sale on this cluster, under topics of its own. ``folder`` takes the workers' logs and their store.

    ``kafka`` is the embedded broker behind the cluster, if it is one: only that can be broken. Raises SaleError and
    ClusterError.
    """
    cluster = cluster.model_copy(update={"topic_prefix": f"rehearsal-{uuid4().hex[:12]}"})
    visits, traffic, unread = await visits_of(scenario, cluster)
    async with AsyncExitStack() as stack:
        await apply_topics(cluster, TopicSettings(topic_partitions=scenario.workers.partitions))
        if kafka is None:
            stack.push_async_callback(_tidy, cluster)
        api = None
        if not scenario.models.real:
            api = await stack.enter_async_context(ModelApi(api_settings(scenario.models)))
        sale = await stack.enter_async_context(
            Sale(scenario, cluster, folder, kafka, api, traffic, cluster.topic_prefix)
        )
        try:
            await sale.fleet.start(scenario.workers.least)
            await sale.hold(visits, watch)
        except FleetError as error:
            raise SaleError(str(error)) from error
        await sale.fleet.stop()
    return sale.outcome(unread, variant)


async def _tidy(cluster: Cluster) -> None:
    """What was seen counts, also where Kafka is gone by now."""
    try:
        await remove_topics(cluster)
    except ClusterError as error:
        log.warning("topics %s.* are left: %s", cluster.topic_prefix, error)


class Sale:
    """A sale under way, for whoever watches. Use it as a context manager: it ends what it started."""

    def __init__(
        self,
        scenario: Scenario,
        cluster: Cluster,
        folder: Path,
        kafka: EmbeddedKafka | None,
        api: ModelApi | None,
        traffic: Traffic,
        group: str,
    ) -> None:
        self.scenario, self.traffic, self.api = scenario, traffic, api
        self._cluster = cluster
        self._scaling = scenario.scaling()
        self._group = group
        store = folder / f"{cluster.topic_prefix}.db"
        self.environment = worker_environment(scenario, cluster, group, store, api)
        self.fleet = Deployment(folder, self.environment, self._scaling.pod_start_s, self._say, self._changed)
        self.world = World(kafka, api, store, self.fleet.strike)
        customers = scenario.customers
        self.load = LoadGenerator(
            cluster, streamed=customers.streamed, when_busy=customers.when_busy, simulated=api is not None
        )
        self.check = self.load.check
        self.samples: list[SaleSample] = []
        self.happenings: list[Happening] = []
        self._capacity: list[Capacity] = []
        self._began = 0.0
        self._lag = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.world.close()
        await self.fleet.close()

    @property
    def now(self) -> float:
        """Seconds since it began; 0 before."""
        return time.monotonic() - self._began if self._began else 0.0

    async def hold(self, visits: Sequence[Visit], watch: Watch) -> None:
        """With the fleet started; returns when every turn has its reply, or nothing more comes."""
        async with self.load, Lag(self._cluster, self._group) as lag:
            self._began = time.monotonic()
            self._changed(self.fleet.ready)
            doing = [
                asyncio.create_task(self.load.visit(visits, self._began), name="sale.customers"),
                asyncio.create_task(self._break(), name="sale.faults"),
                asyncio.create_task(self._scale(lag), name="sale.scaling"),
            ]
            try:
                await self._see_to_the_end(doing[:2], watch)
            finally:
                for task in doing:
                    task.cancel()
                ended = await asyncio.gather(*doing, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _see_to_the_end(self, doing: Sequence[asyncio.Task[None]], watch: Watch) -> None:
        replied, latest = -1, time.monotonic()
        while not (all(task.done() for task in doing) and self.load.all_replied):
            if any(task.done() and task.exception() for task in doing):
                return
            if self.check.replied > replied or self.now < self.traffic.ends_s:
                replied, latest = self.check.replied, time.monotonic()
            elif time.monotonic() - latest > _PATIENCE_S:
                self._say(f"no reply for {_PATIENCE_S:g} s: given up")
                return
            self.fleet.supervise()
            self._sample()
            watch(self)
            await asyncio.sleep(_SAMPLE_S)
        self._sample()

    async def _break(self) -> None:
        """What the scenario breaks, each at its moment, however long another takes."""
        async with asyncio.TaskGroup() as breaking:
            for incident in self.scenario.incidents():
                breaking.create_task(self._go_through(incident))

    async def _go_through(self, incident: Incident) -> None:
        await self._perform(incident.begins_at, incident.begins)
        if incident.ends is not None:
            await self._perform(incident.ends_at, incident.ends)

    async def _perform(self, at: float, event: ScheduledEvent) -> None:
        await asyncio.sleep(self._began + at - time.monotonic())
        if event.worker is None:  # the fleet tells of its own
            self._say(event.kind.replace("_", " "))
        await self.world.perform(event)

    async def _scale(self, lag: Lag) -> None:
        """As KEDA and the autoscaler of Kubernetes do it."""
        autoscaler = Autoscaler(self._scaling)
        while True:
            try:
                self._lag = await lag.read()
            except KafkaError:
                pass  # the autoscaler too does nothing while its metric is missing
            else:
                pods = autoscaler.decide(self.now, self._lag, self.fleet.wanted)
                if pods != self.fleet.wanted:
                    self._say(f"{self._lag:,} turns not committed: {self.fleet.wanted} -> {pods} workers")
                    self.fleet.scale(pods)
            await asyncio.sleep(self._scaling.every_s)

    def outcome(self, unread: int, variant: str) -> Observations:
        """All that was seen."""
        began, check = self._began, self.check
        return Observations(
            scenario=self.scenario,
            traffic=self.traffic,
            sent_at={turn_id: at - began for turn_id, at in check.sent_at.items()},
            answers=tuple(answer.after(began) for answer in check.answers),
            verdict=check.verdict(),
            samples=tuple(self.samples),
            capacity=tuple(self._capacity),
            happenings=tuple(self.happenings),
            first_words_s=dict(self.load.first_words_s),
            routes=dict(self.load.routes.most_common()),
            late_s=tuple(self.load.late_s),
            start_s=median(self.fleet.starts_s),
            bad_ends=tuple(self.fleet.bad_ends),
            calls=self.api.stats().begun if self.api is not None else sum(a.attempts for a in check.answers),
            taken=0 if self.api is None else self.api.stats().accepted,
            questions=since(self.load.questions, began) if self.scenario.customers.patience else None,
            unread=unread,
            variant=variant,
        )

    def moment(self) -> SaleState:
        """What the live view shows."""
        servers = self.samples[-1].ready * self.scenario.workers.concurrency
        return SaleState.of(self.samples, self.check.answers, self.traffic, servers)

    def _sample(self) -> None:
        now, sent, replied = self.now, self.check.sent, self.check.replied
        if self.api is not None:
            stats = self.api.stats()
            in_flight, failed = stats.in_flight, stats.begun - stats.in_flight - stats.outcome("ok")
        else:  # what a provider has that is not ours: as much as the workers may ask it
            in_flight, failed = min(sent - replied, self.fleet.ready * self.scenario.workers.concurrency), 0
        fleet = self.fleet
        self.samples.append(SaleSample(now, in_flight, self._lag, fleet.wanted, fleet.ready, failed, sent, replied))

    def _say(self, what: str) -> None:
        self.happenings.append(Happening(self.now, what))

    def _changed(self, ready: int) -> None:
        self._capacity.append(Capacity(self.now, ready * self.scenario.workers.concurrency))
