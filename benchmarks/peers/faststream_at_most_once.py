"""FastStream's concurrent mode: acknowledged before the handler runs (at most once), many workers."""

from __future__ import annotations

from faststream import AckPolicy

from benchmarks.engine_contract import Contract

from . import faststream_turns, process


async def work(contract: Contract) -> None:
    """Consumes until SIGTERM."""
    await faststream_turns.run(contract, ack_policy=AckPolicy.ACK_FIRST, max_workers=contract.concurrency)


if __name__ == "__main__":
    process.run(work)
