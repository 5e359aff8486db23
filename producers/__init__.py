"""The way in and out for frontends: send turns, await and stream their replies, create the topics, replay dead letters,
see the workers and tell them what to do.
"""

from .client import ChatClient, ReplyTimeoutError, new_turn
from .deadletters import DeadLetters, NoSuchLetterError, Purge, Replayed
from .fleet import Fleet
from .letters import DeadLetter, Filter, LetterId
from .plan import Plan
from .provision import TopicSettings, TopicState, apply_topics
from .replay import ReplayTakenOverError

__all__ = [
    "ChatClient",
    "DeadLetter",
    "DeadLetters",
    "Filter",
    "Fleet",
    "LetterId",
    "NoSuchLetterError",
    "Plan",
    "Purge",
    "ReplayTakenOverError",
    "Replayed",
    "ReplyTimeoutError",
    "TopicSettings",
    "TopicState",
    "apply_topics",
    "new_turn",
]
