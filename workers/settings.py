"""The worker's settings: read once at the start, frozen, each with its unit and default."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from schemas import Environment


class WorkerSettings(Environment):
    """Settings of one worker; ``drain_s`` is ``SPILLWAY_DRAIN_S``, and so on."""

    group: str = Field(default="spillway-workers", min_length=1, max_length=249)
    """Consumer group."""
    concurrency: int = Field(default=50, ge=1, le=10_000)
    """Model calls in flight in this worker."""
    store: str = "sqlite:///spillway.db"
    """Where conversations and stored replies are kept."""
    assistant: str | None = None
    """``package.module:attribute``; None is the built-in assistant."""
    model: str | None = None
    """The model of an assistant that names none."""
    catalogue: Path | None = None
    """A file of models and prices on top of the shipped one."""
    turn_ttl_s: float = Field(default=120.0, gt=0, le=86_400)
    """How long a turn without ``expires_at`` may wait, in seconds."""
    drain_s: float = Field(default=25.0, ge=0, le=3_600)
    """How long turns in flight may take to finish after SIGTERM, in seconds."""
    health_port: int = Field(default=9464, ge=0, le=65_535)
    """Port of /livez, /readyz and /metrics on all interfaces; 0 takes a free one."""
    log: Literal["json", "console"] = "json"
    """Form of the log lines."""
    max_waiting: int = Field(default=10_000, ge=1, le=1_000_000)
    """Turns held in memory that wait or run; what is beyond waits in Kafka."""
    max_waiting_mib: int = Field(default=64, ge=1, le=16_384)
    """The same bound in MiB of keys and values."""
