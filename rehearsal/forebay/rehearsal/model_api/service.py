"""Decides the answer to each request. It does no I/O: the connection performs the plans it returns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from random import Random

from forebay.rehearsal.model_api.answers.call_prompt import CallPrompt
from forebay.rehearsal.model_api.http.http_message import HttpRequest
from forebay.rehearsal.model_api.http.response_plan import (
    ResponsePlan,
    ending_after,
)
from forebay.rehearsal.model_api.limits.provider_gate import ProviderGate
from forebay.rehearsal.model_api.limits.rate_headers import MinuteUsage
from forebay.rehearsal.model_api.managed.managed_agents import PATHS, ManagedAgents
from forebay.rehearsal.model_api.wire.anthropic_wire import AnthropicWire
from forebay.rehearsal.model_api.wire.error_answer import ErrorAnswer
from forebay.rehearsal.model_api.wire.openai_wire import OpenAIWire
from forebay.rehearsal.model_api.wire.wire_format import Wire

from . import faults
from .api_settings import ModelApiSettings
from .call_answer import CallAnswer
from .control import Control
from .faults import Strike
from .latency import LatencySource
from .stats import CallCounters, Stats

ANTHROPIC: Wire = AnthropicWire()
OPENAI: Wire = OpenAIWire()
CALL_PATHS = {"/v1/messages": ANTHROPIC, "/v1/chat/completions": OPENAI}
MODELS_PATH = "/v1/models"


class Service:
    """The simulated models of one API, and everything they count."""

    def __init__(self, settings: ModelApiSettings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.counters = CallCounters()
        self.admission = ProviderGate(settings.limits)
        self.control = Control(self.stats, self.admission)
        self.clock = clock
        self.managed = ManagedAgents(self, ANTHROPIC)
        self._latency = LatencySource(settings)
        # Its own sequence, so that a fault setting does not shift the latencies.
        self._dice = Random(settings.seed + 1)
        self._allowances = {wire.name: MinuteUsage() for wire in (ANTHROPIC, OPENAI)}
        self._shares = {str(name): share for name, share in settings.faults.items()}

    def answer(self, request: HttpRequest) -> ResponsePlan:
        """The plan for one request. A call in it is begun in the counters; the connection finishes it."""
        wire = CALL_PATHS.get(request.path)
        if wire is not None and request.method == "POST":
            self.counters.begin()
            call = CallAnswer(self, wire, request)
            return call.safely(call.plan)
        if request.path.startswith(PATHS):
            managed = CallAnswer(self, ANTHROPIC, request)
            return self.managed.plan(request, managed.refuse, managed.answer_whole)
        if request.path in Control.PATHS and not request.too_large:
            return ResponsePlan([(0.0, self.control.answer(request))], ending_after(request))
        return self._other(request, wire)

    def _other(self, request: HttpRequest, wire: Wire | None) -> ResponsePlan:
        vendor = wire or (ANTHROPIC if request.headers.keys() & {b"x-api-key", b"anthropic-version"} else OPENAI)
        call = CallAnswer(self, vendor, request)
        if request.too_large:
            refusal: ErrorAnswer | None = vendor.too_large()
        elif request.path == MODELS_PATH and request.method in ("GET", "HEAD"):
            refusal = vendor.unauthorized(request.headers) if self.settings.keep_api_key_check else None
        elif wire is not None or request.path == MODELS_PATH:
            refusal = vendor.wrong_method(request.method, request.path)
        else:
            refusal = vendor.unknown_path(request.method, request.path)
        plan = call.refuse(refusal, 0.0) if refusal is not None else call.answer_whole(vendor.models(), 0.0)
        plan.provider = None
        return plan

    def finish(self, plan: ResponsePlan, outcome: str) -> None:
        """The call that a plan answers is over."""
        if plan.provider is not None:
            self.counters.finish(plan.provider, outcome)
        if plan.accepted:
            self.admission.leave()

    def stats(self) -> Stats:
        """The counts now."""
        admission = self.admission
        return replace(
            self.counters.snapshot(),
            accepted=admission.accepted,
            working=admission.working,
            peak_working=admission.peak_working,
            keys=admission.keys(self.clock()),
        )

    def strike(self, prompt: CallPrompt, call: int) -> Strike | None:
        """The fault of the call-th call of a turn: asked for in the text, by a rule, or by a share of all calls."""
        text, stream = prompt.last_text, prompt.stream
        # Both dice are thrown on every call, which keeps their sequence the same whatever the rules.
        rule_roll, share_roll = self._dice.random(), self._dice.random()
        asked = faults.from_text(text, call, stream) or self.control.strike(text, rule_roll, stream)
        return asked or (faults.from_shares(self._shares, share_roll, stream) if self._shares else None)

    def next_latency_ms(self, stream: bool) -> float:
        """The simulated latency of the next call."""
        return self._latency.next_ms(stream)

    def allowance(self, wire: Wire) -> MinuteUsage:
        """The rate-limit counters of a vendor where no quota is set."""
        return self._allowances[wire.name]
