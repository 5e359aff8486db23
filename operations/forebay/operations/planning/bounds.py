"""Bounds: at which peak each resource is exhausted, so that what breaks first is known before the sale. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from .expected import Expected
from .money import Money, budget_lasts_to
from .quota import QuotaNeed, calls_last_to
from .simulation import REBALANCE_S
from .sizing import GATEWAY_TURNS, FleetSize

WORKER_CPU_MS = 1.23
"""Milliseconds of one core for a turn, with the SDK, the store, FAQ and redaction (docs/benchmarks.md, "The whole way")."""
GATEWAY_ACCEPTS = 3_070.0
"""Turns a second that one gateway was measured to accept (docs/gateway.md, "Measured")."""


class Bound(NamedTuple):
    """The peak at which one resource is exhausted."""

    resource: str
    turns_per_s: float
    """Peak at which it is exhausted."""
    why: str
    """Why, and so what would raise it."""


def bounds(
    expected: Expected, fleet: FleetSize, quotas: tuple[QuotaNeed, ...], spent: Money | None
) -> tuple[Bound, ...]:
    """All bounds that are known and finite; what breaks first comes first."""
    found = [*_provider(expected, quotas), *_pods(expected, fleet), *_gateways(fleet), *_patience(expected, fleet)]
    if expected.budget_usd is not None and spent is not None:
        found.append(
            Bound("budget", budget_lasts_to(expected, spent), f"{expected.budget_usd:,.2f} USD a day for this sale")
        )
    return tuple(sorted((bound for bound in found if math.isfinite(bound.turns_per_s)), key=lambda b: b.turns_per_s))


def _provider(expected: Expected, quotas: tuple[QuotaNeed, ...]) -> Iterator[Bound]:
    for quota in quotas:
        of = "" if len(quotas) == 1 else f" of {quota.model}"
        if quota.requests_given is not None:
            yield Bound(f"requests a minute{of}", quota.requests_last_to, f"{quota.requests_given:,.0f} a minute")
        if quota.tokens_given is not None:
            why = f"{quota.tokens_given:,.0f} a minute, {expected.tokens:,} a turn"
            yield Bound(f"tokens a minute{of}", quota.tokens_last_to, why)
    if expected.calls_at_once is not None:
        why = f"{expected.calls_at_once:,} of {expected.service.mean_s:.1f} s"
        yield Bound("calls at once", calls_last_to(expected), why)


def _pods(expected: Expected, fleet: FleetSize) -> Iterator[Bound]:
    calls = f"calls of {expected.service.mean_s:.1f} s"
    most = fleet.max_pods * expected.concurrency
    yield Bound("pods", fleet.rate_of(fleet.max_pods), f"{fleet.max_pods} x {expected.concurrency} = {most:,} {calls}")
    why = f"{fleet.partitions}, of which a pod needs one"
    yield Bound("partitions", fleet.rate_of(fleet.partitions), why)
    yield Bound(
        "worker CPU", fleet.max_pods * 1000 / WORKER_CPU_MS, f"{fleet.max_pods} cores, {WORKER_CPU_MS} ms a turn"
    )


def _gateways(fleet: FleetSize) -> Iterator[Bound]:
    each = f"{fleet.gateways} x"
    yield Bound("gateway rate limit", fleet.gateways * GATEWAY_TURNS, f"{each} {GATEWAY_TURNS:,.0f} as shipped")
    yield Bound("gateway CPU", fleet.gateways * GATEWAY_ACCEPTS, f"{each} {GATEWAY_ACCEPTS:,.0f} measured")


def _patience(expected: Expected, fleet: FleetSize) -> Iterator[Bound]:
    """Where turns expire: while a fleet at its minimum is still to grow, or at a peak that is more than all pods take.

    A backlog that grows for T seconds at the rate r, with capacity for c, makes the last wait T (1 - c / r).
    """
    grows_s = fleet.scaling.every_s + expected.pod_start_s + REBALANCE_S
    ttl_s = expected.turn_ttl_s
    if grows_s > ttl_s:
        rate = fleet.rate_of(fleet.min_pods) / (1 - ttl_s / grows_s)
        yield Bound("time to live, until pods come", rate, f"{ttl_s:g} s, and pods take {grows_s:.0f} s")
    if expected.hold_s > ttl_s:
        rate = fleet.rate_of(fleet.max_pods) / (1 - ttl_s / expected.hold_s)
        yield Bound("time to live, at the peak", rate, f"{ttl_s:g} s, at more than all pods take")
