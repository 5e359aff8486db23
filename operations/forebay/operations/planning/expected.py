"""Expected: what an operator knows, or guesses, of a sale before it opens."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from .service_time import ServiceTime
from .traffic import Traffic

MARGIN = 1.1
"""Quota for so much more than what turns need: retries (1 to 2% of the calls where a provider gives way, docs/storms.md),
calls that a rebalance cuts off (about 1%), and turns with more tokens than the mean."""


_MOST = {
    "climb_s": 7_200,
    "hold_s": 604_800,
    "pod_start_s": 3_600,
    "turn_ttl_s": 604_800,
    "partitions": 20_000,
    "conversations": 5_000_000,
    "speed": 1_000,
}
"""Largest sale that is simulated within about a minute."""


@dataclass(frozen=True)
class Expected:
    """Rates in turns a second, times in seconds, quotas a minute, tokens a turn, money in USD."""

    peak: float
    calm: float
    climb_s: float = 300.0
    """From the calm rate to the peak."""
    hold_s: float = 1_800.0
    """At the peak."""
    service: ServiceTime = field(default_factory=lambda: ServiceTime(3.0, 20.0))
    concurrency: int = 50
    """Calls at once in a pod."""
    partitions: int | None = None
    """Of a topic that is there already; None where it is to be created."""
    wait_s: float = 5.0
    wait_share: float = 0.99
    """Share of the turns that wait no longer than ``wait_s``."""
    models: tuple[tuple[str, float], ...] = (("claude-haiku-4-5", 1.0),)
    """(name, share of the turns that a model answers), the shares 1 in all."""
    faq_share: float = 0.0
    """Turns that no model answers."""
    input_tokens: int = 900
    """Not read from the provider's cache."""
    output_tokens: int = 120
    cached_tokens: int = 0
    """Read from the provider's cache, beside those of ``input_tokens``. No quota counts them here."""
    rpm: float | None = None
    """Requests a minute that each model may be asked; None where it is not known."""
    tpm: float | None = None
    """Tokens a minute, written and read, of each model."""
    calls_at_once: int | None = None
    """Calls that the provider takes at once, of all pods."""
    budget_usd: float | None = None
    """Most to spend in a day."""
    conversations: int | None = None
    """Customers who chat; None where each waits for a reply before the next turn, and they do not matter."""
    pod_start_s: float = 20.0
    turn_ttl_s: float = 120.0
    opens: datetime | None = None
    """Local time of ``timezone``; None where no moment is known."""
    timezone: str = "UTC"
    speed: float = 1.0
    """The sale and its autoscaler in a time that is so many times shorter, as a rehearsal does it; calls take as long."""

    def __post_init__(self) -> None:
        """Raises ValueError for values that contradict each other or are out of range."""
        for name in ("peak", "calm", "climb_s", "hold_s", "wait_s", "pod_start_s", "turn_ttl_s", "speed"):
            self._is_positive(name)
        for name in ("rpm", "tpm", "calls_at_once", "budget_usd", "conversations", "partitions"):
            if getattr(self, name) is not None:
                self._is_positive(name)
        for name, most in _MOST.items():
            if (getattr(self, name) or 0) > most:
                raise ValueError(f"{_said(name)} is {most:,} at most, not {getattr(self, name):g}")
        if self.opens is not None and not _exists(self.opens, ZoneInfo(self.timezone)):
            raise ValueError(f"opens: {self.opens:%Y-%m-%d %H:%M} is no time that clocks show in {self.timezone}")
        shares = [share for _, share in self.models]
        for right, wrong in (
            (self.calm <= self.peak, f"the calm rate ({self.calm:g}/s) is above the peak ({self.peak:g}/s)"),
            (self.speed >= 1, f"speed is 1 at least, not {self.speed:g}: a rehearsal is no longer than the sale"),
            (1 <= self.concurrency <= 10_000, f"concurrency is 1 to 10,000 calls, not {self.concurrency}"),
            (0.5 <= self.wait_share < 1, f"wait is a percentile from p50 to p99.99, not p{100 * self.wait_share:g}"),
            (0 <= self.faq_share < 1, f"faq is a share from 0 to below 1, not {self.faq_share:g}"),
            (
                min(shares, default=0) > 0 and math.isclose(sum(shares), 1),
                "the models' shares are above 0, and 1 in all",
            ),
            (self.tokens > 0 and self.cached_tokens >= 0, "tokens: a turn has some in or out"),
        ):
            if not right:
                raise ValueError(wrong)

    def _is_positive(self, name: str) -> None:
        value = getattr(self, name)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{_said(name)} is more than 0, not {value:g}")

    def after_opening(self, seconds: float) -> datetime:
        """Local time so long after the opening, or before it; also where clocks are changed in between."""
        assert self.opens is not None
        zone = ZoneInfo(self.timezone)
        moment = self.opens.replace(tzinfo=zone).astimezone(UTC) + timedelta(seconds=seconds)
        return moment.astimezone(zone).replace(tzinfo=None)

    @property
    def tokens(self) -> int:
        """Tokens of a turn that count against a quota."""
        return self.input_tokens + self.output_tokens

    @property
    def asked(self) -> float:
        """Share of the turns that a model answers."""
        return 1 - self.faq_share

    def sale(self) -> Traffic:
        """From the opening until it is calm again, as long after the peak as it took to climb."""
        return self._traffic(1.0, before_s=0.0, hold_s=self.hold_s, falls_s=self.climb_s, after_s=0.0)

    def excerpt(self, before_s: float, hold_s: float) -> Traffic:
        """What models are asked of it: with some calm before it, perhaps less of the peak, and some calm behind it."""
        return self._traffic(self.asked, before_s, hold_s, min(60.0, self.climb_s), 60.0)

    def _traffic(self, share: float, before_s: float, hold_s: float, falls_s: float, after_s: float) -> Traffic:
        return Traffic.spike(
            self.calm * share,
            self.peak * share,
            opens_s=before_s,
            climbs_s=self.climb_s,
            holds_s=hold_s,
            falls_s=falls_s,
            rests_s=after_s,
        )


def _said(name: str) -> str:
    return name.removesuffix("_s").removesuffix("_usd").replace("_", " ")


def _exists(local: datetime, zone: ZoneInfo) -> bool:
    """Whether clocks show this time, and a day before and after it there is one too."""
    if not 2 <= local.year <= 9_998:
        return False
    return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local
