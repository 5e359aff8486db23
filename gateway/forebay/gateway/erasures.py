"""Erasures that are said elsewhere: this gateway forgets the conversation too."""

from __future__ import annotations

from aiokafka import ConsumerRecord

from forebay.producers.feed import Feed
from forebay.schemas import DecodeError, decode_command

from .http.context import GatewayContext


def erasures(context: GatewayContext) -> Feed:
    """Follows the commands to live processes, and drops what this one holds of a conversation that is erased."""

    def heard(record: ConsumerRecord) -> None:
        try:
            command = decode_command(record.value)
        except DecodeError:
            return  # the workers say so
        if command.command == "erase" and command.conversation_id is not None:
            context.forget(command.conversation_id)

    return Feed(context.cluster, context.cluster.topics.commands, heard)
