"""Advice: what an operator should do about a plan, the most pressing first. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .bounds import Bound
from .expected import MARGIN, Expected
from .quota import QuotaNeed, calls_last_to
from .simulated import Simulated
from .sizing import FleetSize

_MUCH = 0.01
"""Share of the turns from which on something is worth mentioning."""


def advice(
    expected: Expected,
    fleet: FleetSize,
    quotas: tuple[QuotaNeed, ...],
    bounds: tuple[Bound, ...],
    unprepared: Simulated,
    prepared: Simulated,
) -> Iterator[str]:
    """The advice, each of one or two sentences."""
    yield from _of_quotas(expected, fleet, quotas)
    yield from _of_money(expected, bounds)
    yield from _of_waiting(expected, fleet, unprepared, prepared)
    yield from _of_settings(expected, fleet, prepared)


def _of_quotas(expected: Expected, fleet: FleetSize, quotas: tuple[QuotaNeed, ...]) -> Iterator[str]:
    if expected.rpm is None and expected.tpm is None:
        yield "What the provider allows is not in this plan: give --rpm and --tpm."
    for quota in quotas:
        short = []
        if quota.requests_last_to < expected.peak:
            short.append(f"{quota.requests_needed:,.0f} requests a minute (have {quota.requests_given:,.0f})")
        if quota.tokens_last_to < expected.peak:
            short.append(f"{quota.tokens_needed:,.0f} tokens a minute (have {quota.tokens_given:,.0f})")
        if short:
            yield (
                f"Ask the provider of {quota.model} for {' and '.join(short)}, or send turns to other models. "
                "More pods would only make 429s."
            )
    if expected.calls_at_once is not None and calls_last_to(expected) < expected.peak:
        wanted = expected.peak * expected.asked * expected.service.mean_s
        yield f"The provider takes {expected.calls_at_once:,} calls at once, and the peak has {wanted:,.0f}: ask it for more."
    if expected.rpm is not None or expected.tpm is not None:
        yield (
            "Let the pods share the quota by FOREBAY_LIMITS=redis://...; without Redis each keeps to one of "
            f"FOREBAY_LIMIT_WORKERS={fleet.max_pods} parts, also while fewer run."
        )


def _of_money(expected: Expected, bounds: tuple[Bound, ...]) -> Iterator[str]:
    for bound in bounds:
        if bound.resource == "budget" and bound.turns_per_s < expected.peak:
            yield (
                f"The budget is used up before the day is over: it lasts to a peak of {bound.turns_per_s:,.0f} turns/s. "
                "Raise it, or give easy turns to a cheaper model."
            )


def _of_waiting(expected: Expected, fleet: FleetSize, unprepared: Simulated, prepared: Simulated) -> Iterator[str]:
    late = f"{100 * (1 - expected.wait_share):.3g}% of the peak's turns wait"
    waits_s, alone_s = (sale.spike.percentile_s(expected.wait_share) for sale in (prepared, unprepared))
    if waits_s > expected.wait_s or prepared.expired:
        yield (
            f"Even with pods there in time {late} {waits_s:,.0f} s or longer"
            + (f" and {prepared.expired:,} expire" if prepared.expired else "")
            + ": raise what breaks first, answer more by the FAQ, or turn some away at the gateway."
        )
    elif alone_s > expected.wait_s or unprepared.expired:
        yield (
            f"Pre-scale: with the autoscaler alone {late} {alone_s:,.0f} s or longer"
            + (f" and {unprepared.expired:,} expire." if unprepared.expired else ".")
        )
    if expected.conversations:
        behind = [sample.waiting - sample.ready for sample in prepared.samples]
        if max(behind) > _MUCH * prepared.peak_in_flight:
            yield (
                f"Up to {max(behind):,} turns wait for an earlier turn of their own conversation: more pods do not change "
                "that, faster answers do."
            )


def _of_settings(expected: Expected, fleet: FleetSize, prepared: Simulated) -> Iterator[str]:
    lag = max(sample.lag for sample in prepared.samples)
    if (wanted := math.ceil(lag / fleet.lag_threshold)) > fleet.max_pods:
        yield (
            f"Expect a lag of up to {lag:,} with {prepared.peak_in_flight:,} calls under way: it counts answered turns "
            f"behind the oldest one too. The autoscaler would take it for {wanted} pods; the maximum keeps it "
            f"at {fleet.max_pods}."
        )
    if (longest := expected.service.percentile_s(0.999)) > fleet.drain_s:
        yield (
            f"One call in a thousand takes longer than {longest:.0f} s: FOREBAY_CALL_TIMEOUT_S and the drain are "
            f"{fleet.drain_s} s, and what takes longer is made anew."
        )
    if prepared.called_again > _MUCH * prepared.calls:
        yield f"Rebalances cut off {prepared.called_again:,} of {prepared.calls:,} calls, which are made anew."
    if expected.partitions is None:
        yield f"Create the topic with {fleet.partitions} partitions now: more of them later break the order of conversations."
    elif any(fleet.partitions % pods for pods in (fleet.pods, fleet.max_pods)):
        yield f"{fleet.partitions} partitions are not shared evenly: {fleet.pods} pods are for those that have most of them."
    yield f"Quotas and calls are planned with {MARGIN - 1:.0%} to spare; prove the plan with `forebay rehearse`."
