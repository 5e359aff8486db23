"""Client settings of the Python peers: durable replies, and no request limit that a user could lift."""

from __future__ import annotations

from typing import Any

from benchmarks.engine_contract import Contract

PRODUCER: dict[str, Any] = {
    "acks": "all",
    "enable_idempotence": True,
    # A permit is held until the reply is durable: 20 ms cost 5% of the rate at 300 ms calls and half of the ceiling.
    "linger_ms": 5,
    # At aiokafka's default of 16 KiB senders that wait on a full batch all wake and wait again.
    "max_batch_size": 131_072,
}
"""aiokafka producer settings; linger in milliseconds, batch size in bytes. The Java peer has the same."""


def producer(contract: Contract) -> dict[str, Any]:
    """Producer settings for this work; one call at a time waits for no batch."""
    return {**PRODUCER, "linger_ms": PRODUCER["linger_ms"] if contract.concurrency > 1 else 0}
