"""The Kafka client of frontends: send turns, await and stream their replies, create the topics."""

from typing import TYPE_CHECKING

from forebay.schemas.lazy import lazily

_MODULES = {
    ".client": "ChatClient ReplyTimeoutError new_turn",
    ".provision": "TopicSettings TopicState apply_topics",
}

if TYPE_CHECKING:
    from .client import ChatClient, ReplyTimeoutError, new_turn
    from .provision import TopicSettings, TopicState, apply_topics
else:
    __getattr__ = lazily(__name__, _MODULES)

__all__ = ["ChatClient", "ReplyTimeoutError", "TopicSettings", "TopicState", "apply_topics", "new_turn"]
