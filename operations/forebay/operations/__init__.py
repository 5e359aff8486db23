"""What operators do, from Kafka alone: see the fleet and command it, replay dead letters, plan a sale."""

from .dead_letters.dead_letters import DeadLetters, NoSuchLetterError, Purge, Replayed
from .dead_letters.letter import DeadLetter, Filter, LetterId
from .dead_letters.replay import ReplayTakenOverError
from .dead_letters.replay_plan import ReplayPlan
from .fleet import Fleet

__all__ = [
    "DeadLetter",
    "DeadLetters",
    "Filter",
    "Fleet",
    "LetterId",
    "NoSuchLetterError",
    "Purge",
    "ReplayPlan",
    "ReplayTakenOverError",
    "Replayed",
]
