"""What the connection does to answer a request: bytes, waits and an ending, decided beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from forebay.rehearsal.model_api.faults import Fault, Strike
from forebay.rehearsal.model_api.wire.wire_format import StreamFrames

from .http_message import LAST_CHUNK, HttpRequest, chunk

BROKEN_EVENT = b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"te\n\n'
"""An event whose data stops in the middle of its JSON; neither vendor's client can read it."""

_INSIDE = frozenset({Fault.HANG, Fault.CUT, Fault.EARLY_END, Fault.STREAM_ERROR, Fault.MALFORMED})


class Ending(Enum):
    """What becomes of the connection after the answer."""

    KEEP = "the next request may follow"
    CLOSE = "TCP closes"
    HANG = "nothing more happens until the client leaves"
    HOLD = "the answer is decided anew when an outage is over, if the client still waits"


@dataclass(slots=True)
class ResponsePlan:
    """The answer to one request."""

    steps: list[tuple[float, bytes]]
    """(seconds to wait, bytes to write after that), in order."""
    ending: Ending = Ending.KEEP
    provider: str | None = None
    """Whose call it is in the statistics; None for requests that are no call."""
    outcome: str = "ok"
    accepted: bool = False
    """Whether the call came in: it is then in progress until it finishes."""
    again: Callable[[], ResponsePlan] | None = None
    """Decides a held call anew."""


@dataclass(frozen=True, slots=True)
class StreamPace:
    """The waits of a streamed answer, in seconds."""

    first_s: float
    """Until the stream opens."""
    gap_s: float
    """Between two chunks."""
    silence_s: float
    """Between the opening and the first text, where a fault asks for it."""


def stream_plan(
    request: HttpRequest, top: bytes, frames: StreamFrames, pace: StreamPace, strike: Strike | None
) -> ResponsePlan:
    """A stream, with the fault that strikes it.

    `top` is the response head; frames are framed here. A fault inside the stream falls after `strike.after` pieces,
    or half of them.
    """
    kind = strike.kind if strike is not None else None
    shown = len(frames.deltas)
    if strike is not None and kind in _INSIDE:
        shown = min(shown // 2 if strike.after is None else strike.after, shown)
    steps = [(pace.first_s, top + chunk(request, frames.opening))]
    steps += [(pace.gap_s, chunk(request, delta)) for delta in frames.deltas[:shown]]
    if shown:
        steps[1] = (pace.silence_s if kind is Fault.SLOW_FIRST_TOKEN else 0.0, steps[1][1])
    end = LAST_CHUNK if request.http_1_1 else b""
    if kind in (Fault.CUT, Fault.HANG):
        return ResponsePlan(steps, Ending.CLOSE if kind is Fault.CUT else Ending.HANG)
    if kind is None or kind not in _INSIDE:
        steps.append((pace.gap_s, chunk(request, frames.closing) + end))
    elif kind is Fault.EARLY_END:
        steps.append((pace.gap_s, end))
    return ResponsePlan(steps, Ending.KEEP if request.keep_alive and request.http_1_1 else Ending.CLOSE)


def with_event(request: HttpRequest, plan: ResponsePlan, event: bytes, gap_s: float) -> ResponsePlan:
    """The plan of a stream that one last event breaks off; the HTTP body still ends cleanly."""
    end = LAST_CHUNK if request.http_1_1 else b""
    plan.steps.append((gap_s, chunk(request, event) + end))
    return plan


def ending_after(request: HttpRequest) -> Ending:
    """What becomes of the connection after an answer: it stays open where its client lets it."""
    return Ending.KEEP if request.keep_alive else Ending.CLOSE
