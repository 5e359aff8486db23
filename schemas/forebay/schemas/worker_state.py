"""A worker's state, as it is on ``chat.workers``: once a second, keyed by worker id; a tombstone when it leaves."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class PartitionState(BaseModel):
    """One partition of ``chat.requests`` that a worker owns."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    partition: int = Field(ge=0)
    position: int = Field(ge=0, description="The next offset to fetch.")
    begun: int = Field(ge=0, description="Every turn below this offset has begun, or is done.")
    waiting: int = Field(ge=0, description="Turns fetched that have not begun.")
    in_flight: int = Field(ge=0, description="Turns that have begun and are not done.")
    paused: bool = Field(default=False, description="By an operator.")


class ModelState(BaseModel):
    """One model behind one key, as this worker sees it."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    name: str = Field(description="Provider and model, such as `anthropic/claude-haiku-4-5`.")
    breaker: Literal["closed", "open", "half_open"]
    reason: str = Field(default="", description="Why the breaker opened last.")
    quota_left: float = Field(default=1.0, description="Share of the rate limit that is left, of what is scarcest.")


class Spending(BaseModel):
    """Spending and its ceilings as far as this worker knows, in USD for the clock hour and day (UTC)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hour_usd: float = 0.0
    day_usd: float = 0.0
    hour_ceiling_usd: float | None = None
    day_ceiling_usd: float | None = None
    shared: bool = Field(
        default=False,
        description="Whether the amounts are those of all workers of one store, read from there because a ceiling is set:"
        " take the largest. Otherwise each worker counts the costs of its own replies since its start: add them up.",
    )


class WorkerState(BaseModel):
    """One worker at one moment. A state older than a few seconds means: killed, or cannot reach Kafka."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    worker_id: str = Field(min_length=1, max_length=256)
    version: str
    host: str
    pid: int
    group: str = Field(description="Consumer group.")
    started_at: AwareDatetime
    reported_at: AwareDatetime
    state: Literal["starting", "working", "paused", "draining"]
    trouble: str | None = Field(default=None, description="Why it takes no turns now, as `/readyz` says it.")
    alarm: str | None = Field(default=None, description="What only a restart mends, as `/livez` says it.")
    partitions: tuple[PartitionState, ...] = ()
    concurrency: int = Field(description="Most model calls in flight, as set.")
    permits: int = Field(description="Most model calls in flight now: refusals bring it down, answers up again.")
    in_flight: int = Field(description="Turns that have begun and are not done.")
    waiting: int = Field(description="Turns fetched that have not begun.")
    oldest_turn_s: float = Field(default=0.0, description="Age of the oldest turn here, since its record was written.")
    outcomes: dict[str, int] = Field(default_factory=dict, description="Turns by outcome since the start.")
    dead_letters: dict[str, int] = Field(default_factory=dict, description="By reason, since the start.")
    answered_a_second: float = Field(default=0.0, description="Turns done, whatever their outcome; the last 10 s.")
    models: tuple[ModelState, ...] = ()
    spending: Spending = Spending()
