"""The requests that steer and watch the simulated API: `/faults`, `/limits`, `/stats`, `/healthz`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar

import orjson

from forebay.rehearsal.model_api.http.http_message import HttpRequest, whole
from forebay.rehearsal.model_api.limits.provider_gate import ProviderGate

from .errors import ModelApiError
from .faults import FaultRule, Strike, from_rules, read_rule
from .stats import Stats


class Control:
    """The fault rules in force, and the answers to control requests."""

    PATHS: ClassVar = frozenset({"/faults", "/limits", "/stats", "/healthz"})

    def __init__(self, stats: Callable[[], Stats], admission: ProviderGate) -> None:
        self._counts = stats
        self._admission = admission
        self._rules: list[FaultRule] = []

    def add(self, rule: FaultRule) -> None:
        """Put a rule behind those in force."""
        self._rules.append(rule)

    def clear(self) -> None:
        """Drop every rule."""
        self._rules.clear()

    def strike(self, text: str, roll: float, stream: bool) -> Strike | None:
        """The fault that the first fitting rule gives this call, taken from its count."""
        found = from_rules(self._rules, text, roll, stream) if self._rules else None
        if found is None:
            return None
        index, strike = found
        rule = self._rules[index]
        if rule.count is not None:
            rule.count -= 1
            if rule.count == 0:
                del self._rules[index]
        return strike

    def answer(self, request: HttpRequest) -> bytes:
        """The whole answer to a control request."""
        status, body = self._handle(request)
        return whole(request, status, orjson.dumps(body))

    def _handle(self, request: HttpRequest) -> tuple[int, Any]:
        match request.method, request.path:
            case "GET" | "HEAD", "/healthz":
                return 200, {"status": "ok"}
            case "GET" | "HEAD", "/stats":
                return self._stats(request.query)
            case "GET" | "HEAD", "/faults":
                return 200, {"faults": [asdict(rule) for rule in self._rules]}
            case "DELETE", "/faults":
                self.clear()
                return 200, {"faults": []}
            case "POST", "/faults":
                return self._add_posted(request.body)
            case "GET" | "HEAD", "/limits":
                return 200, self._admission.limits.shown()
            case "DELETE", "/limits":
                self._admission.reset()
                return 200, self._admission.limits.shown()
            case "POST", "/limits":
                return self._change_limits(request.body)
        return 405, {"error": f"{request.method} is not possible on {request.path}"}

    def _stats(self, query: str) -> tuple[int, Any]:
        shown = dict(pair.partition("=")[::2] for pair in query.split("&")).get("turns", "all")
        if shown not in ("all", "repeated", "none"):
            return 400, {"error": f"turns must be all, repeated or none, got {shown!r}"}
        return 200, stats_json(self._counts(), shown)

    def _add_posted(self, body: bytes) -> tuple[int, Any]:
        try:
            rules = orjson.loads(body)
            read = [read_rule(rule) for rule in (rules if isinstance(rules, list) else [rules])]
        except ValueError as error:
            return 400, {"error": str(error)}
        self._rules += read
        return 200, {"faults": [asdict(rule) for rule in self._rules]}

    def _change_limits(self, body: bytes) -> tuple[int, Any]:
        try:
            fields = orjson.loads(body)
            if not isinstance(fields, dict):
                return 400, {"error": 'limits are a JSON object such as {"max_in_flight": 8}'}
            self._admission.change(fields)
        except (ValueError, ModelApiError) as error:
            return 400, {"error": str(error)}
        return 200, self._admission.limits.shown()


def stats_json(stats: Stats, turns: str) -> dict[str, Any]:
    """The JSON of `GET /stats`; `turns` is `all`, `repeated` (called more than once) or `none`."""
    shown = {"all": lambda: dict(stats.turns), "repeated": stats.repeated, "none": dict}[turns]()
    return {
        "calls": stats.calls,
        "begun": stats.begun,
        "in_flight": stats.in_flight,
        "peak_in_flight": stats.peak_in_flight,
        "accepted": stats.accepted,
        "refused": stats.refused,
        "working": stats.working,
        "peak_working": stats.peak_working,
        "window_tokens": stats.window_tokens,
        "peak_window_tokens": stats.peak_window_tokens,
        "keys": {provider: {name: asdict(key) for name, key in keys.items()} for provider, keys in stats.keys.items()},
        "distinct_turns": len(stats.turns),
        "turns": shown,
    }
