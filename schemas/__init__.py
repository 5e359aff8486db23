"""What travels and where: chat turns, replies, deltas, dead letters, their topics and the cluster they lie on.

Workers and producers both know this package; it knows neither.
"""

from .cluster import Cluster, ClusterError
from .codec import DecodeError, decode_delta, decode_reply, decode_turn, encode, identity
from .deadletter import Failure, Reason, dead_letter_headers
from .delta import Delta
from .environment import Environment, SettingsError
from .handoff import Handoff, Said
from .headers import Headers, carried, replayed
from .reply import Action, Outcome, Reply, ReplyError, Usage
from .topics import Topics, TopicSpec
from .turn import MAX_TEXT, Confirm, Priority, Turn, new_id

__all__ = [
    "MAX_TEXT",
    "Action",
    "Cluster",
    "ClusterError",
    "Confirm",
    "DecodeError",
    "Delta",
    "Environment",
    "Failure",
    "Handoff",
    "Headers",
    "Outcome",
    "Priority",
    "Reason",
    "Reply",
    "ReplyError",
    "Said",
    "SettingsError",
    "TopicSpec",
    "Topics",
    "Turn",
    "Usage",
    "carried",
    "dead_letter_headers",
    "decode_delta",
    "decode_reply",
    "decode_turn",
    "encode",
    "identity",
    "new_id",
    "replayed",
]
