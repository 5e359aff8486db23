"""Recorded traffic: the turns of a topic, sent again in their own rhythm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aiokafka import ConsumerRecord

from forebay.operations.planning.traffic import Traffic
from forebay.producers.topic_reader import TopicReader
from forebay.rehearsal.customers import Visit
from forebay.schemas import Cluster, DecodeError, Turn, decode_turn

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
    visits: list[Visit] = []
    first_ms, last_ms, unread = None, None if until is None else _ms(until), 0
    async with await TopicReader.of(cluster, topic) as reader:
        spans = await reader.spans(None if since is None else _ms(since))
        async for record in reader.oldest_first(spans):
            if len(visits) == _MOST or (last_ms is not None and record.timestamp >= last_ms):
                break
            first_ms = record.timestamp if first_ms is None else first_ms
            if (turn := _turn(record)) is None:
                unread += 1
                continue
            at = max(0, record.timestamp - first_ms) / 1000
            visits.append(Visit(at, turn.conversation_id, turn.user_id or "", (turn.text,)))
    return Tape(visits, unread)


def _turn(record: ConsumerRecord) -> Turn | None:
    try:
        turn = decode_turn(record.value or b"")
    except DecodeError:
        return None
    return turn if turn.text else None


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
