"""Spans: the steps of a turn in a worker, by the names and attributes of OpenTelemetry's semantic conventions.

Each is `NOTHING` while traces are off. What a user, a model or a tool said is never in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from forebay.schemas import identity
from forebay.telemetry import tracing
from forebay.telemetry.tracing import NOTHING, Span

if TYPE_CHECKING:
    from .engine.inbound import InboundRecord
    from .engine.outbox import Outgoing
    from .flow.upstream import Upstream
    from .models import Completion


def process(inbound: InboundRecord, group: str) -> Span:
    """One turn, from the start of its answer; its parent is whoever sent it."""
    if tracing.tracer is None:
        return NOTHING
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": inbound.topic,
        "messaging.destination.partition.id": str(inbound.partition),
        "messaging.kafka.offset": inbound.offset,
        "messaging.consumer.group.name": group,
        "messaging.message.body.size": len(inbound.value or b""),
    }
    if names := identity(inbound.value):
        attributes["messaging.message.id"], attributes["messaging.message.conversation_id"] = names
    return tracing.tracer.start(f"process {inbound.topic}", "consumer", attributes, inbound.headers)


def chat(upstream: Upstream, *, streamed: bool) -> Span:
    """One call of a model; each further try is a further span."""
    if tracing.tracer is None:
        return NOTHING
    attributes: dict[str, str | bool] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": upstream.known.provider,
        "gen_ai.request.model": upstream.model.name,
        "gen_ai.request.stream": streamed,
        "forebay.upstream": upstream.name,
    }
    if turn := tracing.TURN.get():
        attributes["gen_ai.conversation.id"] = turn[1]
    return tracing.tracer.start(f"chat {upstream.model.name}", "client", attributes)


def answered(span: Span, completion: Completion, first_chunk_s: float | None) -> None:
    """What a model call came to. The conventions count cached tokens among those of the input."""
    if not span.recording:
        return
    usage = completion.usage
    span.set(
        {
            "gen_ai.response.finish_reasons": [completion.finish_reason],
            "gen_ai.usage.input_tokens": usage.input_tokens + usage.cache_read_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        }
    )
    if completion.model is not None:
        span.set({"gen_ai.response.model": completion.model})
    if first_chunk_s is not None:
        span.set({"gen_ai.response.time_to_first_chunk": first_chunk_s})


def execute_tool(name: str, call_id: str) -> Span:
    """One run of a tool."""
    if tracing.tracer is None:
        return NOTHING
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": call_id,
        "gen_ai.tool.type": "function",
    }
    return tracing.tracer.start(f"execute_tool {name}", "internal", attributes)


def store(operation: str) -> Span:
    """One look into the store of conversations, or one entry."""
    return NOTHING if tracing.tracer is None else tracing.tracer.start(f"store {operation}", "internal", {})


def send(records: Sequence[Outgoing]) -> Sequence[Span]:
    """The records of one turn on their way to Kafka. Their headers stay as they are: they are the sender's."""
    if tracing.tracer is None:
        return ()
    turn_id, conversation_id = tracing.TURN.get() or (None, None)
    return [tracing.sending(tracing.tracer, record.topic, turn_id, conversation_id) for record in records]
