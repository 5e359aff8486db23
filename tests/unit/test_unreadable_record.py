"""Reading around records that aiokafka cannot parse, on a consumer that fails as aiokafka's does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from forebay.producers.unreadable_record import UnreadableRecordError, one_by_one, step_over

ZERO, ONE = TopicPartition("chat.workers", 0), TopicPartition("chat.workers", 1)


class Consumer:
    """Has records at these offsets; those of ``unreadable`` raise."""

    def __init__(self, offsets: Mapping[TopicPartition, range], unreadable: Mapping[TopicPartition, set[int]]) -> None:
        self._offsets, self._unreadable = offsets, unreadable
        self.positions = {partition: span.start for partition, span in offsets.items()}

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {partition: self._offsets[partition].stop for partition in partitions}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    async def getmany(
        self, partition: TopicPartition, **_: int
    ) -> dict[TopicPartition, list[ConsumerRecord[Any, Any]]]:
        offset = self.positions[partition]
        if offset not in self._offsets[partition]:
            return {}
        if offset in self._unreadable.get(partition, ()):
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        self.positions[partition] = offset + 1
        return {partition: [ConsumerRecord(*partition, offset, 0, 0, b"k", b"v", None, 1, 1, ())]}


async def test_what_stands_before_an_unreadable_record_is_read() -> None:
    consumer: Any = Consumer({ZERO: range(3, 9)}, {ZERO: {6}})
    records = one_by_one(consumer, ZERO, range(3, 9))
    read = [(await anext(records)).offset for _ in range(3)]
    with pytest.raises(UnreadableRecordError, match="at offset 6 is not UTF-8") as raised:
        await anext(records)
    assert read == [3, 4, 5]
    assert (raised.value.partition, raised.value.offset) == (ZERO, 6)


async def test_reading_ends_where_nothing_comes() -> None:
    consumer: Any = Consumer({ZERO: range(3, 5)}, {})
    assert [record.offset async for record in one_by_one(consumer, ZERO, range(3, 100))] == [3, 4]


async def test_each_unreadable_record_is_stepped_over_and_no_other() -> None:
    unreadable = {ZERO: {2, 3}, ONE: {0}}
    consumer: Any = Consumer({ZERO: range(5), ONE: range(2)}, unreadable)
    taken: dict[TopicPartition, list[int]] = {ZERO: [], ONE: []}
    positions = {ZERO: 0, ONE: 0}

    def take(partition: TopicPartition, records: list[ConsumerRecord[Any, Any]]) -> None:
        taken[partition] += [record.offset for record in records]
        positions[partition] = records[-1].offset + 1

    found: dict[TopicPartition, set[int]] = {ZERO: set(), ONE: set()}
    for _ in range(3):
        async for record in step_over(consumer, positions, take):
            found[record.partition].add(record.offset)
            positions[record.partition] = record.offset + 1
    assert found == unreadable
    assert taken == {ZERO: [0, 1, 4], ONE: [1]}
