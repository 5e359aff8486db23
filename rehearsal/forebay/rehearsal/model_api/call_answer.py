"""How one request of a vendor's API is answered: within the limits, with or without a fault, whole or streamed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson

from forebay.rehearsal.model_api.answers.call_prompt import CallPrompt
from forebay.rehearsal.model_api.answers.model_answer import ModelAnswer, compose
from forebay.rehearsal.model_api.http.http_message import HttpRequest, stream_head, whole
from forebay.rehearsal.model_api.http.response_plan import (
    BROKEN_EVENT,
    Ending,
    ResponsePlan,
    StreamPace,
    ending_after,
    stream_plan,
    with_event,
)
from forebay.rehearsal.model_api.limits.provider_gate import Exceeded, KeyAccount, api_key
from forebay.rehearsal.model_api.limits.provider_limits import Limit, Outage
from forebay.rehearsal.model_api.limits.rate_headers import Rates
from forebay.rehearsal.model_api.wire.error_answer import CallRefused, ErrorAnswer
from forebay.rehearsal.model_api.wire.wire_format import AnswerIdentity, Wire

from .faults import Fault, Strike
from .stats import REFUSED

if TYPE_CHECKING:
    from .service import Service

_log = logging.getLogger(__name__)


class CallAnswer:
    """Decides the answer to one request of a vendor's API."""

    def __init__(self, service: Service, wire: Wire, request: HttpRequest) -> None:
        self._service = service
        self._settings = service.settings
        self._wire = wire
        self._request = request
        self._now = service.clock()
        self._identity = AnswerIdentity(service.counters.begun, int(self._now))
        self._rates: Rates = service.allowance(wire)

    def plan(self) -> ResponsePlan:
        """The answer to a call."""
        try:
            prompt = self._read()
        except CallRefused as refused:
            return self.refuse(refused.refusal, 0.0)
        return self._admit(prompt, self._service.counters.turn(prompt.last_text))

    def safely(self, decide: Callable[[], ResponsePlan]) -> ResponsePlan:
        """What `decide` decides; 500 where it fails on a request that this simulation cannot read."""
        try:
            return decide()
        except Exception:
            # Its caller must not be left without an answer.
            _log.exception("the simulated model API failed on a call")
            return self.refuse(self._wire.server_error(), 0.0)

    def _admit(self, prompt: CallPrompt, call: int) -> ResponsePlan:
        """The answer to the call-th call of a turn, within the limits in force."""
        admission = self._service.admission
        if admission.limits.outage is not None:
            return self._outage(admission.limits.outage, prompt, call)
        account = admission.account(self._wire.name, api_key(self._request.headers))
        reply = compose(prompt, gullible=self._settings.gullible)
        tokens = 0
        if admission.limited:
            self._rates = admission.rates(account) or self._rates
            tokens = self._wire.quota_tokens(prompt, reply)
            exceeded = admission.exceeded(account, tokens, self._now)
            if exceeded is not None:
                return self.refuse(self._over(exceeded, prompt.model), 0.0)
        strike = self._service.strike(prompt, call)
        latency_ms = self._service.next_latency_ms(prompt.stream)
        refusal = self._refusal(prompt, strike)
        if refusal is not None and not refusal.after_latency:
            return self.refuse(refusal, 0.0)
        if admission.limited:
            admission.spend(account, tokens, self._now)
        if refusal is not None:
            plan = self.refuse(refusal, latency_ms)
        else:
            plan = self._reply(prompt, reply, strike, latency_ms)
            plan.outcome = "ok" if strike is None else strike.kind.value
        return self._enter(plan, account)

    def _enter(self, plan: ResponsePlan, account: KeyAccount) -> ResponsePlan:
        # Last of all, when nothing can fail any more: who enters must leave.
        self._service.admission.enter(account)
        plan.provider, plan.accepted = self._wire.name, True
        return plan

    def _outage(self, outage: Outage, prompt: CallPrompt, call: int) -> ResponsePlan:
        outcome = REFUSED["outage"]
        match outage:
            case Outage.HANG:
                again = partial(self.safely, partial(self._released, prompt, call))
                return ResponsePlan([], Ending.HOLD, self._wire.name, outcome, again=again)
            case Outage.DROP:
                return ResponsePlan([], Ending.CLOSE, self._wire.name, outcome)
            case Outage.UNAVAILABLE:
                return self.refuse(self._wire.unavailable().counted_as(outcome), 0.0)
        return self.refuse(self._wire.server_error().counted_as(outcome), 0.0)

    def _released(self, prompt: CallPrompt, call: int) -> ResponsePlan:
        self._now = self._service.clock()
        return self._admit(prompt, call)

    def _over(self, exceeded: Exceeded, model: str) -> ErrorAnswer:
        limits, limit = self._service.admission.limits, exceeded.limit
        outcome = REFUSED[limit.value]
        if limit is Limit.IN_FLIGHT and limits.refuse_with != HTTPStatus.TOO_MANY_REQUESTS:
            return self._wire.overloaded().counted_as(outcome)
        return self._wire.rate_limited(model, limit).counted_as(outcome).with_retry_after(exceeded.wait_s)

    def refuse(self, refusal: ErrorAnswer, latency_ms: float) -> ResponsePlan:
        """An error answer."""
        body = self._wire.refusal_body(refusal, self._identity)
        answer = whole(self._request, refusal.status, body, self._headers(latency_ms, refusal))
        return ResponsePlan(
            [(latency_ms / 1000.0, answer)], ending_after(self._request), self._wire.name, refusal.outcome
        )

    def answer_whole(self, body: bytes, latency_ms: float) -> ResponsePlan:
        """A 200 with a JSON body."""
        answer = whole(self._request, 200, body, self._headers(latency_ms, None))
        return ResponsePlan([(latency_ms / 1000.0, answer)], ending_after(self._request))

    def _read(self) -> CallPrompt:
        wire, request = self._wire, self._request
        refusal = wire.unauthorized(request.headers) if self._settings.keep_api_key_check else None
        if refusal is None and request.too_large:
            refusal = wire.too_large()
        if refusal is not None:
            raise CallRefused(refusal)
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise CallRefused(wire.broken_json(str(error))) from None
        return wire.read(body)

    def _refusal(self, prompt: CallPrompt, strike: Strike | None) -> ErrorAnswer | None:
        wire, settings = self._wire, self._settings
        if prompt.tokens > settings.context_tokens:
            return wire.context_too_long(prompt.tokens, settings.context_tokens)
        match strike.kind if strike is not None else None:
            case Fault.RATE_LIMIT:
                seconds = strike.seconds if strike is not None else None
                refusal = wire.rate_limited(prompt.model)
                usual_s = self._service.admission.limits.retry_after_s
                return refusal.with_retry_after(usual_s if seconds is None else seconds)
            case Fault.SPEND_LIMIT:
                return wire.spend_limited()
            case Fault.OVERLOADED:
                return wire.overloaded()
            case Fault.SERVER_ERROR:
                return wire.server_error()
            case Fault.CONTEXT_TOO_LONG:
                return wire.context_too_long(max(prompt.tokens, settings.context_tokens + 1), settings.context_tokens)
        return None

    def _reply(self, prompt: CallPrompt, reply: ModelAnswer, strike: Strike | None, latency_ms: float) -> ResponsePlan:
        if strike is not None and strike.kind is Fault.HANG and (strike.after is None or not prompt.stream):
            return ResponsePlan([], Ending.HANG)
        self._service.allowance(self._wire).spend(self._now, prompt.tokens, reply.tokens)
        silence_s = self._settings.slow_s
        if strike is not None and strike.seconds is not None:
            silence_s = strike.seconds
        if prompt.stream:
            return self._stream(
                prompt, reply, strike, StreamPace(latency_ms / 1000.0, self._settings.token_ms / 1000.0, silence_s)
            )
        if strike is not None and strike.kind is Fault.SLOW_FIRST_TOKEN:
            latency_ms = silence_s * 1000.0
        return self._whole(self._wire.plain(prompt, reply, self._identity), strike, latency_ms)

    def _whole(self, body: bytes, strike: Strike | None, latency_ms: float) -> ResponsePlan:
        if strike is not None and strike.kind is Fault.MALFORMED:
            body = body[: len(body) // 2]
        plan = self.answer_whole(body, latency_ms)
        if strike is not None and strike.kind is Fault.CUT:
            delay, answer = plan.steps[0]
            return ResponsePlan([(delay, answer[: -(len(body) // 2) or None])], Ending.CLOSE)
        return plan

    def _stream(self, prompt: CallPrompt, reply: ModelAnswer, strike: Strike | None, pace: StreamPace) -> ResponsePlan:
        if not self._request.http_1_1:
            self._request = replace(self._request, keep_alive=False)
        top = stream_head(self._request, self._headers(pace.first_s * 1000.0, None))
        frames = self._wire.frames(prompt, reply, self._identity)
        plan = stream_plan(self._request, top, frames, pace, strike)
        if strike is not None and strike.kind is Fault.STREAM_ERROR:
            return with_event(self._request, plan, self._wire.error_event(), pace.gap_s)
        if strike is not None and strike.kind is Fault.MALFORMED:
            return with_event(self._request, plan, BROKEN_EVENT, pace.gap_s)
        return plan

    def _headers(self, latency_ms: float, refusal: ErrorAnswer | None) -> bytes:
        lines = self._wire.headers(self._identity, self._rates, self._now, refusal)
        return lines + b"x-model-ms: %.3f\r\n" % latency_ms
