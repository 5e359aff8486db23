"""Exports traces with the OpenTelemetry SDK, configured by the standard OTEL_ variables.

A thread of the SDK sends spans in batches: while the collector is away spans are lost, but no turn and no time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from forebay.schemas import SettingsError
from forebay.schemas.extras import needs
from forebay.schemas.version import VERSION

from . import tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = structlog.get_logger()

FLUSH_S = 3.0
"""How long sending the last spans at exit may take, in seconds."""
_ENDPOINTS = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOLS = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"


@asynccontextmanager
async def exporting(service: str, instance: str) -> AsyncIterator[None]:
    """Exports the spans of this process while entered, if the environment names an endpoint. Raises SettingsError.

    ``service`` is the name of the kind of process, where OTEL_SERVICE_NAME gives none; ``instance`` that of this one.
    """
    if not wanted(os.environ):
        yield
        return
    provider = _provider(service, instance)
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # it tells each of its retries
    log.info("traces.exporting")
    try:
        yield
    finally:
        tracing.switch_off()
        await _shut_down(provider)


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether traces are to be exported. Raises SettingsError for options that this exporter does not support."""

    def said(*names: str) -> tuple[str, str]:
        return next(((name, value) for name in names if (value := environment.get(name, "").strip())), ("", ""))

    name, endpoint = said(*_ENDPOINTS)
    exporter = said("OTEL_TRACES_EXPORTER")[1] or "otlp"
    if not endpoint or exporter == "none" or said("OTEL_SDK_DISABLED")[1].lower() == "true":
        return False
    if not endpoint.startswith(("http://", "https://")):
        raise SettingsError(f"{name}={endpoint!r}: write the collector's address over HTTP, such as http://host:4318")
    if exporter != "otlp":
        raise SettingsError(f"OTEL_TRACES_EXPORTER={exporter!r}: traces are exported by otlp or, with none, not at all")
    name, protocol = said(*_PROTOCOLS)
    if protocol and protocol != "http/protobuf":
        raise SettingsError(f"{name}={protocol!r}: this exporter speaks http/protobuf, on the collector's port 4318")
    return True


def _provider(service: str, instance: str) -> TracerProvider:
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(f"{needs('OTEL_EXPORTER_OTLP_ENDPOINT', 'otel')}, or unset it") from error
    from .otel import OtelTracer

    named = SERVICE_NAME in OTELResourceDetector().detect().attributes
    about = {"service.instance.id": instance, "service.version": VERSION} | ({} if named else {"service.name": service})
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)  # for the spans of a user's tools
    tracing.switch_on(OtelTracer(provider.get_tracer("forebay", VERSION)))
    return provider


async def _shut_down(provider: TracerProvider) -> None:
    """Sends what is left, within bounds: the SDK itself would wait for half a minute."""
    closing = threading.Thread(target=provider.shutdown, name="traces.close", daemon=True)
    closing.start()
    await asyncio.to_thread(closing.join, FLUSH_S)
    if closing.is_alive():
        log.warning("traces.unsent", waited_s=FLUSH_S, fix="the collector takes no spans: see its log, and its address")
