"""One turn is one trace: gateway, Kafka, worker, models and tools, told by OTLP to a real receiver; and a collector that
is away, hangs or cannot be had costs nobody a turn.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aiohttp
import pytest
from aiohttp import web
from opentelemetry import trace as otel
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from forebay.producers import ChatClient, new_turn
from forebay.rehearsal.model_api import Fault, ModelApi
from forebay.rehearsal.worker_processes import GatewayProcess, WorkerProcess
from forebay.schemas import Cluster, Turn
from forebay.schemas.version import VERSION
from forebay.telemetry import tracing
from forebay.telemetry.tracing import Trace
from forebay.workers.engine.permit import Permit

from .conftest import Fleet, read_topic, until
from .echo import Echo
from .test_command_line import forebay

TRACE_ID, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{CALLER}-01"
SECRET = "Xylophon7391"
SHOP = """
from forebay.workers.assistants import Assistant, tool

@tool
async def get_stock(sku: str) -> str:
    \"\"\"Pieces of a product in stock.\"\"\"
    return f"{sku}: 12 pieces"

assistant = Assistant(instructions="Be brief.", model="claude-haiku-4-5", tools=(get_stock,))
"""


class Exported(NamedTuple):
    """A span as the receiver got it."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    failed: bool
    seconds: float


@dataclass
class Receiver:
    """Takes spans as a collector does."""

    url: str = ""
    spans: list[Exported] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        told = ExportTraceServiceRequest.FromString(body)
        self.raw.append(told.SerializeToString())
        for resource in told.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_exported(service, span) for span in scope.spans]
        return web.Response(body=b"", content_type="application/x-protobuf")

    def of(self, name: str) -> list[Exported]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Exported:
        (span,) = self.of(name)
        return span


def _exported(service: str, span: Any) -> Exported:
    return Exported(
        service,
        span.name,
        span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _values(span.attributes),
        span.status.code == span.status.STATUS_CODE_ERROR,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@asynccontextmanager
async def listening(handler: Any) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with listening(receiver.take) as receiver.url:
        yield receiver


Process = TypeVar("Process", bound=WorkerProcess)


class Processes:
    """A worker and a gateway, each in a process of its own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._folder, self._started = folder, list[WorkerProcess]()
        self._environment = {
            "FOREBAY_KAFKA": cluster.kafka,
            "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
            "FOREBAY_STORE": f"sqlite:///{folder / 'conversations.db'}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    async def worker(self, **environment: str) -> WorkerProcess:
        (self._folder / "tracing_shop.py").write_text(SHOP)
        given = {"FOREBAY_ASSISTANT": "tracing_shop:assistant", **self._environment, **environment}
        return await self._ready(WorkerProcess("worker", self._folder, given))

    async def gateway(self, **environment: str) -> GatewayProcess:
        return await self._ready(GatewayProcess("gateway", self._folder, {**self._environment, **environment}))

    async def _ready(self, process: Process) -> Process:
        self._started.append(process)
        await process.ready()
        return process

    def close(self) -> None:
        for process in self._started:
            process.close()


@pytest.fixture
def processes(cluster: Cluster, tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(cluster, tmp_path)
    yield processes
    processes.close()


async def post(gateway: GatewayProcess, text: str, **more: Any) -> dict[str, Any]:
    """One turn by HTTP, and what is said of it when its reply is there."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{gateway.url}/v1/conversations/c-1/turns",
            json={"text": text, "wait": 30, **more},
            headers={"traceparent": TRACEPARENT},
        ) as response,
    ):
        told: dict[str, Any] = await response.json()
        assert response.status == 200, told
        return told


