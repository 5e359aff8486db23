"""The messages, the topics they travel on, and the settings of the Kafka cluster.

Every other package may import this one; it imports none of them and does no I/O.
"""

from .cluster import Cluster, ClusterError
from .codec import (
    DecodeError,
    decode_command,
    decode_delta,
    decode_reply,
    decode_turn,
    decode_worker_state,
    encode,
    identity,
)
from .command import EVERYBODY, Command
from .deadletter import Failure, Reason, dead_letter_headers
from .delta import Delta
from .environment import Environment, SettingsError
from .handoff import Handoff, Said
from .headers import Headers, carried, replayed
from .reply import Action, Outcome, Reply, ReplyError, Usage
from .topics import Topics, TopicSpec
from .turn import MAX_TEXT, ONLY, Confirm, Priority, Turn, new_id
from .worker_state import ModelState, PartitionState, Spending, WorkerState

__all__ = [
    "EVERYBODY",
    "MAX_TEXT",
    "ONLY",
    "Action",
    "Cluster",
    "ClusterError",
    "Command",
    "Confirm",
    "DecodeError",
    "Delta",
    "Environment",
    "Failure",
    "Handoff",
    "Headers",
    "ModelState",
    "Outcome",
    "PartitionState",
    "Priority",
    "Reason",
    "Reply",
    "ReplyError",
    "Said",
    "SettingsError",
    "Spending",
    "TopicSpec",
    "Topics",
    "Turn",
    "Usage",
    "WorkerState",
    "carried",
    "dead_letter_headers",
    "decode_command",
    "decode_delta",
    "decode_reply",
    "decode_turn",
    "decode_worker_state",
    "encode",
    "identity",
    "new_id",
    "replayed",
]
