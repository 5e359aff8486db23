"""Settings that workers and gateways share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .environment import Environment


class FleetSettings(Environment):
    """The group and the time to live are to be the same at all workers and gateways of a fleet."""

    group: str = Field(default="forebay-workers", min_length=1, max_length=249)
    """Consumer group of the workers. Gateways read from its progress how long the queue is."""
    turn_ttl_s: float = Field(default=120.0, gt=0, le=86_400)
    """How long a turn without ``expires_at`` may wait, in seconds."""
    log: Literal["json", "console"] = "json"
    """Form of the log lines."""
