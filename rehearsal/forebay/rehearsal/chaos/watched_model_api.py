"""The simulated model API of a run, which notes who asked it for which turn."""

from __future__ import annotations

import time
from typing import NamedTuple

import orjson

from forebay.rehearsal.model_api import ModelApi, ModelApiSettings
from forebay.rehearsal.model_api.http.http_message import HttpRequest
from forebay.rehearsal.model_api.http.response_plan import ResponsePlan
from forebay.rehearsal.model_api.service import CALL_PATHS, Service

ANSWERED = "ok"


class AnsweredCall(NamedTuple):
    """One call that the model answers in full, whether or not the caller lives to hear it."""

    turn_id: str
    caller: str
    """Its API key, by which a process is known."""
    at: float
    """Unix seconds at which it arrived."""


class WatchedModelApi(ModelApi):
    """Calls refused or broken off by a fault are not noted: nobody pays for them."""

    def __init__(self, settings: ModelApiSettings) -> None:
        super().__init__(settings)
        self.calls: list[AnsweredCall] = []
        self._service = _WatchedService(settings, self.calls)


class _WatchedService(Service):
    def __init__(self, settings: ModelApiSettings, calls: list[AnsweredCall]) -> None:
        super().__init__(settings)
        self._calls = calls

    def answer(self, request: HttpRequest) -> ResponsePlan:
        plan = super().answer(request)
        wire = CALL_PATHS.get(request.path)
        if wire is not None and plan.provider is not None and plan.outcome == ANSWERED:
            text = wire.read(orjson.loads(request.body)).last_text
            self._calls.append(AnsweredCall(text.partition(" ")[0], _caller(request), time.time()))
        return plan


def _caller(request: HttpRequest) -> str:
    key = request.headers.get(b"x-api-key") or request.headers.get(b"authorization", b"")
    return key.decode().removeprefix("Bearer ")
