"""Tracing: what is told of a turn and what never is, with traces on and off."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from forebay.schemas import SettingsError, Usage
from forebay.telemetry import logs, tracing
from forebay.telemetry.export import wanted
from forebay.telemetry.otel import OtelTracer
from forebay.telemetry.tracing import NOTHING, TRACE, TURN, About, Trace
from forebay.workers.assistants.execution import Execution, tool_span
from forebay.workers.conversations.store import store_span
from forebay.workers.engine.processing import sending_spans
from forebay.workers.flow.operation import Operation, chat_span
from forebay.workers.flow.upstream import Upstream
from forebay.workers.models import CatalogueModel, Completion, ModelError, OnText, Prompt, Trouble

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = (("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01".encode()),)
UNSAMPLED = (("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-00".encode()),)


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    """Traces are on; what is exported stays here."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.switch_on(OtelTracer(provider.get_tracer("test")))
    yield exporter
    tracing.switch_off()
    provider.shutdown()


class Silent:
    name = "m-1"

    async def complete(self, prompt: Prompt, on_text: OnText | None = None) -> Completion:
        raise AssertionError("the calls are made by hand")


UPSTREAM = Upstream(Silent(), CatalogueModel(provider="anthropic"), "#1")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"00-{TRACE_ID}-00f067aa0ba902b7-01", Trace(TRACE_ID, "", sampled=True)),
        (f"00-{TRACE_ID}-00f067aa0ba902b7-00", Trace(TRACE_ID, "", sampled=False)),
        (f"00-{TRACE_ID}-00f067aa0ba902b7-03", Trace(TRACE_ID, "", sampled=True)),
        (f"cc-{TRACE_ID}-00f067aa0ba902b7-01-what-comes-later", Trace(TRACE_ID, "", sampled=True)),
        (f"ff-{TRACE_ID}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE_ID}-{'0' * 16}-01", None),
        (f"00-{TRACE_ID.upper()}-00f067aa0ba902b7-01", None),
        ("00-4bf92-00f067aa0ba902b7-01", None),
        ("", None),
    ],
)
def test_the_trace_in_a_traceparent(value: str, found: Trace | None) -> None:
    assert tracing.trace_of((("x", b"1"), ("traceparent", value.encode()))) == found


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]), st.binary(max_size=80))))
def test_no_header_is_a_fault(headers: list[tuple[str, bytes]]) -> None:
    tracing.trace_of(headers)
    tracer = OtelTracer(otel.NoOpTracer())
    with tracer.start("process x", "consumer", {}, tuple(headers)) as span:
        assert dict(span.carrying(tuple(headers))).keys() <= {"traceparent", "tracestate", "x"}


def test_off_is_nothing() -> None:
    assert tracing.tracer is None
    assert chat_span(UPSTREAM, streamed=True) is NOTHING
    assert tool_span("t", "1") is NOTHING
    assert store_span("load") is NOTHING
    assert sending_spans([]) == ()
    assert tracing.callers_tracer() is None
    assert tracing.sending(None, "chat.requests") is NOTHING
    assert NOTHING.carrying(SAMPLED) is SAMPLED
    with NOTHING as span:
        span.set({"a": 1})
        span.failed("x")


def test_exemplars_lead_to_traces_that_are_recorded_only() -> None:
    assert tracing.exemplar() is None
    with About("t-1", "c-1", UNSAMPLED):
        assert tracing.exemplar() is None
    with About("t-1", "c-1", SAMPLED):
        assert tracing.exemplar() == {"trace_id": TRACE_ID}


def test_what_is_about_a_turn_ends_with_it() -> None:
    with About("t-1", "c-1", SAMPLED):
        assert TURN.get() == ("t-1", "c-1")
        assert tracing.apart().run(TURN.get) is None
        assert tracing.apart().run(TRACE.get) is None
    assert TURN.get() is None
    assert TRACE.get() is None


def test_a_task_apart_begins_a_trace_of_its_own(exported: InMemorySpanExporter) -> None:
    assert tracing.tracer is not None
    with tracing.tracer.start("turn", "internal", {}):
        with tracing.tracer.start("within", "internal", {}):
            pass
        tracing.apart().run(lambda: tracing.sending(tracing.tracer, "apart").end())
    within, apart, turn = exported.get_finished_spans()
    assert within.parent is not None
    assert within.parent.span_id == turn.context.span_id
    assert apart.parent is None


