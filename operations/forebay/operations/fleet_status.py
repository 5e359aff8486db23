"""State of the fleet from Kafka alone: the reports of the workers, the commits of their group and the ends of the topics."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from forebay.producers.topic_reader import TopicReader
from forebay.schemas import Cluster, ClusterError, WorkerState

from . import Filter, Fleet
from .dead_letters.survey import survey
from .findings import Finding, Situation, findings
from .fleet_totals import models_of, spending_of
from .fleet_view import FleetView, PartitionView, partitions_of, situation_of
from .latencies import RecentReplies, Spread
from .offset_ages import Ages
from .partition_backlog import PartitionBacklog

RATE_S = 10.0
"""Seconds over which the turns offered a second are counted, as workers count the turns that they answer."""
LETTERS_S = 600.0
"""How far back dead letters count as recent, in seconds."""
_LETTERS_READ = 200
"""Recent dead letters of one partition that are read; more are only counted."""
_LETTERS_AGAIN_S = 10.0
_MARKS = 16
"""Records at the end of a partition that are read, since they may all be transaction markers."""
_ANSWER_S = 10.0
_UNKNOWN = RecentReplies(0, Spread(), Spread(), {}, {})


class DeadLetterCounts(NamedTuple):
    """Numbers of dead letters that wait for an operator."""

    recent: Mapping[str, int]
    """Those of the last ten minutes that were not replayed, by reason."""
    records: int
    """All records of their topic, with replayed ones and the marks of replays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStatus:
    """State of the fleet now, with its findings."""

    view: FleetView
    partitions: tuple[PartitionView, ...]
    lag: int
    """Turns behind the committed offsets, as KEDA counts them: those in flight are among them."""
    oldest_waiting_s: float | None
    """Age of the oldest turn that has not begun; None where none waits."""
    models: list[dict[str, Any]]
    spending: dict[str, Any]
    dead_letters: DeadLetterCounts
    situation: Situation
    findings: tuple[Finding, ...]

    @property
    def workers(self) -> tuple[WorkerState, ...]:
        """The workers of the group."""
        return tuple(state for state in self.view.states if state.group == self.view.group)

    @property
    def waiting(self) -> int:
        """Turns that have not begun, as far as is known."""
        return sum(partition.waiting or 0 for partition in self.partitions)

    @property
    def in_flight(self) -> int:
        """Turns that have begun and are not done."""
        return sum(partition.in_flight for partition in self.partitions)

    @property
    def severe(self) -> bool:
        """Whether a finding costs users their answers."""
        return any(finding.severe for finding in self.findings)

    def without_kafka(self, away_s: float) -> FleetStatus:
        """The same status when Kafka has not answered for so many seconds since."""
        situation = replace(self.situation, kafka_away_s=away_s)
        return replace(self, situation=situation, findings=findings(situation))


def status_of(
    view: FleetView, ages: Ages, committed: Mapping[int, int], letters: DeadLetterCounts, turn_ttl_s: float
) -> FleetStatus:
    """The status of a view. ``committed`` are offsets by partition. Pure."""
    partitions = tuple(partitions_of(view, ages))
    own = [state for state in view.states if state.group == view.group]
    models = models_of(state for state in own if state.worker_id not in view.silent)
    spending = spending_of(state.spending for state in own)
    waiting = sum(partition.waiting or 0 for partition in partitions)
    situation = situation_of(
        view,
        partitions,
        turn_ttl_s=turn_ttl_s,
        models=models,
        spending=spending,
        wait_s=waiting / view.answered if view.answered else 0.0,
        dead_letters=letters.recent,
    )
    return FleetStatus(
        view=view,
        partitions=partitions,
        lag=sum(max(0, view.log_ends[number] - offset) for number, offset in committed.items()),
        oldest_waiting_s=_oldest_waiting_s(partitions, ages, view.now),
        models=models,
        spending=spending,
        dead_letters=letters,
        situation=situation,
        findings=findings(situation),
    )


def _oldest_waiting_s(partitions: tuple[PartitionView, ...], ages: Ages, now: float) -> float | None:
    first = ((one.number, one.first_waiting) for one in partitions if one.first_waiting is not None)
    known = [age.seconds for number, offset in first if (age := ages.of(number, offset, now)) is not None]
    return max(known, default=None)


