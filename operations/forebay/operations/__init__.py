"""What operators do, from Kafka alone: see the fleet and command it, replay dead letters, plan a sale."""

from typing import TYPE_CHECKING

from forebay.schemas.lazy import lazily

_MODULES = {
    ".dead_letters.dead_letters": "DeadLetters NoSuchLetterError Purge Replayed",
    ".dead_letters.letter": "DeadLetter Filter LetterId",
    ".dead_letters.replay": "ReplayTakenOverError",
    ".dead_letters.replay_plan": "ReplayPlan",
    ".fleet": "Fleet",
}

if TYPE_CHECKING:
    from .dead_letters.dead_letters import DeadLetters, NoSuchLetterError, Purge, Replayed
    from .dead_letters.letter import DeadLetter, Filter, LetterId
    from .dead_letters.replay import ReplayTakenOverError
    from .dead_letters.replay_plan import ReplayPlan
    from .fleet import Fleet
else:
    __getattr__ = lazily(__name__, _MODULES)

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
