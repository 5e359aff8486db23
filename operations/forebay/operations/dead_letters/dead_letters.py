"""The dead letters: browse them, send them again, delete them.

async with DeadLetters(Cluster.read()) as letters:
    plan = await letters.plan(Filter(reasons=frozenset({"retries_exhausted"})))
    done = await letters.replay(plan, rate=200)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Self

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import KafkaError

from forebay.producers.topic_reader import MergePosition, TopicReader
from forebay.schemas import Cluster, Topics

from .letter import DeadLetter, Filter, LetterId, letter_of, milliseconds
from .pace import ReplayPace
from .replay import ReplayProducer, parcels
from .replay_plan import ReplayPlan, is_mark
from .survey import catch_up, marked, narrowed, place_of, survey

Died = Literal["requests", "replies"]
"""Turns that got no answer, or replies that no webhook could deliver."""
EVERYTHING = Filter()
"""Every dead letter."""
MAX_REPLAYS = 3
"""A letter that died again after so many replays is left alone, or a hopeless turn would go round for ever."""


class NoSuchLetterError(LookupError):
    """There is no dead letter at this place: it was purged, retention took it, or it never was one."""


class Replayed(NamedTuple):
    """What a replay did."""

    replayed: int
    too_large: tuple[LetterId, ...]
    """Letters that are larger than the topic of the replay takes."""
    stopped: bool
    """Whether it was stopped before its end."""


@dataclass(frozen=True, slots=True)
class Purge:
    """Which records would be deleted: in each partition those before an offset."""

    cuts: dict[int, int]
    replayed: int
    """Letters among them that were replayed."""
    reasons: dict[str, int]
    """The others, by reason."""

    @property
    def letters(self) -> int:
        """Dead letters among them."""
        return self.replayed + sum(self.reasons.values())


def topics_of(topics: Topics, of: Died) -> tuple[str, str]:
    """Where these dead letters are, and where a replay sends them."""
    if of == "replies":
        return topics.reply_dead_letters, topics.replies
    return topics.dead_letters, topics.requests


class DeadLetters:
    """The dead letters of one cluster and prefix. Use it as a context manager."""

    def __init__(self, cluster: Cluster, of: Died = "requests") -> None:
        self._cluster = cluster
        self.topic, self.back_to = topics_of(cluster.topics, of)
        """Their topic, and the one that a replay sends them to."""
        self._admin = AIOKafkaAdminClient(**cluster.connection())
        self._partitions: list[int] = []
        self._targets: list[int] = []

    async def __aenter__(self) -> Self:
        """Connects. Raises ClusterError when the cluster does not answer or has no topics."""
        names = (self.topic, self.back_to)
        try:
            with self._explaining():
                await self._admin.start()
                described = {topic["topic"]: topic for topic in await self._admin.describe_topics(list(names))}
            self._cluster.missing({name for name, topic in described.items() if not topic["error_code"]}, names)
        except BaseException:
            await self._admin.close()
            raise
        self._partitions, self._targets = (
            sorted(partition["partition"] for partition in described[name]["partitions"]) for name in names
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def browse(
        self,
        wanted: Filter = EVERYTHING,
        *,
        newest_first: bool = True,
        limit: int | None = None,
        after: LetterId | None = None,
    ) -> AsyncGenerator[DeadLetter, None]:
        """The letters that the filter selects, as they are at this moment, replayed ones too.

        ``after`` goes on behind a letter that was the last of a page, newest first. Raises ClusterError, and
        NoSuchLetterError when that letter is gone.
        """
        with self._explaining():
            async with self._reader() as reader:
                spans = narrowed(await reader.spans(wanted.since_ms), wanted)
                if newest_first:
                    known = ReplayPlan(spans)  # a mark is younger than its letters, so it is read before them
                    records = reader.newest_first(spans, await self._cursor(reader, after))
                else:
                    known = await survey(reader, spans, wanted)
                    records = reader.oldest_first(spans)
                left = limit or len(wanted.ids) or None
                async with aclosing(records):
                    async for record in records:
                        if is_mark(record.headers):
                            known.mark(record.partition, marked(record))
                        elif wanted.matches(letter := letter_of(record, known.was_replayed(place_of(record)))):
                            yield letter
                            left = left and left - 1
                            if left == 0:
                                return

    async def get(self, place: LetterId) -> DeadLetter:
        """One letter. Raises NoSuchLetterError, ClusterError."""
        async with aclosing(self.browse(Filter(ids=frozenset({place})))) as found:
            async for letter in found:
                return letter
        raise NoSuchLetterError(f"there is no dead letter {place} on {self.topic}")

    async def plan(
        self, wanted: Filter = EVERYTHING, *, again: bool = False, max_replays: int | None = MAX_REPLAYS
    ) -> ReplayPlan:
        """What `replay` would send. Letters that were replayed are left out, unless ``again``; so are those whose turn
        was replayed ``max_replays`` times. Raises ClusterError.
        """
        with self._explaining():
            async with self._reader() as reader:
                spans = narrowed(await reader.spans(wanted.since_ms), wanted)
                return await survey(reader, spans, wanted, again=again, max_replays=max_replays)

    async def replay(
        self,
        plan: ReplayPlan,
        *,
        rate: float | None = None,
        limit: int | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
        stop: asyncio.Event | None = None,
    ) -> Replayed:
        """Sends the letters of a plan again, the oldest first, each conversation in its order.

        ``rate`` is letters a second, ``limit`` the most of them; ``on_progress`` is told how many are sent so far. Set
        ``stop`` to end it after the parcel in hand. A letter that another replay sent meanwhile is left out. Raises
        ReplayTakenOverError, ClusterError.
        """
        pace, now = ReplayPace(rate), asyncio.get_running_loop().time
        stop = stop or asyncio.Event()
        replayed, stopped, too_large = 0, False, list[LetterId]()
        with self._explaining():
            async with (
                ReplayProducer(self._cluster, self.topic, self.back_to, self._targets) as sender,
                self._reader() as reader,
            ):
                await catch_up(reader, plan)
                async with aclosing(parcels(self._chosen(reader, plan, limit), pace.parcel)) as chosen:
                    async for parcel in chosen:
                        if stopped := await _told(stop, pace.wait_s(len(parcel), now())):
                            break
                        refused = await sender.send(parcel)
                        replayed += len(parcel) - len(refused)
                        too_large += refused
                        on_progress(replayed)
                if replayed:
                    await sender.settle()
        return Replayed(replayed, tuple(too_large), stopped)

    async def plan_purge(self, before: datetime | None = None) -> Purge:
        """What `purge` would delete: letters that died before a time, or all there are now. Raises ClusterError.

        Kafka deletes from the oldest on: a letter stays while an older one stays in its partition.
        """
        with self._explaining():
            async with self._reader() as reader:
                spans = await reader.spans()
                until = {} if before is None else await reader.offsets_at(milliseconds(before))
                cuts = {
                    number: range(span.start, min(span.stop, until.get(number, span.stop)))
                    for number, span in spans.items()
                }
                plan = await survey(reader, spans, EVERYTHING, cuts=cuts)
        return Purge({number: cut.stop for number, cut in cuts.items() if cut}, plan.replayed_before, plan.reasons)

    async def purge(self, purge: Purge) -> None:
        """Deletes for good. Raises ClusterError."""
        if purge.cuts:
            with self._explaining():
                await self._admin.delete_records(
                    {TopicPartition(self.topic, number): RecordsToDelete(cut) for number, cut in purge.cuts.items()}
                )

    async def _chosen(
        self, reader: TopicReader, plan: ReplayPlan, limit: int | None
    ) -> AsyncGenerator[ConsumerRecord, None]:
        left = plan.selected if limit is None else min(limit, plan.selected)
        if not left:
            return
        async for record in reader.oldest_first(plan.selected_spans):
            if plan.selects(place_of(record)):
                yield record
                left -= 1
                if not left:
                    return

    async def _cursor(self, reader: TopicReader, after: LetterId | None) -> MergePosition | None:
        if after is None:
            return None
        end, first, timestamps = (await reader.spans()).get(after.partition, range(0)).stop, None, list[int]()
        async for records in reader.by_partition({after.partition: range(after.offset, max(after.offset, end))}):
            first = first or records[0]
            timestamps.append(min(record.timestamp for record in records))
        if first is not None and first.offset == after.offset and not is_mark(first.headers):
            return MergePosition(min(timestamps), *after)
        raise NoSuchLetterError(f"there is no dead letter {after} on {self.topic} to go on after")

    def _reader(self) -> TopicReader:
        return TopicReader(self._cluster, self.topic, self._partitions)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (KafkaError, OSError) as error:
            raise self._cluster.explain(error) from error


async def _told(stop: asyncio.Event, within_s: float) -> bool:
    """Waits for so long, or until told to stop; whether it was told."""
    if not stop.is_set() and within_s > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), within_s)
    return stop.is_set()
