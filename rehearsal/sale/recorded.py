"""Recorded traffic: the turns of a topic, sent again in their own rhythm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from rehearsal.customers import Visit
from rehearsal.traffic import Traffic
from schemas import Cluster, DecodeError, decode_turn

_MOST = 1_000_000
"""Turns of one tape: memory is bounded."""
_BINS = 100


@dataclass(frozen=True, slots=True)
class Tape:
    """What customers said once. New turn ids are given when it is sent; conversations and users stay who they were."""

    visits: Sequence[Visit]
    unread: int
    """Records that were no turns, or only a word to an action of then."""

    @property
    def traffic(self) -> Traffic:
        """Its rate, for the report."""
        lasts = max(1.0, self.visits[-1].at)
        width = lasts / _BINS
        bins = Counter(min(_BINS - 1, int(visit.at / width)) for visit in self.visits)
        return Traffic(tuple((place * width, bins[min(place, _BINS - 1)] / width) for place in range(_BINS + 1)))

    def faster(self, speed: float) -> tuple[Visit, ...]:
        """The visits in a time that is so many times shorter."""
        return tuple(visit._replace(at=visit.at / speed) for visit in self.visits)


async def recorded(cluster: Cluster, topic: str, since: datetime | None, until: datetime | None) -> Tape:
    """Reads the topic from ``since`` (its beginning) to ``until`` (its end now). Raises ClusterError."""
    consumer = AIOKafkaConsumer(enable_auto_commit=False, auto_offset_reset="earliest", **cluster.connection())
    try:
        await consumer.start()
        cluster.missing(await consumer.topics(), (topic,))
        records = await _read(consumer, topic, since, until)
    except (KafkaError, OSError) as error:
        raise cluster.explain(error) from error
    finally:
        await consumer.stop()
    records.sort(key=lambda record: record.timestamp)
    visits, unread = [], 0
    for record in records:
        try:
            turn = decode_turn(record.value or b"")
        except DecodeError:
            unread += 1
            continue
        if not turn.text:
            unread += 1
            continue
        at = (record.timestamp - records[0].timestamp) / 1000
        visits.append(Visit(at, turn.conversation_id, turn.user_id or "", (turn.text,)))
    return Tape(visits, unread)


async def _read(
    consumer: AIOKafkaConsumer, topic: str, since: datetime | None, until: datetime | None
) -> list[ConsumerRecord]:
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(partitions)
    ends = await consumer.end_offsets(partitions)
    if since is not None:
        starts = await consumer.offsets_for_times(dict.fromkeys(partitions, _ms(since)))
        for partition, start in starts.items():
            consumer.seek(partition, ends[partition] if start is None else start.offset)
    else:
        await consumer.seek_to_beginning(*partitions)
    records: list[ConsumerRecord] = []
    while len(records) < _MOST and any([await consumer.position(place) < end for place, end in ends.items()]):
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            records += [record for record in batch if until is None or record.timestamp < _ms(until)]
    return records


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
