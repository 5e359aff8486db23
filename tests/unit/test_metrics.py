"""Metrics: the table in the documentation is true, and nothing from outside makes series without end."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Counter, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from forebay.gateway import metrics as gateway_metrics
from forebay.gateway.http.admission import TurnAdmission
from forebay.gateway.http.connections import Connections
from forebay.schemas import Usage
from forebay.telemetry import metrics as shared_metrics
from forebay.telemetry import tracing
from forebay.telemetry.health import Health
from forebay.telemetry.metrics import OTHER, Names, sent
from forebay.workers import metrics
from forebay.workers.assistants.toolbox import Allowance, Toolbox, ToolLimits
from forebay.workers.flow.operation import Operation
from forebay.workers.flow.upstream import Upstream
from forebay.workers.models import CatalogueModel, Completion, ModelError, OnText, Prompt, ToolCall, Trouble

DOCUMENT = Path(__file__).parents[2] / "docs" / "observability.md"
LABELS = {
    "version",
    "outcome",
    "destination",
    "reason",
    "upstream",
    "trouble",
    "model",
    "kind",
    "tool",
    "code",
    "api",
    "error_type",
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_token_type",
    "gen_ai_tool_name",
    "messaging_system",
    "messaging_operation_name",
    "messaging_destination_name",
    "messaging_consumer_group_name",
}
"""Each is set by us, by the operator, or by the assistant; none by who sends turns. A new one needs that thought."""


def collectors(*modules: ModuleType) -> dict[str, MetricWrapperBase]:
    found = [value for module in modules for value in vars(module).values() if isinstance(value, MetricWrapperBase)]
    return {f"{one._name}_total" if isinstance(one, Counter) else one._name: one for one in found}


ALL = collectors(shared_metrics, metrics, gateway_metrics)


def test_the_documentation_has_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \| (.*?) \|", DOCUMENT.read_text(), re.MULTILINE)
    told = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert len(told) == len(rows), "none twice"
    assert told == {name: (one._type, one._labelnames) for name, one in ALL.items()}


def test_every_label_is_one_that_was_thought_of() -> None:
    assert {label for one in ALL.values() for label in one._labelnames} == LABELS


@given(st.lists(st.text()), st.integers(0, 5))
def test_a_label_has_so_many_values_and_one_for_all_others(names: list[str], most: int) -> None:
    bounded = Names(most)
    told = [bounded(name) for name in names]
    assert len(set(told) - {OTHER}) <= most
    first = set(list(dict.fromkeys(names))[:most])
    assert all(label == (name if name in first else OTHER) for name, label in zip(names, told, strict=True))


class Hostile:
    """A provider whose answers are made to fill a monitoring system."""

    def __init__(self, number: int) -> None:
        self.name = f"hostile-model-{number}"
        self.answer = Completion(
            "text", f"reason-{number}", Usage(input_tokens=7, output_tokens=1), model=f"answering-model-{number}"
        )

    async def complete(self, prompt: Prompt, on_text: OnText | None = None) -> Completion:
        raise AssertionError("the calls are made by hand")


def series() -> int:
    return sum(1 for line in generate_latest().splitlines() if not line.startswith(b"#"))


def one_call(number: int) -> None:
    """A streamed call that fails, and one that answers, of a model that nobody has seen."""
    hostile = Hostile(number)
    upstream = Upstream(hostile, CatalogueModel(provider="openai"), f"#{number}")
    with pytest.raises(ModelError), Operation(upstream, print):
        raise ModelError(f"hostile-message-{number}", Trouble.SERVER)
    with Operation(upstream, lambda _: None) as operation:
        assert operation.on_text is not None
        operation.on_text("first")
        operation.answered(hostile.answer)
    upstream.spent(hostile.answer.usage, 0.0)


def test_an_endless_list_of_models_and_hostile_answers_make_no_endless_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MODELS", Names(8))
    for number in range(9):
        one_call(number)
    before = series()
    for number in range(9, 400):
        one_call(number)
    assert series() == before
    told = generate_latest().decode()
    assert f'gen_ai_request_model="{OTHER}"' in told
    for words in ("hostile-model-300", "hostile-message", "answering-model", "reason-"):
        assert words not in told


async def test_tools_that_a_model_makes_up_make_no_series() -> None:
    toolbox, allowance = Toolbox(()), Allowance(ToolLimits(calls=1000))
    before = series()
    await toolbox.run([ToolCall(f"id-{n}", f"made_up_{n}", "{}") for n in range(500)], None, allowance)
    assert series() == before


def test_what_is_sent_is_counted_with_how_it_ended() -> None:
    sent("chat.metrics-test", 3, 0.02)
    sent("chat.metrics-test", 2, 1.0, TimeoutError())
    told = generate_latest().decode()
    about = 'messaging_destination_name="chat.metrics-test",messaging_operation_name="send",messaging_system="kafka"'
    assert f'messaging_client_sent_messages_total{{error_type="",{about}}} 3.0' in told
    assert f'messaging_client_sent_messages_total{{error_type="TimeoutError",{about}}} 2.0' in told
    assert f'messaging_client_operation_duration_seconds_count{{error_type="",{about}}} 1.0' in told


async def test_a_scraper_gets_exemplars_when_it_asks_for_openmetrics() -> None:
    trace_id = "a" * 32
    token = tracing.TRACE.set(tracing.Trace(trace_id, "", sampled=True))
    metrics.QUEUED.observe(0.2, tracing.exemplar())
    tracing.TRACE.reset(token)
    health = Health(0, live=lambda: None, ready=lambda: None, refresh=lambda: None)
    url = f"http://127.0.0.1:{await health.start()}/metrics"

    def scrape(accept: str) -> tuple[str, str]:
        request = urllib.request.Request(url, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.headers["Content-Type"], response.read().decode()

    try:
        # As Prometheus 3 asks.
        kind, told = await asyncio.to_thread(
            scrape, "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3"
        )
        assert kind.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
        families = text_string_to_metric_families(told)  # type: ignore[no-untyped-call]
        (queued,) = [family for family in families if family.name == "forebay_queued_seconds"]
        assert {"trace_id": trace_id} in [sample.exemplar.labels for sample in queued.samples if sample.exemplar]
        kind, told = await asyncio.to_thread(scrape, "text/plain")
        assert kind.startswith("text/plain")
        assert trace_id not in told
    finally:
        await health.stop()


def test_admission_tells_how_full_it_is() -> None:
    one = TurnAdmission(everyone=10.0, tenant=100.0, user=100.0, user_burst=100.0, now=0.0)
    assert one.used(0.0) == 0.0
    now = 0.0
    for _ in range(600):  # half of the rate, for two minutes
        now += 0.2
        assert one.admit(None, None, now) is None
    assert one.used(now) == pytest.approx(0.5, abs=0.06)
    while one.admit(None, None, now) is None:
        continue
    assert one.used(now) >= 0.95, "the next one is refused"
    assert one.used(now + 120) < 0.01


def test_connections_tell_how_many_are_open() -> None:
    connections = Connections(everyone=4, user=4)
    connections.enter("u")
    assert connections.used == 0.25
