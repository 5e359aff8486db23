"""The engines agree on call lengths. Run with `python -m pytest benchmarks`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .calls import call_seconds, sequence_of, uniform
from .engine_contract import Contract
from .peers import parallel_consumer

CONTRACT = Contract(
    bootstrap="",
    topic="",
    reply_topic="",
    group="",
    concurrency=500,
    latency_ms=300,
    jitter=0.5,
    slow_every=1000,
    slow_s=30,
    seed=20261121,
)


def test_uniform_is_splitmix64() -> None:
    # First two outputs of the reference implementation for seed 1234567.
    assert uniform(1234567, 0) == (6457827717110365317 >> 11) * 2.0**-53
    assert uniform(1234567, 1) == (3203168211198807973 >> 11) * 2.0**-53


def test_lengths_stay_in_their_bounds_around_the_mean() -> None:
    lengths = [call_seconds(CONTRACT, n) for n in range(1, 20_001) if n % 1000]
    assert min(lengths) >= 0.15
    assert max(lengths) <= 0.45
    assert sum(lengths) / len(lengths) == pytest.approx(0.3, rel=0.01)


def test_every_thousandth_call_is_slow() -> None:
    assert [n for n in range(1, 3001) if call_seconds(CONTRACT, n) == 30.0] == [1000, 2000, 3000]


def test_sequence_of_a_turn() -> None:
    assert sequence_of("t-000123") == 123


def test_java_agrees_to_the_last_bit(tmp_path: Path) -> None:
    if reason := parallel_consumer.missing():
        pytest.skip(reason)
    parallel_consumer.build()
    contract = CONTRACT.write(tmp_path / "contract.json")
    command = parallel_consumer.command("peer.Calls", str(contract), "2000")
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert [float(line) for line in printed] == [call_seconds(CONTRACT, n) for n in range(1, 2001)]
