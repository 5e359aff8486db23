"""The schedule: what breaks, and after how many records. Pure: the seed alone decides, no clock is read.

An event falls due when so many records were sent. Records are never sent faster than the rate, so a length in records is
at least that many seconds: a stop outlasts the session whatever the machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

RATE = 60.0
"""Records a second."""
WORKERS = 3
SESSION_S = 6.0
"""After so many seconds of silence Kafka gives a worker's partitions to others."""
_LEAD_S = 2.0
"""Nothing breaks before there is something to break."""


class EventKind(StrEnum):
    """What happens."""

    SIGKILL = "sigkill"
    SIGTERM = "sigterm"
    START = "start"
    """A worker that was killed or terminated has a successor."""
    SIGSTOP = "sigstop"
    SIGCONT = "sigcont"
    BROKER_KILL = "broker_kill"
    """SIGKILL to Kafka."""
    BROKER_STOP = "broker_stop"
    """Kafka is stopped in order."""
    BROKER_START = "broker_start"
    STORE_LOCK = "store_lock"
    """The conversations cannot be written."""
    STORE_UNLOCK = "store_unlock"
    OUTAGE = "outage"
    """The model API refuses every call."""
    OUTAGE_OVER = "outage_over"
    RATE_LIMIT = "rate_limit"
    """From here on the model API's faults, each for a while and for a share of the calls."""
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    HANG = "hang"
    CUT = "cut"
    EARLY_END = "early_end"
    STREAM_ERROR = "stream_error"
    MALFORMED = "malformed"
    CALM = "calm"
    """The fault is over."""


class _Incident(NamedTuple):
    """What begins with one event and ends with another."""

    ends_with: EventKind
    shortest_s: float
    longest_s: float
    share: tuple[float, float] = (0.0, 0.0)
    """Least and most of the model calls that it strikes."""


class _Track(NamedTuple):
    """Incidents that follow each other and never overlap."""

    incidents: dict[EventKind, _Incident]
    every_s: float
    """One for so many seconds, if not more are needed for each kind to be there."""
    rest_s: float
    """At least between two of them."""


_PROCESSES = _Track(
    {
        EventKind.SIGKILL: _Incident(EventKind.START, 1.0, 5.0),
        EventKind.SIGTERM: _Incident(EventKind.START, 1.0, 5.0),
        EventKind.SIGSTOP: _Incident(EventKind.SIGCONT, SESSION_S + 2.0, SESSION_S + 5.0),
    },
    every_s=10.0,
    rest_s=3.0,  # a process that was started has joined again
)
_SURROUNDINGS = _Track(
    {
        EventKind.BROKER_KILL: _Incident(EventKind.BROKER_START, 1.0, 4.0),
        EventKind.BROKER_STOP: _Incident(EventKind.BROKER_START, 1.0, 4.0),
        EventKind.STORE_LOCK: _Incident(EventKind.STORE_UNLOCK, 2.0, 13.0),
        EventKind.OUTAGE: _Incident(EventKind.OUTAGE_OVER, 2.0, 7.0),
    },
    every_s=15.0,
    rest_s=3.0,
)
_FAULTS = _Track(
    {
        EventKind.RATE_LIMIT: _Incident(EventKind.CALM, 1.0, 3.0, (0.4, 0.9)),
        EventKind.OVERLOADED: _Incident(EventKind.CALM, 1.0, 3.0, (0.4, 0.9)),
        EventKind.SERVER_ERROR: _Incident(EventKind.CALM, 1.0, 3.0, (0.2, 0.6)),
        EventKind.HANG: _Incident(EventKind.CALM, 0.5, 1.5, (0.05, 0.2)),
        EventKind.CUT: _Incident(EventKind.CALM, 1.0, 3.0, (0.1, 0.5)),
        EventKind.EARLY_END: _Incident(EventKind.CALM, 1.0, 3.0, (0.2, 0.8)),
        EventKind.STREAM_ERROR: _Incident(EventKind.CALM, 1.0, 3.0, (0.2, 0.8)),
        EventKind.MALFORMED: _Incident(EventKind.CALM, 1.0, 3.0, (0.1, 0.5)),
    },
    every_s=6.0,
    rest_s=1.0,
)
_TRACKS = (_PROCESSES, _SURROUNDINGS, _FAULTS)

ENDS = {kind: incident.ends_with for track in _TRACKS for kind, incident in track.incidents.items()}
"""What undoes what."""
BEGINNINGS = frozenset(ENDS)
"""The kinds a schedule is made of; the others undo them."""