async def test_a_turn_through_gateway_kafka_and_worker_is_one_trace(
    cluster: Cluster, processes: Processes, model_api: ModelApi, receiver: Receiver
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    gateway, worker = await asyncio.gather(processes.gateway(**environment), processes.worker(**environment))
    model_api.add_fault(Fault.OVERLOADED, count=1)
    told = await post(gateway, f'use tool get_stock {{"sku": "{SECRET}"}}', user_id=f"u-{SECRET}", stream=True)
    assert told["reply"]["outcome"] == "answered", told
    assert SECRET in told["reply"]["text"]
    topics = cluster.topics
    sent, route = f"send {topics.replies}", "/v1/conversations/{conversation_id}/turns"
    last = {sent, f"process {topics.requests}", f"POST {route}"}
    await until(lambda: last <= {span.name for span in receiver.spans})

    assert {span.trace_id for span in receiver.spans} == {TRACE_ID}
    by_id = {span.span_id: span for span in receiver.spans}
    served = receiver.one(f"POST {route}")
    assert (served.service, served.kind, served.parent_id) == ("forebay-gateway", "SERVER", CALLER)
    assert served.attributes["http.response.status_code"] == 200
    assert served.attributes["http.route"] == route
    sending = receiver.one(f"send {topics.requests}")
    assert (sending.kind, by_id[sending.parent_id]) == ("PRODUCER", served)
    processing = receiver.one(f"process {topics.requests}")
    assert (processing.service, processing.kind) == ("forebay-worker", "CONSUMER")
    assert by_id[processing.parent_id] == sending
    messaging = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topics.requests,
        "messaging.consumer.group.name": "forebay-workers",
        "messaging.message.id": told["turn_id"],
        "messaging.message.conversation_id": "c-1",
        "messaging.kafka.offset": 0,
        "forebay.outcome": "answered",
    }
    assert messaging.items() <= processing.attributes.items()
    assert 0 <= processing.attributes["forebay.queued_s"] < 30
    replying = receiver.one(sent)
    assert (replying.kind, by_id[replying.parent_id]) == ("PRODUCER", processing)
    for name in ("execute_tool get_stock", "store load", "store record"):
        assert (receiver.one(name).kind, by_id[receiver.one(name).parent_id]) == ("INTERNAL", processing)

    refused, asked, answered = receiver.of("chat claude-haiku-4-5")
    assert all(by_id[span.parent_id] == processing for span in (refused, asked, answered))
    assert {span.kind for span in (refused, asked, answered)} == {"CLIENT"}
    assert refused.failed
    assert refused.attributes["error.type"] == "overloaded"
    assert refused.attributes["http.response.status_code"] == 529
    genai = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-haiku-4-5",
        "gen_ai.response.model": "claude-haiku-4-5",
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": "c-1",
        "gen_ai.response.finish_reasons": ["end_turn"],
        "gen_ai.usage.output_tokens": answered.attributes["gen_ai.usage.output_tokens"],
    }
    assert genai.items() <= answered.attributes.items()
    assert answered.attributes["gen_ai.usage.input_tokens"] > asked.attributes["gen_ai.usage.input_tokens"] > 0
    assert asked.attributes["gen_ai.response.finish_reasons"] == ["tool_use"]
    assert 0 < answered.attributes["gen_ai.response.time_to_first_chunk"] <= answered.seconds + 0.05
    assert not answered.failed
    tool = receiver.one("execute_tool get_stock")
    assert tool.attributes["gen_ai.tool.name"] == "get_stock"
    assert tool.attributes["gen_ai.tool.call.id"]

    assert SECRET.encode() not in b"".join(receiver.raw), "what was said is in no span"
    (request,), (reply,) = [await read_topic(cluster, topic) for topic in (topics.requests, topics.replies)]
    carried = dict(request.headers)["traceparent"].decode()
    assert carried == f"00-{TRACE_ID}-{sending.span_id}-01"
    assert dict(reply.headers)["traceparent"].decode() == carried, (
        "what the record's producer sent comes back unchanged"
    )
    retry = _line(worker, "turn.retry")
    assert retry["trace_id"] == TRACE_ID
    assert retry["span_id"] == processing.span_id
    assert (retry["turn_id"], retry["conversation_id"]) == (told["turn_id"], "c-1")
    assert {process.stop() for process in (gateway, worker)} == {0}


async def test_without_traces_the_lines_exemplars_and_replies_still_tell_the_callers_trace(
    cluster: Cluster, processes: Processes, model_api: ModelApi
) -> None:
    gateway, worker = await asyncio.gather(processes.gateway(), processes.worker())
    model_api.add_fault(Fault.OVERLOADED, count=1)
    told = await post(gateway, "hello")
    retry = _line(worker, "turn.retry")
    assert retry["trace_id"] == TRACE_ID
    assert "span_id" not in retry
    assert retry["turn_id"] == told["turn_id"]
    (reply,) = await read_topic(cluster, cluster.topics.replies)
    assert dict(reply.headers)["traceparent"].decode() == TRACEPARENT
    address = await worker.ready()
    async with aiohttp.ClientSession() as session:
        asking = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
        async with session.get(f"{address}/metrics", headers=asking) as response:
            assert response.content_type == "application/openmetrics-text"
            metrics = await response.text()
        async with session.get(f"{address}/metrics") as response:
            assert response.content_type == "text/plain"
            plain = await response.text()
    for name in ("forebay_queued_seconds", "forebay_answering_seconds", "gen_ai_client_operation_duration_seconds"):
        lines = [line for line in metrics.splitlines() if line.startswith(f"{name}_bucket") and "# {" in line]
        assert any(f'trace_id="{TRACE_ID}"' in line for line in lines), name
    assert metrics.endswith("# EOF\n")
    assert TRACE_ID not in plain
    assert 'gen_ai_request_model="claude-haiku-4-5"' in plain
    assert f'forebay_build_info{{version="{VERSION}"}} 1.0' in plain


