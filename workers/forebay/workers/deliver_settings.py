"""Settings of ``forebay deliver``: read once at the start, frozen, each with its unit and default."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from forebay.schemas import FleetSettings

from .flow.breaker import BreakerPolicy
from .settings import WorkerSettings
from .webhooks.deliveries import DeliveryBounds


class DeliverSettings(FleetSettings):
    """Settings of one deliverer of webhooks."""

    webhooks: Path = Path("webhooks.toml")
    """The file that names the servers, their secrets and their events."""
    webhooks_concurrency: int = Field(default=200, ge=1, le=10_000)
    """Requests under way in this process, at most."""
    webhooks_at_once: int = Field(default=20, ge=1, le=10_000)
    """Requests under way to one destination, at most."""
    webhooks_timeout_s: float = Field(default=15.0, gt=0, le=300)
    """How long a server may take to answer, in seconds."""
    webhooks_ttl_s: float = Field(default=3600.0, gt=0, le=86_400)
    """Age of a reply after which it is a dead letter instead of being tried again, in seconds."""
    webhooks_max_waiting: int = Field(default=10_000, ge=4, le=1_000_000)
    """Replies held in memory that wait or are being sent; of one destination that is down at most a quarter."""
    webhooks_breaker_failures: int = Field(default=5, ge=1)
    """Failures in a row that open a destination's circuit breaker."""
    webhooks_breaker_open_s: float = Field(default=10.0, gt=0)
    """How long a breaker stays open, in seconds, before one request tries the destination again."""
    drain_s: float = Field(default=25.0, ge=0, le=3_600)
    """How long requests under way may take to finish after SIGTERM, in seconds."""
    health_port: int = Field(default=9464, ge=0, le=65_535)
    """Port of /livez, /readyz and /metrics on all interfaces; 0 takes a free one."""

    def bounds(self) -> DeliveryBounds:
        """What bounds the deliveries."""
        return DeliveryBounds(self.webhooks_ttl_s, self.webhooks_max_waiting // 4, self.webhooks_at_once)

    def breaker(self) -> BreakerPolicy:
        """When a destination's breaker opens."""
        return BreakerPolicy(failures=self.webhooks_breaker_failures, open_s=self.webhooks_breaker_open_s)

    def engine(self) -> WorkerSettings:
        """What the engine needs to know: a group of its own, and records by age."""
        return WorkerSettings.model_construct(
            group=f"{self.group}.deliver",
            concurrency=self.webhooks_concurrency,
            max_waiting=self.webhooks_max_waiting,
            turn_ttl_s=self.webhooks_ttl_s,
            patience_s=self.webhooks_ttl_s,
            call_timeout_s=self.webhooks_timeout_s,
            drain_s=self.drain_s,
        )
