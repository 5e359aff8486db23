"""The partition of a key: where Kafka's own clients put it."""

from __future__ import annotations

from functools import lru_cache

from aiokafka.partitioner import DefaultPartitioner


@lru_cache(maxsize=16_384)
def partition_of(key: bytes | None, partitions: int) -> int:
    """By murmur2, as Java's default partitioner; without a key any one.

    aiokafka's is pure Python and costs 4 us, as much as all else that carrying a turn takes; conversations come again
    and again, so what was found is kept.
    """
    every = list(range(partitions))
    partition: int = DefaultPartitioner()(key, every, every)
    return partition
