"""The worker's settings: read once at the start, frozen, each with its unit and default."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import Field, field_validator

from forebay.schemas import FleetSettings

from .engine.fairness import PATIENCE_SHARE
from .flow.budget import Ceilings
from .models import Timeouts
from .store_settings import StoreSettings


class WorkerSettings(FleetSettings, StoreSettings):
    """Settings of one worker; ``drain_s`` is ``FOREBAY_DRAIN_S``, and so on."""

    concurrency: int = Field(default=50, ge=1, le=10_000)
    """Model calls in flight in this worker, at most: refusals bring it down, answers up again."""
    concurrency_floor: int = Field(default=1, ge=1, le=10_000)
    """Model calls in flight that are always tried."""
    rpm: float | None = Field(default=None, gt=0)
    """Requests a minute that each key may make; without it what the provider's headers say."""
    tpm: float | None = Field(default=None, gt=0)
    """Tokens a minute, written and read, for each key; without it what the provider's headers say."""
    limit_workers: int = Field(default=1, ge=1, le=10_000)
    """Among how many workers ``rpm`` and ``tpm`` are divided; with ``limits``, while Redis is away."""
    limits: str = ""
    """``redis://host:port/0``, where the fleet shares each key's quota; empty divides it by ``limit_workers``."""
    patience_s: float | None = Field(default=None, ge=0, le=86_400)
    """How long customers are taken to wait, in seconds: turns that waited longer go after those that did not; as much as
    the time to live is strictly by age, 0 newest first. Without it an eighth of ``FOREBAY_TURN_TTL_S``.
    """
    tenant_weights: str = ""
    """Shares of the tenants among each other, such as ``shop-eu=3,shop-us=1``; others weigh 1."""
    budget_hour_usd: float | None = Field(default=None, ge=0)
    """Most USD to spend in a clock hour (UTC), by all workers of one store."""
    budget_day_usd: float | None = Field(default=None, ge=0)
    """Most USD to spend in a day (UTC), by all workers of one store."""
    budget_tenant_hour_usd: float | None = Field(default=None, ge=0)
    """Most USD to spend for each tenant in a clock hour."""
    budget_tenant_day_usd: float | None = Field(default=None, ge=0)
    """Most USD to spend for each tenant in a day."""
    budget_near: float = Field(default=0.8, gt=0, le=1)
    """Share of a ceiling after which the cheapest model of the chain answers."""
    breaker_failures: int = Field(default=10, ge=1)
    """Failures in a row that open a model's circuit breaker."""
    breaker_open_s: float = Field(default=30.0, gt=0)
    """How long a breaker stays open, in seconds, before one call tries the model again."""
    hedge_share: float = Field(default=0.0, ge=0, le=0.5)
    """Most second calls for each call, beside those slower than the 95th percentile; 0 is none. 0.05 costs 5% more."""
    connect_timeout_s: float = Field(default=3.0, gt=0)
    """How long connecting to a provider may take, in seconds."""
    tls_timeout_s: float = Field(default=5.0, gt=0)
    """How long the TLS handshake may take, in seconds."""
    first_token_timeout_s: float = Field(default=30.0, gt=0)
    """How long the first piece of a streamed reply may take, in seconds."""
    between_tokens_timeout_s: float = Field(default=10.0, gt=0)
    """How long the next piece of a streamed reply may take, in seconds."""
    call_timeout_s: float = Field(default=60.0, gt=0)
    """How long a whole call may take, streamed or not, in seconds."""
    assistant: str | None = None
    """``package.module:attribute``; without it the built-in assistant."""
    model: str | None = None
    """The model of an assistant that names none, in place of ``claude-haiku-4-5``; ``provider:name`` for one that the
    catalogue lacks.
    """
    fallbacks: str = ""
    """Models to ask when the first cannot answer, in order, comma-separated; an assistant's own come first."""
    catalogue: Path | None = None
    """A TOML file of models and prices on top of the shipped ``workers/forebay/workers/models/catalogue.toml``."""
    drain_s: float = Field(default=25.0, ge=0, le=3_600)
    """How long turns in flight may take to finish after SIGTERM, in seconds."""
    health_port: int = Field(default=9464, ge=0, le=65_535)
    """Port of /livez, /readyz and /metrics on all interfaces; 0 takes a free one."""
    max_waiting: int = Field(default=10_000, ge=1, le=1_000_000)
    """Turns held in memory that wait or run; what is beyond waits in Kafka."""
    max_waiting_mib: int = Field(default=64, ge=1, le=16_384)
    """Keys and values held in memory, in MiB; what is beyond waits in Kafka."""

    @field_validator("tenant_weights")
    @classmethod
    def _weights_are_numbers(cls, value: str) -> str:
        for part in value.split(","):
            if part.strip():
                _weight(part)
        return value

    @property
    def connections(self) -> int:
        """To each provider: one for each permit, and for each second call."""
        return math.ceil(self.concurrency * (1 + self.hedge_share))

    def timeouts(self) -> Timeouts:
        """The bounds of one model call."""
        return Timeouts(
            self.connect_timeout_s,
            self.tls_timeout_s,
            self.first_token_timeout_s,
            self.between_tokens_timeout_s,
            self.call_timeout_s,
        )

    def patience(self) -> float:
        """After how long a turn goes behind those that have waited less, in seconds."""
        return PATIENCE_SHARE * self.turn_ttl_s if self.patience_s is None else self.patience_s

    def rate_limits(self) -> dict[str, float]:
        """This worker's part of each key's quota, a minute; all of it where the fleet shares it."""
        limits = {"requests": self.rpm, "tokens": self.tpm}
        share = 1 if self.limits else self.limit_workers
        return {name: limit / share for name, limit in limits.items() if limit is not None}

    def ceilings(self) -> Ceilings:
        """What may be spent."""
        return Ceilings(
            self.budget_hour_usd,
            self.budget_day_usd,
            self.budget_tenant_hour_usd,
            self.budget_tenant_day_usd,
            self.budget_near,
        )

    def weights(self) -> dict[str, float]:
        """The shares of ``tenant_weights``."""
        return dict(_weight(part) for part in self.tenant_weights.split(",") if part.strip())

    def fallback_names(self) -> tuple[str, ...]:
        """The models of ``fallbacks``."""
        return tuple(name.strip() for name in self.fallbacks.split(",") if name.strip())


def _weight(part: str) -> tuple[str, float]:
    name, separator, number = part.partition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = 0.0
    if not separator or not 0.01 <= weight <= 1000:
        raise ValueError(f"{part.strip()!r}: write tenant=number, the number from 0.01 to 1000")
    return name.strip(), weight
