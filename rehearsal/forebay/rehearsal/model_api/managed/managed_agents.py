"""The simulated Claude Managed Agents: agents, environments, sessions and their events, as the real SDK asks for them.

Replies are those of the Messages API, faults too as far as a session has them (see `managed_session`). A session waits
strictly: it takes no message while it waits for results of tools.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

import orjson

from forebay.rehearsal.model_api.http.endless_stream import EndlessStream
from forebay.rehearsal.model_api.http.http_message import HttpRequest
from forebay.rehearsal.model_api.http.response_plan import ResponsePlan
from forebay.rehearsal.model_api.limits.sliding_window import SlidingWindow
from forebay.rehearsal.model_api.wire.anthropic_request import invalid
from forebay.rehearsal.model_api.wire.error_answer import CallRefused, ErrorAnswer
from forebay.rehearsal.model_api.wire.wire_format import Wire

from . import managed_shapes
from .managed_session import ManagedSession

if TYPE_CHECKING:
    from forebay.rehearsal.model_api.service import Service

PATHS = ("/v1/agents", "/v1/environments", "/v1/sessions")
SESSIONS_PER_WINDOW = 60
WINDOW_S = 60.0
_MOST_EVENTS = 1000

_Thing = TypeVar("_Thing")

_log = logging.getLogger(__name__)


class ManagedAgents:
    """All that one organisation has."""

    def __init__(self, service: Service, wire: Wire) -> None:
        self.sessions: dict[str, ManagedSession] = {}
        self.refused = 0
        """Creations of sessions over the limit."""
        self._service, self._wire = service, wire
        self._agents: dict[str, dict[str, Any]] = {}
        self._environments: dict[str, dict[str, Any]] = {}
        self._numbers = 0
        self.limit(SESSIONS_PER_WINDOW, WINDOW_S)

    def limit(self, sessions: int, window_s: float) -> None:
        """How many sessions may be created in any ``window_s`` seconds from now on."""
        self._most, self._created = sessions, SlidingWindow(window_s)

    @property
    def made(self) -> tuple[int, int, int]:
        """Agents, environments and sessions that exist."""
        return len(self._agents), len(self._environments), len(self.sessions)

    def new_id(self, kind: str) -> str:
        """Such as `sesn_01…`."""
        self._numbers += 1
        return f"{kind}_01{self._numbers:022x}"

    def plan(
        self,
        request: HttpRequest,
        refuse: Callable[[ErrorAnswer, float], ResponsePlan],
        whole: Callable[[bytes, float], ResponsePlan],
    ) -> ResponsePlan:
        """The answer to a request for one of the `PATHS`; ``refuse`` and ``whole`` put it into the vendor's words."""
        try:
            answer = self._checked(request)
            plan = answer if isinstance(answer, EndlessStream) else whole(orjson.dumps(answer), 0.0)
        except CallRefused as refused:
            plan = refuse(refused.refusal, 0.0)
        except Exception:
            _log.exception("the simulated Managed Agents failed on a request")
            plan = refuse(self._wire.server_error(), 0.0)
        plan.provider = None
        return plan

    def _checked(self, request: HttpRequest) -> dict[str, Any] | EndlessStream:
        refusal = self._wire.unauthorized(request.headers) if self._service.settings.keep_api_key_check else None
        if refusal is not None or request.too_large:
            raise CallRefused(refusal or self._wire.too_large())
        return self._answer(request)

    def _answer(self, request: HttpRequest) -> dict[str, Any] | EndlessStream:
        query = parse_qs(request.query)
        match request.method, request.path.strip("/").split("/")[1:]:
            case "POST", ["agents"]:
                made = managed_shapes.agent(self.new_id("agent"), _body(request), self._now)
                return self._agents.setdefault(made["id"], made)
            case "GET", ["agents", agent_id]:
                return _found(self._agents, agent_id)
            case "POST", ["environments"]:
                made = managed_shapes.environment(self.new_id("env"), _body(request), self._now)
                return self._environments.setdefault(made["id"], made)
            case "GET", ["environments", environment_id]:
                return _found(self._environments, environment_id)
            case "POST", ["sessions"]:
                return self._shown(self._create(_body(request)))
            case "GET", ["sessions"]:
                return {"data": [self._shown(session) for session in self.sessions.values()], "next_page": None}
            case method, ["sessions", session_id, *rest]:
                return self._of_session(method, _found(self.sessions, session_id), rest, request, query)
        raise CallRefused(ErrorAnswer(404, "unknown_path", "not_found_error", "Not found"))

    def _of_session(
        self, method: str, session: ManagedSession, rest: list[str], request: HttpRequest, query: dict[str, list[str]]
    ) -> dict[str, Any] | EndlessStream:
        match method, rest:
            case "GET", []:
                return self._shown(session)
            case "DELETE", []:
                session.terminate()
                del self.sessions[session.id]
                return {"id": session.id, "type": "session_deleted"}
            case "POST", ["archive"]:
                session.terminate()
                return self._shown(session)
            case "POST", ["events"]:
                events = _body(request).get("events")
                if not isinstance(events, list) or not events:
                    raise invalid("events: Field required")
                return {"data": session.send(events)}
            case "GET", ["events"]:
                return _page(session.events, query)
            case "GET", ["events", "stream"] | ["stream"]:
                feed = EndlessStream.open(request, b"request-id: req_%b\r\n" % self.new_id("s").encode(), session.watch)
                feed.previews = "agent.message" in query.get("event_deltas[]", [])
                return feed
        raise CallRefused(ErrorAnswer(405, "wrong_method", "invalid_request_error", "Method Not Allowed"))

    def _create(self, body: dict[str, Any]) -> ManagedSession:
        now = self._service.clock()
        asked = body.get("agent")
        given = asked if isinstance(asked, dict) else {"id": asked}
        agent = _found(self._agents, given.get("id")) | {}
        if given.get("type") == "agent_with_overrides":
            agent |= {name: given[name] for name in ("system", "tools") if name in given}
            if "model" in given:
                agent["model"] = managed_shapes.model_config(given["model"])
        environment = _found(self._environments, body.get("environment_id"))
        self._created.advance(now)
        if (wait_s := self._created.call_fits_in_s(now, self._most)) > 0:
            self.refused += 1
            message = "This request would exceed your organization's rate limit of sessions created per minute."
            raise CallRefused(ErrorAnswer(429, "rate_limit", "rate_limit_error", message).with_retry_after(wait_s))
        self._created.add(now, 0)
        session = ManagedSession(self.new_id("sesn"), agent, environment["id"], self._service)
        self.sessions[session.id] = session
        if body.get("initial_events"):
            session.send(body["initial_events"])
        return session

    def _shown(self, session: ManagedSession) -> dict[str, Any]:
        return managed_shapes.session(session, self._now)

    @property
    def _now(self) -> str:
        return managed_shapes.stamp(self._service.clock())


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"The request body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise invalid("Input should be a valid dictionary")
    return body


def _found(things: Mapping[str, _Thing], thing_id: object) -> _Thing:
    if thing_id not in things:
        raise CallRefused(ErrorAnswer(404, "not_found", "not_found_error", f"{thing_id} was not found"))
    return things[str(thing_id)]


def _page(events: list[dict[str, Any]], query: dict[str, list[str]]) -> dict[str, Any]:
    """One page of a session's history; the cursor is the number of events before it."""
    wanted = query.get("types[]")
    found = [event for event in events if not wanted or event["type"] in wanted]
    if query.get("order") == ["desc"]:
        found.reverse()
    start, most = int(query.get("page", ["0"])[0]), int(query.get("limit", [str(_MOST_EVENTS)])[0])
    end = start + most
    return {"data": found[start:end], "next_page": str(end) if end < len(found) else None}
