"""The messages, the topics they travel on, and the settings of the Kafka cluster.

Every other package may import this one; it imports none of them and does no I/O.
"""

from typing import TYPE_CHECKING

from .lazy import lazily

_MODULES = {
    ".cancellation": "Cancellation",
    ".cluster": "Cluster ClusterError",
    ".codec": "DecodeError decode_cancellation decode_command decode_delta decode_feedback decode_person_message"
    " decode_reply decode_turn decode_worker_state encode identity",
    ".command": "EVERYBODY Command",
    ".deadletter": "Failure Reason dead_letter_headers",
    ".delta": "Delta",
    ".environment": "Environment SettingsError",
    ".feedback": "MAX_FEEDBACK Feedback",
    ".fleet_settings": "FleetSettings",
    ".handoff": "Handoff Said",
    ".headers": "Headers carried replayed",
    ".person_message": "PersonMessage",
    ".reply": "CONVERSATION_BUSY Action Outcome Reply ReplyError Usage",
    ".topics": "Topics TopicSpec",
    ".turn": "MAX_TEXT ONLY Confirm Priority Turn new_id",
    ".when_busy": "WhenBusy",
    ".worker_state": "ModelState PartitionState Spending WorkerState",
}

if TYPE_CHECKING:
    from .cancellation import Cancellation
    from .cluster import Cluster, ClusterError
    from .codec import (
        DecodeError,
        decode_cancellation,
        decode_command,
        decode_delta,
        decode_feedback,
        decode_person_message,
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
    from .feedback import MAX_FEEDBACK, Feedback
    from .fleet_settings import FleetSettings
    from .handoff import Handoff, Said
    from .headers import Headers, carried, replayed
    from .person_message import PersonMessage
    from .reply import CONVERSATION_BUSY, Action, Outcome, Reply, ReplyError, Usage
    from .topics import Topics, TopicSpec
    from .turn import MAX_TEXT, ONLY, Confirm, Priority, Turn, new_id
    from .when_busy import WhenBusy
    from .worker_state import ModelState, PartitionState, Spending, WorkerState
else:
    __getattr__ = lazily(__name__, _MODULES)

__all__ = [
    "CONVERSATION_BUSY",
    "EVERYBODY",
    "MAX_FEEDBACK",
    "MAX_TEXT",
    "ONLY",
    "Action",
    "Cancellation",
    "Cluster",
    "ClusterError",
    "Command",
    "Confirm",
    "DecodeError",
    "Delta",
    "Environment",
    "Failure",
    "Feedback",
    "FleetSettings",
    "Handoff",
    "Headers",
    "ModelState",
    "Outcome",
    "PartitionState",
    "PersonMessage",
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
    "WhenBusy",
    "WorkerState",
    "carried",
    "dead_letter_headers",
    "decode_cancellation",
    "decode_command",
    "decode_delta",
    "decode_feedback",
    "decode_person_message",
    "decode_reply",
    "decode_turn",
    "decode_worker_state",
    "encode",
    "identity",
    "new_id",
    "replayed",
]
