"""Reads all dead letters once: which ones the filter selects, which ones were replayed."""

from __future__ import annotations

from aiokafka import ConsumerRecord

from forebay.producers.topic_reader import Spans, TopicReader

from .letter import Filter, LetterId, letter_of
from .replay_plan import ReplayPlan, Runs, is_mark, read_mark


async def survey(
    reader: TopicReader,
    spans: Spans,
    wanted: Filter,
    *,
    again: bool = False,
    max_replays: int | None = None,
    cuts: Spans | None = None,
) -> ReplayPlan:
    """A plan of the letters that the filter selects, within ``cuts`` where these are given.

    ``again`` takes no notice of marks; letters whose turn was replayed ``max_replays`` times are noted as worn out.
    """
    plan = ReplayPlan(spans)
    async for records in reader.by_partition(spans):
        for record in records:
            if is_mark(record.headers):
                if not again:
                    plan.mark(record.partition, marked(record))
                continue
            if cuts is not None and record.offset not in cuts.get(record.partition, ()):
                continue
            letter = letter_of(record)
            if wanted.matches(letter):
                worn_out = max_replays is not None and letter.replays >= max_replays
                plan.saw(letter.id, letter.reason, worn_out=worn_out)
    return plan


async def catch_up(reader: TopicReader, plan: ReplayPlan) -> None:
    """Notes in a plan what was replayed since it was made."""
    now = await reader.spans()
    news = {
        partition: range(max(planned.stop, now[partition].start), now[partition].stop)
        for partition, planned in plan.spans.items()
        if partition in now
    }
    async for records in reader.by_partition(news):
        for record in records:
            if is_mark(record.headers):
                plan.mark(record.partition, marked(record))


def marked(record: ConsumerRecord) -> Runs:
    """The offsets that a mark says were replayed."""
    return read_mark(record.value, record.topic, place_of(record))


def place_of(record: ConsumerRecord) -> LetterId:
    """Id of the letter in a record."""
    return LetterId(record.partition, record.offset)


def narrowed(spans: Spans, wanted: Filter) -> dict[int, range]:
    """Offsets to read for a filter: marks come after their letters, so nothing before the first letter that it names."""
    if not wanted.ids:
        return dict(spans)
    first: dict[int, int] = {}
    for place in wanted.ids:
        first[place.partition] = min(place.offset, first.get(place.partition, place.offset))
    return {
        partition: range(min(max(span.start, first[partition]), span.stop), span.stop)
        for partition, span in spans.items()
        if partition in first
    }
