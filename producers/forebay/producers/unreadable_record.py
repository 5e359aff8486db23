"""Unreadable records: those that aiokafka cannot parse, and how to read the readable ones around them.

A record whose header name is not UTF-8 raises UnicodeDecodeError out of the consumer, which names neither the record nor its
partition and drops what it had fetched before it. Records that lie behind it in the same batch cannot be read either.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

_WAIT_MS = 200


class UnreadableRecordError(Exception):
    """Where the record is."""

    def __init__(self, partition: TopicPartition, offset: int) -> None:
        super().__init__(
            f"{partition.topic}-{partition.partition}: the name of a header at offset {offset} is not UTF-8"
        )
        self.partition = partition
        self.offset = offset


async def one_by_one(
    consumer: AIOKafkaConsumer, partition: TopicPartition, offsets: range, wait_ms: int = _WAIT_MS
) -> AsyncGenerator[ConsumerRecord, None]:
    """The records of a partition; the consumer must stand at the first of these offsets.

    Ends early where none comes within ``wait_ms``. Raises UnreadableRecordError after the records before it.
    """
    position = offsets.start
    while position < offsets.stop:
        try:
            batch = await consumer.getmany(partition, timeout_ms=wait_ms, max_records=1)
        except UnicodeDecodeError:
            raise UnreadableRecordError(partition, position) from None
        if not batch:
            return
        (record,) = batch[partition]
        position = record.offset + 1
        yield record


async def step_over(
    consumer: AIOKafkaConsumer,
    positions: Mapping[TopicPartition, int],
    take: Callable[[TopicPartition, list[ConsumerRecord]], None],
) -> AsyncGenerator[UnreadableRecordError, None]:
    """Reads each partition from its position up to the first unreadable record, and places the consumer behind that one.

    ``take`` is given the records before it, one at a time. Yields each record that was stepped over, at most one of each
    partition: the next read finds the next one.
    """
    for partition, end in (await consumer.end_offsets(list(positions))).items():
        start = positions[partition]
        consumer.seek(partition, start)
        try:
            async for record in one_by_one(consumer, partition, range(start, end)):
                take(partition, [record])
        except UnreadableRecordError as error:
            consumer.seek(partition, error.offset + 1)
            yield error
