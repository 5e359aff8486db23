"""Reading the dead letters through once: which are meant, which were replayed."""

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
    """A plan of the letters that are meant, within ``cuts`` where these are given.

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
    """Takes note in a plan of what was replayed since it was made."""
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
    """Where a record lies."""
    return LetterId(record.partition, record.offset)


def narrowed(spans: Spans, wanted: Filter) -> dict[int, range]:
    """What has to be read for a filter: marks lie behind their letters, so nothing before the first letter it names."""
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
