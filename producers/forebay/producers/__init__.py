"""The Kafka client of frontends: send turns, await and stream their replies, create the topics."""

from .client import ChatClient, ReplyTimeoutError, new_turn
from .provision import TopicSettings, TopicState, apply_topics

__all__ = ["ChatClient", "ReplyTimeoutError", "TopicSettings", "TopicState", "apply_topics", "new_turn"]