class FleetStatusReader:
    """Reads the status of one cluster's fleet. Use it as a context manager."""

    def __init__(self, cluster: Cluster, group: str, turn_ttl_s: float) -> None:
        self._cluster, self._group, self._turn_ttl_s = cluster, group, turn_ttl_s
        self._fleet = Fleet(cluster)
        self._admin = AIOKafkaAdminClient(**cluster.connection())
        self._ages = Ages()
        self._read: dict[int, int] = {}  # the offset of each partition whose time was read last
        self._bare: dict[int, range] = {}  # what seemed to wait and is no turn
        self._letters = DeadLetterCounts({}, 0)
        self._letters_seen: tuple[float, dict[int, int]] = (0.0, {})
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connects. Raises ClusterError when the cluster does not answer or has no topics."""
        topics = self._cluster.topics
        try:
            await self._stack.enter_async_context(self._fleet)
            self._stack.push_async_callback(self._admin.close)
            await self._admin.start()
            self._requests = await self._stack.enter_async_context(await TopicReader.of(self._cluster, topics.requests))
            letters = await TopicReader.of(self._cluster, topics.dead_letters)
            self._dead = await self._stack.enter_async_context(letters)
        except (KafkaError, OSError) as error:
            await self._stack.aclose()
            raise self._cluster.explain(error) from error
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def read(self) -> FleetStatus:
        """The status now. Raises ClusterError when Kafka does not answer."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await self._status()
        except TimeoutError:
            raise ClusterError(f"Kafka at {self._cluster.kafka} has not answered for {_ANSWER_S:g} s") from None
        except (KafkaError, OSError) as error:
            raise self._cluster.explain(error) from error

    async def _status(self) -> FleetStatus:
        now = time.time()
        recent = await self._requests.spans(int((now - RATE_S) * 1000))
        log_ends = {number: span.stop for number, span in recent.items()}
        commits = await self._commits(log_ends)
        states = self._fleet.workers(now)
        silent = frozenset(state.worker_id for state in self._fleet.silent(now))
        active = (state for state in states if state.group == self._group and state.worker_id not in silent)
        view = FleetView(
            now=now,
            group=self._group,
            log_ends=log_ends,
            backlogs={
                number: PartitionBacklog.of_commit(*commit, log_ends[number]) for number, commit in commits.items()
            },
            states=states,
            silent=silent,
            offered=sum(map(len, recent.values())) / RATE_S,
            answered=sum(state.answered_a_second for state in active),
            replies=_UNKNOWN,
        )
        view = await self._learn_ages(view)
        letters = await self._count_letters(now)
        return status_of(
            view, self._ages, {number: offset for number, (offset, _) in commits.items()}, letters, self._turn_ttl_s
        )

    async def _commits(self, numbers: Mapping[int, int]) -> dict[int, tuple[int, str]]:
        """(offset, metadata) by partition; without a commit the offset of the oldest turn, where workers would begin."""
        places = [TopicPartition(self._cluster.topics.requests, number) for number in numbers]
        try:
            commits = await self._admin.list_consumer_group_offsets(self._group, partitions=places)
        except GroupCoordinatorNotAvailableError:
            commits = {}  # the cluster has never had a group
        known = {place.partition: (at.offset, at.metadata or "") for place, at in commits.items() if at.offset >= 0}
        if len(known) == len(places):
            return known
        return {number: (span.start, "") for number, span in (await self._requests.spans()).items()} | known

    async def _learn_ages(self, view: FleetView) -> FleetView:
        """Reads the times of the oldest turns; returns the view without records that are no turns.

        The marker that ends a replay's transaction stays last in its partition until somebody writes there again: it would
        seem to wait for ever.
        """
        partitions, ends = partitions_of(view, self._ages), dict(view.log_ends)
        began = {
            one.number: one.first for one in partitions if one.first != one.first_waiting and one.first is not None
        }
        await self._hear({number: range(offset, offset + 1) for number, offset in began.items()})
        waiting = {one.number: one.first_waiting for one in partitions if one.first_waiting is not None}
        rests = {
            number: range(offset, ends[number] if ends[number] - offset <= _MARKS else offset + 1)
            for number, offset in waiting.items()
        }
        heard = await self._hear({number: rest for number, rest in rests.items() if self._bare.get(number) != rest})
        self._bare = {number: rest for number, rest in rests.items() if number not in heard}
        ends |= {number: rest.start for number, rest in self._bare.items() if rest.stop == ends[number]}
        backlogs = {
            number: backlog._replace(log_end=max(backlog.end, ends[number]))
            for number, backlog in view.backlogs.items()
        }
        return replace(view, log_ends=ends, backlogs=backlogs)

    async def _hear(self, spans: Mapping[int, range]) -> set[int]:
        """Notes the times of turns in these spans; returns the partitions that have one there."""
        heard = {number for number, span in spans.items() if self._read.get(number, -1) >= span.start}
        unread = {number: span for number, span in spans.items() if number not in heard}
        async for records in self._requests.by_partition(unread):
            for record in records:
                self._ages.heard(record.partition, record.offset, record.timestamp)
                self._read[record.partition] = record.offset
                heard.add(record.partition)
        return heard

    async def _count_letters(self, now: float) -> DeadLetterCounts:
        kept = await self._dead.spans()
        ends = {number: span.stop for number, span in kept.items()}
        counted_at, seen = self._letters_seen
        if ends != seen or now - counted_at > _LETTERS_AGAIN_S:
            recent = await self._dead.spans(int((now - LETTERS_S) * 1000))
            last = {number: span[-_LETTERS_READ:] for number, span in recent.items()}
            plan = await survey(self._dead, last, Filter())
            beyond = sum(map(len, recent.values())) - sum(map(len, last.values()))
            reasons = plan.reasons | ({"not read": beyond} if beyond else {})
            self._letters, self._letters_seen = DeadLetterCounts(reasons, sum(map(len, kept.values()))), (now, ends)
        return self._letters


def counted(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of several counts."""
    return dict(sum((Counter(one) for one in counts), Counter[str]()))
