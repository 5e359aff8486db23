"""What is measured: how many turns, of whom, how long their calls take."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One backlog to drain."""

    name: str
    """Its name on the command line."""

    about: str
    """One sentence for the reader of the table."""

    turns: int = 20_000
    """Turns waiting before an engine starts."""

    conversations: int = 5_000
    """Conversations they belong to."""

    zipf: bool = False
    """Conversations drawn by Zipf's law (s = 1.0) instead of evenly."""

    partitions: int = 1
    """Partitions of the topic."""

    concurrency: int = 500
    """Calls in flight at most."""

    latency_ms: float = 300.0
    """Mean call, milliseconds; 0 is no call."""

    jitter: float = 0.5
    """Half width of the uniform spread, as a share of the mean."""

    slow_every: int = 0
    """One call in so many is slow; 0 is none."""

    slow_s: float = 0.0
    """Length of a slow call, seconds."""

    until: float = 0.9
    """Where the steady part ends, as a share of the turns; it begins at 0.1."""

    cap_s: float = 60.0
    """Seconds after its start at which an engine is stopped, done or not."""

    against: str | None = None
    """The scenario whose rate this one's is a share of, both until 97% of the turns are answered."""

    only_concurrent: bool = False
    """Says nothing about an engine that handles one turn at a time."""

    seed: int = 20_261_121
    """Seed of conversations and call lengths."""

    def quick(self) -> Workload:
        """A smaller one, to see that everything works."""
        return replace(self, turns=self.turns // 4, conversations=self.conversations // 2, cap_s=self.cap_s / 2)


SCENARIOS = (
    Workload(name="steady", about="Calls of 300 ms, plus or minus 50%, 500 in flight."),
    Workload(
        name="ceiling",
        about="No call at all: what the engine itself can carry.",
        turns=200_000,
        latency_ms=0.0,
    ),
    Workload(
        name="zipf",
        about="As steady, but few conversations write most turns, so that their order is what limits.",
        zipf=True,
        until=0.7,
        cap_s=45.0,
        only_concurrent=True,
    ),
    Workload(
        name="head-of-line",
        about="As steady, but one call in 1,000 takes 30 s.",
        slow_every=1_000,
        slow_s=30.0,
        cap_s=90.0,
        against="steady",
        only_concurrent=True,
    ),
)
