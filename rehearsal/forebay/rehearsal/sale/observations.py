"""What was observed of a rehearsal: everything from which figures, plots and the verdict are made. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from forebay.operations.planning.traffic import Traffic
from forebay.rehearsal.delivery_check import Answer, Verdict

from .impatient_customer import Question
from .scenario import Scenario
from .waiting_curve import Capacity


class SaleSample(NamedTuple):
    """What could be read at one moment, in seconds after the start."""

    at: float
    in_flight: int
    """Turns or calls in the models."""
    lag: int
    """Turns not yet committed, as Kafka said last."""
    wanted: int
    """Pods that the autoscaler wants."""
    ready: int
    """Pods that take turns."""
    failed_calls: int
    """Model calls that failed so far."""
    sent: int
    """Turns sent so far."""
    replied: int

    @property
    def waiting(self) -> int:
        """Turns that no model had seen."""
        return max(0, self.sent - self.replied - self.in_flight)


class Happening(NamedTuple):
    """Something that was done to the sale, in words."""

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class Observations:
    """One rehearsal. All times in seconds after its start."""

    scenario: Scenario
    traffic: Traffic
    """As it was sent, in the rehearsal's own time."""
    sent_at: dict[str, float]
    """By turn id, ascending."""
    answers: tuple[Answer, ...]
    verdict: Verdict
    samples: tuple[SaleSample, ...]
    capacity: tuple[Capacity, ...]
    """Turns that the pods which took turns could have in the models at once."""
    happenings: tuple[Happening, ...]
    first_words_s: dict[str, float]
    routes: dict[str, int]
    late_s: tuple[float, ...]
    start_s: float
    """How long a worker's process took from its start until it took turns, in the middle."""
    bad_ends: tuple[str, ...]
    calls: int
    """Model calls begun."""
    taken: int = 0
    """Of the calls, those that the provider took."""
    questions: tuple[Question, ...] | None = None
    """Of customers who do not wait for ever; None where all do."""
    unread: int = 0
    """Records of recorded traffic that were no turns."""
    variant: str = field(default="")
    """What this one is, where two are compared."""
