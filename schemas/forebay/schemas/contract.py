"""The contract as documents: JSON Schemas of the messages and an AsyncAPI 3 description, made from the code itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from .cancellation import Cancellation
from .command import Command
from .delta import Delta
from .feedback import Feedback
from .handoff import Handoff
from .person_message import PersonMessage
from .reply import Reply
from .topics import Topics, TopicSpec
from .turn import Turn
from .worker_state import WorkerState

_KEYS = {"workerState": "the worker id", "command": "the worker id, or * for all"}
"""What the key is where it is not the conversation id."""

_MESSAGES: dict[str, tuple[type[BaseModel], str]] = {
    "turn": (Turn, "A chat turn"),
    "reply": (Reply, "The final reply of a turn"),
    "delta": (Delta, "A fragment of a streamed reply"),
    "handoff": (Handoff, "A conversation that a person takes over"),
    "workerState": (WorkerState, "A worker's state"),
    "command": (Command, "An operator's word to the fleet"),
    "cancellation": (Cancellation, "A turn that is no longer wanted"),
    "personMessage": (PersonMessage, "What a person of the shop writes to a customer"),
    "feedback": (Feedback, "A customer's word on a reply"),
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (2020-12) of each message, by name."""
    return {
        name: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **message.model_json_schema(mode="serialization" if message is Reply else "validation"),
        }
        for name, (message, _) in _MESSAGES.items()
    }


def asyncapi(prefix: str, version: str) -> dict[str, Any]:
    """An AsyncAPI 3.0 document of the topics that frontends use, under this prefix."""
    topics = Topics(prefix)
    specs = {spec.name: spec for spec in topics.specs()}
    channels = {
        "requests": _channel(specs[topics.requests], "turn"),
        "replies": _channel(specs[topics.replies], "reply"),
        "deltas": _channel(specs[topics.deltas], "delta"),
        "deadLetters": _channel(specs[topics.dead_letters], "turn"),
        "replyDeadLetters": _channel(specs[topics.reply_dead_letters], "reply"),
        "handoffs": _channel(specs[topics.handoffs], "handoff"),
        "workers": _channel(specs[topics.workers], "workerState"),
        "commands": _channel(specs[topics.commands], "command"),
        "cancellations": _channel(specs[topics.cancellations], "cancellation"),
        "messages": _channel(specs[topics.messages], "personMessage"),
        "feedback": _channel(specs[topics.feedback], "feedback"),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Forebay", "version": version, "description": "Chat turns in, replies out, over Kafka."},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {
            "sendTurn": _operation("send", "requests", "turn"),
            "receiveReply": _operation("receive", "replies", "reply"),
            "receiveDelta": _operation("receive", "deltas", "delta"),
            "receiveDeadLetter": _operation("receive", "deadLetters", "turn"),
            "receiveHandoff": _operation("receive", "handoffs", "handoff"),
            "receiveWorkerState": _operation("receive", "workers", "workerState"),
            "sendCommand": _operation("send", "commands", "command"),
            "sendCancellation": _operation("send", "cancellations", "cancellation"),
            "sendPersonMessage": _operation("send", "messages", "personMessage"),
            "receivePersonMessage": _operation("receive", "messages", "personMessage"),
            "sendFeedback": _operation("send", "feedback", "feedback"),
            "receiveFeedback": _operation("receive", "feedback", "feedback"),
        },
        "components": {
            "messages": {
                name: {
                    "name": name,
                    "title": title,
                    "contentType": "application/json",
                    "payload": {
                        "schemaFormat": "application/schema+json;version=draft-07",
                        "schema": _inlined(message),
                    },
                    "bindings": {
                        "kafka": {
                            "key": {"type": "string", "description": _KEYS.get(name, "the conversation id")},
                            "bindingVersion": "0.5.0",
                        }
                    },
                }
                for name, (message, title) in _MESSAGES.items()
            }
        },
    }


def _channel(spec: TopicSpec, message: str) -> dict[str, Any]:
    settings = {name: value for name, value in spec.settings.items() if name in ("retention.ms", "max.message.bytes")}
    return {
        "address": spec.name,
        "description": spec.about,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {
            "kafka": {
                "topic": spec.name,
                "topicConfiguration": {name: int(value) for name, value in settings.items()},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(action: str, channel: str, message: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _inlined(message: type[BaseModel]) -> dict[str, Any]:
    """The schema with its definitions where they are used: a `$ref` inside would point at the wrong document."""
    schema = message.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, dict):
            if reference := node.get("$ref"):
                rest = {name: value for name, value in node.items() if name != "$ref"}
                return {**inline(definitions[reference.rsplit("/", 1)[1]]), **rest}
            return {name: inline(value) for name, value in node.items()}
        return [inline(value) for value in node] if isinstance(node, list) else node

    inlined: dict[str, Any] = inline(schema)
    return inlined
