"""A key's partition is that of Kafka's own clients, so that a conversation stays in one partition whoever sends it."""

from __future__ import annotations

import pytest

from forebay.producers.partition import partition_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
@pytest.mark.parametrize("partitions", [1, 3, 12, 1_000])
def test_it_is_where_java_puts_it(key: bytes, hashed: int, partitions: int) -> None:
    """The hashes are those of Kafka's own test of its murmur2."""
    assert partition_of(key, partitions) == (hashed & 0x7FFFFFFF) % partitions
