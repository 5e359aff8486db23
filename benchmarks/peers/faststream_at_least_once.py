"""FastStream, at least once: acknowledged after the handler, so one turn of a partition at a time.

More workers with this policy divide partitions among consumers and change nothing inside a partition:
https://faststream.ag2.ai/latest/kafka/ack/
"""

from __future__ import annotations

from dataclasses import replace

from faststream import AckPolicy

from benchmarks.engine_contract import Contract

from . import faststream_turns, process


async def work(contract: Contract) -> None:
    """Consumes until SIGTERM."""
    await faststream_turns.run(replace(contract, concurrency=1), ack_policy=AckPolicy.ACK)


if __name__ == "__main__":
    process.run(work)
