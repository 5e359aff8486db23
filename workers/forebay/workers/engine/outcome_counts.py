"""How the turns of this worker have ended."""

from __future__ import annotations

from collections import Counter

from forebay.workers import metrics

from .publication import Publication


class OutcomeCounts:
    """Turns that ended in this worker since its start."""

    __slots__ = ("dead_letters", "outcomes")

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        """By reason."""

    def count(self, publication: Publication) -> None:
        """Counts one turn, here and in the metrics; what is no turn is its handler's to count."""
        if publication.outcome is None:
            return
        if publication.failure is not None:
            reason = publication.failure.reason.value
            metrics.DEAD_LETTERS.labels(reason).inc()
            self.dead_letters[reason] += 1
        metrics.TURNS.labels(publication.outcome).inc()
        self.outcomes[publication.outcome] += 1