@pytest.mark.parametrize("collector", ["refuses", "hangs"])
@pytest.mark.takes(9)
async def test_a_collector_that_is_away_slows_no_turn_and_no_end(
    cluster: Cluster, processes: Processes, model_api: ModelApi, collector: str
) -> None:
    asked = asyncio.Event()

    async def hang(_: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        await asyncio.sleep(3600)
        raise AssertionError

    async with AsyncExitStack() as stack:
        if collector == "hangs":
            url = await stack.enter_async_context(listening(hang))
        else:
            closed = stack.enter_context(socket.socket())
            closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
            asked.set()
        worker = await processes.worker(OTEL_EXPORTER_OTLP_ENDPOINT=url)
        async with ChatClient(cluster) as chat:
            await chat.ask("the first one opens connections", timeout_s=30)
            await asked.wait()
            began = time.monotonic()
            replies = await asyncio.gather(*(chat.ask(f"question {number}", timeout_s=30) for number in range(200)))
            took_s = time.monotonic() - began
        assert {reply.outcome for reply in replies} == {"answered"}
        assert took_s < 10, "200 turns of 20 ms, 50 at once"
        began = time.monotonic()
        assert await asyncio.to_thread(worker.stop) == 0
        assert time.monotonic() - began < 15, "a drain of nothing, and 3 s for the last spans; drain_s is 25"


async def test_an_endpoint_without_the_extra_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.sdk'] = None\n")
    environment = {
        "FOREBAY_KAFKA": cluster.kafka,
        "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
        "PYTHONPATH": str(tmp_path),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "ANTHROPIC_API_KEY": "simulated",
    }
    for command in (["worker", "--health-port", "0"], ["gateway", "--open", "--port", "0", "--health-port", "0"]):
        done = await asyncio.to_thread(forebay, *command, cwd=tmp_path, **environment)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == (
            "forebay: OTEL_EXPORTER_OTLP_ENDPOINT needs more than was installed: "
            "pip install 'forebay[otel]', or unset it"
        )


async def test_a_client_in_a_span_of_its_own_sends_its_trace(cluster: Cluster, chat: ChatClient) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("shop")
    turns = [new_turn(text) for text in ("before", "in a span", "with headers")]
    await chat.send(turns[0])
    with tracer.start_as_current_span("checkout") as span:
        own = otel.format_trace_id(span.get_span_context().trace_id)
        await chat.send(turns[1])
        await chat.send(turns[2], (("traceparent", TRACEPARENT.encode()),))
    records = await read_topic(cluster, cluster.topics.requests)
    sent = {json.loads(record.value)["text"]: dict(record.headers) for record in records}
    assert sent["before"] == {}
    assert sent["in a span"]["traceparent"].decode().split("-")[1] == own
    assert sent["with headers"]["traceparent"].decode() == TRACEPARENT


def _line(process: WorkerProcess, event: str) -> dict[str, Any]:
    """The latest log line of an event."""
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
    return next(line for line in reversed(lines) if line["event"] == event)


async def test_a_turn_that_begins_when_another_ends_is_not_in_its_trace(fleet: Fleet, chat: ChatClient) -> None:
    noted: list[tuple[str, Trace | None]] = []

    async def note(turn: Turn, _: Permit) -> None:
        noted.append((turn.text, tracing.TRACE.get()))
        await asyncio.sleep(0.01)

    await fleet.start(answers=Echo(note, permits=1), concurrency=1)
    brought = (("traceparent", TRACEPARENT.encode()),)
    for number in range(20):  # one conversation: each begins in the moment in which the one before has ended
        headers = brought if number % 2 == 0 else ()
        await chat.send(new_turn(str(number), conversation_id="c-1"), headers)
    await until(lambda: len(noted) == 20)
    own = Trace(TRACE_ID, "", sampled=True)
    assert noted == [(str(number), own if number % 2 == 0 else None) for number in range(20)]
