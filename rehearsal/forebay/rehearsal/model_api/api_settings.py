"""What a person may set on the simulated model API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from forebay.rehearsal.model_api.limits.provider_limits import Limits

from .errors import ModelApiError
from .faults import check_shares

Distribution = Literal["uniform", "lognormal"]


@dataclass(frozen=True, slots=True)
class ModelApiSettings:
    """Settings of one simulated model API. The same settings and call order give the same latencies and faults."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """TCP port; 0 takes a free one."""
    latency_ms: float = 300.0
    """Mean milliseconds from the request read to the answer written. 0 answers in the same loop tick."""
    jitter: float = 0.5
    """Spread as a share of the mean: half the width when uniform (0..1), standard deviation / mean when lognormal."""
    distribution: Distribution = "uniform"
    """Shape of the latency."""
    seed: int = 7
    """Seed of the latencies and of the faults, which draw from separate sequences."""
    slow_every: int = 0
    """Every Nth call takes `slow_s` instead; 0 for none."""
    slow_s: float = 30.0
    """Seconds of a slow call, and of a `slow_first_token` fault that names no seconds."""
    first_token_ms: float | None = None
    """Mean milliseconds to the start of a streamed answer, with the same jitter; None means `latency_ms`."""
    token_ms: float = 5.0
    """Milliseconds between two streamed chunks; 0 writes the whole stream at once."""
    context_tokens: int = 200_000
    """Longest prompt in estimated tokens; a longer one is answered 400."""
    faults: Mapping[str, float] = field(default_factory=dict)
    """Fault kind to its share of the calls (0..1); the shares add up to at most 1."""
    limits: Limits = field(default_factory=Limits)
    """What the provider allows at the start; without limits by default."""
    keep_api_key_check: bool = True
    """Answer 401 to a call without an API key, or whose key contains `invalid`."""
    gullible: bool = False
    """Whether the model does what a tool's result tells it to, such as `cancel order 1001`: for tests of injections."""

    def __post_init__(self) -> None:
        """Raise ModelApiError for a value that makes no sense."""
        for name in ("latency_ms", "jitter", "slow_every", "slow_s", "token_ms", "context_tokens"):
            if getattr(self, name) < 0:
                raise ModelApiError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.first_token_ms is not None and self.first_token_ms < 0:
            raise ModelApiError(f"first_token_ms must not be negative, got {self.first_token_ms}")
        if not 0 <= self.port <= 65535:
            raise ModelApiError(f"port must be between 0 and 65535, got {self.port}")
        if self.distribution not in get_args(Distribution):
            raise ModelApiError(f"distribution must be uniform or lognormal, got {self.distribution!r}")
        if self.distribution == "uniform" and self.jitter > 1:
            raise ModelApiError(f"jitter of a uniform latency must be at most 1, got {self.jitter}")
        try:
            check_shares(self.faults)
        except ValueError as error:
            raise ModelApiError(str(error)) from None
