"""Which call fails, and how: pure decisions, with the dice as an argument."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """The ways in which the simulated API goes wrong."""

    RATE_LIMIT = "rate_limit"
    """429 with Retry-After."""
    SPEND_LIMIT = "spend_limit"
    """429 of a spent budget: no Retry-After, and a retry cannot help."""
    OVERLOADED = "overloaded"
    """529 from Anthropic, 503 from OpenAI."""
    SERVER_ERROR = "server_error"
    """500 after the usual latency."""
    HANG = "hang"
    """Nothing is ever answered; the connection stays open. With `after`, a stream shows so many pieces first."""
    SLOW_FIRST_TOKEN = "slow_first_token"  # noqa: S105
    """A stream opens in time and then stays silent for `seconds`; a plain call takes `seconds`."""
    CUT = "cut"
    """TCP closes in the middle of the answer."""
    EARLY_END = "early_end"
    """A stream ends cleanly without message_stop / finish_reason. Streams only."""
    STREAM_ERROR = "stream_error"
    """An error event inside a stream that began with 200. Streams only."""
    MALFORMED = "malformed"
    """200 with broken JSON: the body of a plain call, one event of a stream."""
    CONTEXT_TOO_LONG = "context_too_long"
    """400: the prompt exceeds the context, whatever its size."""


STREAM_ONLY = frozenset({Fault.EARLY_END, Fault.STREAM_ERROR})
_KINDS = frozenset(kind.value for kind in Fault)
_TRIGGER = re.compile(r"\[fault ([a-z_]+)(?: x(\d+))?\]")


@dataclass(frozen=True, slots=True)
class Strike:
    """One call's fault."""

    kind: Fault
    seconds: float | None = None
    """Retry-After of a rate limit, or the silence of a slow first token; None takes the settings' value."""
    after: int | None = None
    """Text chunks a faulty stream shows before it fails; None means half of them."""


@dataclass(slots=True)
class FaultRule:
    """A fault asked for while the API runs."""

    kind: Fault
    count: int | None = None
    """Calls still to strike; None for as long as the rule stands."""
    share: float = 1.0
    """Share of the matching calls that it strikes, 0..1."""
    match: str = ""
    """Text that the last user message must contain."""
    seconds: float | None = None
    after: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError, with one clear line, for a value that makes no sense."""
        self.kind = fault_kind(self.kind)
        if self.count is not None and (not _is_whole(self.count) or self.count < 1):
            raise ValueError(f"count must be a whole number of at least 1, got {self.count!r}")
        if not _is_number(self.share) or not 0 <= self.share <= 1:
            raise ValueError(f"share must be between 0 and 1, got {self.share!r}")
        if not isinstance(self.match, str):
            raise ValueError(f"match must be a text, got {self.match!r}")  # noqa: TRY004 - one error type for callers
        if self.seconds is not None and (not _is_number(self.seconds) or self.seconds < 0):
            raise ValueError(f"seconds must be a number of at least 0, got {self.seconds!r}")
        if self.after is not None and (not _is_whole(self.after) or self.after < 0):
            raise ValueError(f"after must be a whole number of at least 0, got {self.after!r}")

    def fits(self, text: str, stream: bool) -> bool:
        """Whether the rule may strike this call."""
        return self.count != 0 and self.match in text and (stream or self.kind not in STREAM_ONLY)


def fault_kind(name: object) -> Fault:
    """The fault of that name; ValueError names the known ones."""
    try:
        return Fault(str(name))
    except ValueError:
        raise ValueError(f"unknown fault {name!r}: choose one of {', '.join(Fault)}") from None


def read_rule(body: object) -> FaultRule:
    """A rule from the JSON of `POST /faults`; ValueError, with one clear line, for anything else."""
    if not isinstance(body, dict):
        raise ValueError('a fault is a JSON object such as {"kind": "rate_limit", "count": 1}')  # noqa: TRY004
    unknown = sorted(set(body) - {"kind", "count", "share", "match", "seconds", "after"})
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}: a fault takes kind, count, share, match, seconds and after")
    if "kind" not in body:
        raise ValueError(f"kind is missing: choose one of {', '.join(Fault)}")
    return FaultRule(**{name: value for name, value in body.items() if value is not None})


def check_shares(shares: Mapping[str, float]) -> None:
    """Raise ValueError for an unknown fault, a share outside 0..1, or shares above 1 together."""
    for name, share in shares.items():
        fault_kind(name)
        if not _is_number(share) or not 0 <= share <= 1:
            raise ValueError(f"the share of fault {str(name)!r} must be between 0 and 1, got {share!r}")
    if sum(shares.values()) > 1 + 1e-9:
        raise ValueError(f"the shares of all faults together must be at most 1, got {sum(shares.values()):g}")


def from_shares(shares: Mapping[str, float], roll: float, stream: bool) -> Strike | None:
    """The fault that a roll (0 <= roll < 1) hits when the shares lie side by side from 0."""
    for name, share in shares.items():
        if roll < share:
            kind = Fault(name)
            return None if kind in STREAM_ONLY and not stream else Strike(kind)
        roll -= share
    return None


def from_text(text: str, call: int, stream: bool) -> Strike | None:
    """The fault that a user asks for in the conversation itself.

    `[fault KIND]` strikes every call of the turn, `[fault KIND x2]` its first two. `call` counts the calls of this
    turn from 1. An unknown kind is ordinary text.
    """
    if "[fault " not in text:
        return None
    for name, times in _TRIGGER.findall(text):
        if name in _KINDS and not (times and call > int(times)) and (stream or Fault(name) not in STREAM_ONLY):
            return Strike(Fault(name))
    return None


def from_rules(rules: Sequence[FaultRule], text: str, roll: float, stream: bool) -> tuple[int, Strike] | None:
    """The first rule that strikes, as (index, strike); the caller takes one from its count."""
    for index, rule in enumerate(rules):
        if rule.fits(text, stream) and roll < rule.share:
            return index, Strike(rule.kind, rule.seconds, rule.after)
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