@dataclass(frozen=True, slots=True)
class ScheduledEvent:
    """One thing that happens."""

    at: int
    """Records sent before it."""
    kind: EventKind
    worker: int | None = None
    """Which of the workers, from 0."""
    share: float = 0.0
    """Share of the model calls that a fault strikes."""

    def __str__(self) -> str:
        worker = f" worker {self.worker}" if self.worker is not None else ""
        return f"{self.at}: {self.kind}{worker}{f', {self.share:.0%} of the calls' if self.share else ''}"


class _Span(NamedTuple):
    """An incident that has its place."""

    kind: EventKind
    begins: int
    ends: int
    free_at: int
    """When the next one of its track may begin."""
    share: float

    def events(self, worker: int | None = None) -> tuple[ScheduledEvent, ScheduledEvent]:
        """How it begins and how it ends."""
        return ScheduledEvent(self.begins, self.kind, worker, self.share), ScheduledEvent(
            self.ends, ENDS[self.kind], worker
        )


def schedule(
    seed: int, turns: int, *, rate: float = RATE, workers: int = WORKERS, kinds: Collection[EventKind] = BEGINNINGS
) -> tuple[ScheduledEvent, ...]:
    """The events of a run of so many records, in order; everything that is stopped or taken away comes back in it.

    Every one of ``kinds`` is there when the run is long enough (a minute is). At least one worker runs at any time.
    """
    rng = random.Random(f"schedule {seed}")
    room = _Room(turns, rate, rng)
    # Two workers at a time at most, and never all of them.
    tracks = min(2, workers - 1)
    struck = room.wanted(_PROCESSES, kinds) if tracks > 0 else []
    spans = [span for number in range(tracks) for span in room.place(_PROCESSES, struck[number::tracks])]
    events = _of_workers(rng, spans, workers)
    for track in (_SURROUNDINGS, _FAULTS):
        for span in room.place(track, room.wanted(track, kinds)):
            events += span.events()
    # At the same moment what ends comes first: else all workers could be down for the blink of an eye.
    return tuple(sorted(events, key=lambda event: (event.at, event.kind in BEGINNINGS)))


class _Room:
    """The records of a run, as the place in which incidents are put."""

    def __init__(self, turns: int, rate: float, rng: random.Random) -> None:
        self._turns, self._rate, self._rng = turns, rate, rng
        self._first = min(turns, math.ceil(_LEAD_S * rate))

    def wanted(self, track: _Track, kinds: Collection[EventKind]) -> list[EventKind]:
        """Each kind once, in random order, then any of them until there are enough."""
        known = [kind for kind in track.incidents if kind in kinds]
        if not known:
            return []
        more = int(self._turns / self._rate / track.every_s) - len(known)
        return [*self._rng.sample(known, len(known)), *self._rng.choices(known, k=max(0, more))]

    def place(self, track: _Track, wanted: Sequence[EventKind]) -> list[_Span]:
        """One incident after another, with random pauses. Those at the end of ``wanted`` that find no room are left out."""
        rest = math.ceil(track.rest_s * self._rate)
        lengths = [self._length(track.incidents[kind]) for kind in wanted]
        while lengths and (spare := self._turns - self._first - sum(lengths) - rest * (len(lengths) - 1)) < 0:
            lengths.pop()
        chosen = self._rng.sample(list(zip(wanted, lengths, strict=False)), len(lengths))
        pauses = sorted(self._rng.randint(0, spare) for _ in chosen)
        spans, taken = [], self._first
        for pause, (kind, length) in zip(pauses, chosen, strict=True):
            share = round(self._rng.uniform(*track.incidents[kind].share), 2)
            begins = taken + pause
            spans.append(_Span(kind, begins, begins + length, begins + length + rest, share))
            taken += length + rest
        return spans

    def _length(self, incident: _Incident) -> int:
        return math.ceil(self._rng.uniform(incident.shortest_s, incident.longest_s) * self._rate)


def _of_workers(rng: random.Random, spans: Sequence[_Span], workers: int) -> list[ScheduledEvent]:
    """Who is struck: one of those that run and have joined again."""
    free_at = [0] * workers
    events: list[ScheduledEvent] = []
    for span in sorted(spans, key=lambda span: span.begins):
        worker = rng.choice([number for number in range(workers) if free_at[number] <= span.begins])
        free_at[worker] = span.free_at
        events += span.events(worker)
    return events
