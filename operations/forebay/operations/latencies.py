"""Latencies: how long the turns of the last seconds waited and took, and how they ended. Pure: times are arguments."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from forebay.telemetry.percentile import percentile_of_sorted

WINDOW_S = 10
"""Seconds that count as recent."""
KEPT_A_SECOND = 500
"""Replies kept of one second: of more a fair sample, so that sorting them costs the same at any load."""


class Spread(NamedTuple):
    """Percentiles in milliseconds; None without any turns."""

    p50: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The percentiles of these values, in any order."""
        ordered = sorted(values)
        return cls(percentile_of_sorted(ordered, 0.5), percentile_of_sorted(ordered, 0.99)) if ordered else cls()


@dataclass(slots=True)
class _Second:
    at: int
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    times: list[tuple[float, float]] = field(default_factory=list)


class Latencies:
    """Collects replies as they are read."""

    def __init__(self) -> None:
        self._seconds: deque[_Second] = deque()
        self._draw = random.Random(0)

    def heard(self, reply: dict[str, Any], now: float) -> None:
        """Takes the fields of a reply; those that are missing or have a wrong type are left out."""
        second = self._second(now)
        second.seen += 1
        second.outcomes[_text(reply.get("outcome"))] += 1
        if isinstance(error := reply.get("error"), dict):
            second.errors[_text(error.get("code"))] += 1
        queued, model = reply.get("queued_ms"), reply.get("model_ms")
        if isinstance(queued, int | float) and isinstance(model, int | float):
            self._keep(second, (float(queued), float(model)))

    def window(self, now: float) -> RecentReplies:
        """The replies of the last `WINDOW_S` seconds."""
        self._forget(now)
        outcomes, errors = Counter[str](), Counter[str]()
        for second in self._seconds:
            outcomes.update(second.outcomes)
            errors.update(second.errors)
        times = [pair for second in self._seconds for pair in second.times]
        return RecentReplies(
            sum(second.seen for second in self._seconds),
            Spread.of(queued for queued, _ in times),
            Spread.of(model for _, model in times if model > 0),
            dict(outcomes),
            dict(errors),
        )

    def _second(self, now: float) -> _Second:
        if not self._seconds or self._seconds[-1].at != int(now):
            self._seconds.append(_Second(int(now)))
            self._forget(now)
        return self._seconds[-1]

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0].at <= now - WINDOW_S:
            self._seconds.popleft()

    def _keep(self, second: _Second, times: tuple[float, float]) -> None:
        if len(second.times) < KEPT_A_SECOND:
            second.times.append(times)
        elif (at := self._draw.randrange(second.seen)) < KEPT_A_SECOND:
            second.times[at] = times


class RecentReplies(NamedTuple):
    """Statistics of the replies of the last seconds."""

    turns: int
    queued: Spread
    model: Spread
    """Of turns with a model call: the FAQ takes no time."""
    outcomes: dict[str, int]
    errors: dict[str, int]


def _text(value: object) -> str:
    return value[:64] if isinstance(value, str) else "unknown"
