"""How long a simulated call takes: a pure function, so that every engine waits for exactly the same calls.

`peers/parallel_consumer/src/main/java/peer/Calls.java` is the same function; test_calls.py holds them together.
"""

from __future__ import annotations

from typing import Protocol

MASK = 0xFFFF_FFFF_FFFF_FFFF
GOLDEN_GAMMA = 0x9E37_79B9_7F4A_7C15


class Latency(Protocol):
    """The part of a contract or a scenario that decides call lengths; units as in contract.py."""

    @property
    def latency_ms(self) -> float: ...
    @property
    def jitter(self) -> float: ...
    @property
    def slow_every(self) -> int: ...
    @property
    def slow_s(self) -> float: ...
    @property
    def seed(self) -> int: ...


def uniform(seed: int, sequence: int) -> float:
    """SplitMix64 (Steele, Lea, Flood 2014), its upper 53 bits as a float in [0, 1)."""
    z = (seed + (sequence + 1) * GOLDEN_GAMMA) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def call_seconds(latency: Latency, sequence: int) -> float:
    """Seconds the call for this turn takes."""
    if latency.slow_every and sequence % latency.slow_every == 0:
        return float(latency.slow_s)
    if not latency.latency_ms:
        return 0.0
    spread = latency.jitter * (2.0 * uniform(latency.seed, sequence) - 1.0)
    return latency.latency_ms * (1.0 + spread) / 1000.0


def sequence_of(turn_id: str) -> int:
    """123 of "t-000123"."""
    return int(turn_id[2:])