def test_what_an_error_says_is_not_told(exported: InMemorySpanExporter) -> None:
    error = ModelError("400: the prompt 'my secret' is refused", Trouble.REJECTED, status=400)
    with pytest.raises(ModelError), Operation(UPSTREAM, None):
        raise error
    with pytest.raises(RuntimeError), Execution("stock", "call-1"):
        raise RuntimeError("my secret")
    chat, tool = exported.get_finished_spans()
    assert chat.attributes is not None
    assert chat.attributes["error.type"] == "rejected"
    assert chat.attributes["http.response.status_code"] == 400
    assert tool.attributes is not None
    assert tool.attributes["error.type"] == "failed"
    for span in (chat, tool):
        assert span.status.status_code is otel.StatusCode.ERROR
        assert "secret" not in span.to_json()


def test_a_call_that_nobody_waits_for_is_cancelled_not_failed_by_the_provider(exported: InMemorySpanExporter) -> None:
    with pytest.raises(asyncio.CancelledError), Operation(UPSTREAM, None):
        raise asyncio.CancelledError
    (chat,) = exported.get_finished_spans()
    assert chat.attributes is not None
    assert chat.attributes["error.type"] == "cancelled"


def test_tokens_are_counted_as_the_conventions_do(exported: InMemorySpanExporter) -> None:
    usage = Usage(input_tokens=10, output_tokens=5, cache_read_tokens=90)
    with Operation(UPSTREAM, None) as operation:
        operation.answered(Completion("my secret", "end_turn", usage, model="m-1-2026"))
    (chat,) = exported.get_finished_spans()
    assert chat.name == "chat m-1"
    assert dict(chat.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "m-1",
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "m-1-2026",
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 90,
        "forebay.upstream": "anthropic/m-1#1",
    }


def test_a_trace_that_is_not_sampled_is_passed_on_and_told_nothing() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with OtelTracer(provider.get_tracer("test")).start("process x", "consumer", {}, UNSAMPLED) as span:
        assert not span.recording
        assert tracing.exemplar() is None
        carried = dict(span.carrying(UNSAMPLED))["traceparent"].decode()
    assert carried.split("-")[1] == TRACE_ID
    assert carried.endswith("-00")
    assert exporter.get_finished_spans() == ()


def test_log_lines_tell_turn_and_trace(capsys: pytest.CaptureFixture[str], exported: InMemorySpanExporter) -> None:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    configured = structlog.get_config()
    try:
        logs.configure("json", hide=lambda text: text.replace("4", "*"), worker="w-1")
        log = structlog.stdlib.get_logger("test")
        log.info("outside")
        with About("t-4", "c-4", SAMPLED):
            log.info("brought")
            logging.getLogger("library").warning("by a library")
            assert tracing.tracer is not None
            with tracing.tracer.start("process x", "consumer", {}, SAMPLED):
                log.info("recorded", turn_id="said already")
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.configure(**configured)
        logging.basicConfig(handlers=handlers, level=level, force=True)
    told = {line["event"]: line for line in map(json.loads, capsys.readouterr().err.splitlines())}
    assert not {"turn_id", "trace_id"} & told["outside"].keys()
    ids = {"turn_id": "t-4", "conversation_id": "c-4", "trace_id": TRACE_ID}
    assert ids.items() <= told["brought"].items(), "ids are not searched for phone numbers"
    assert "span_id" not in told["brought"]
    assert ids.items() <= told["by a library"].items()
    (span,) = exported.get_finished_spans()
    assert told["recorded"]["span_id"] == otel.format_span_id(span.context.span_id)
    assert told["recorded"]["trace_id"] == TRACE_ID
    assert told["recorded"]["turn_id"] == "said already"


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, True),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, True),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
)
def test_an_endpoint_switches_traces_on(environment: dict[str, str], on: bool) -> None:
    assert wanted(environment) is on


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT='collector:4317': write"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER='zipkin': traces are exported by otlp"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL='grpc': this exporter speaks http/protobuf",
        ),
    ],
)
def test_what_this_exporter_does_not_do_is_one_clear_line(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as error:
        wanted(ENDPOINT | wrong)
    assert str(error.value).startswith(says)
