"""The autoscaler: how many worker pods KEDA and Kubernetes' autoscaler would start. Pure: time is an argument.

KEDA's Kafka trigger hands the group's lag to a HorizontalPodAutoscaler as a metric with an average value for each pod, its
cron trigger a number of pods; the largest counts. The rules are those of the HorizontalPodAutoscaler v2: tolerance, scale-up
policies of which the larger holds, and a window over which the highest wish stands before it scales in.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, fields, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class PreScale:
    """Pods wanted from one moment to another, whatever the lag: KEDA's cron trigger."""

    from_s: float
    until_s: float
    pods: int


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a ScaledObject says, times in seconds."""

    min_pods: int = 1
    max_pods: int = 4
    lag_threshold: int = 40
    """Lag a pod: turns not yet committed, those in flight among them. Near 0.8 x the calls that a pod makes at once."""
    every_s: float = 15.0
    """Between two looks: the autoscaler's own period (``--horizontal-pod-autoscaler-sync-period``)."""
    tolerance: float = 0.1
    """Relative difference between wanted and running pods within which nothing is done."""
    up_percent: float = 300.0
    up_pods: int = 24
    up_period_s: float = 15.0
    down_window_s: float = 300.0
    down_pods: int = 2
    down_period_s: float = 60.0
    pod_start_s: float = 20.0
    """From the decision to a worker that takes turns: scheduling, image, start, joining its group."""
    pre_scale: PreScale | None = None

    def faster(self, speed: float) -> Self:
        """The same in a time that is so many times shorter."""
        times = {f.name: getattr(self, f.name) / speed for f in fields(self) if f.name.endswith("_s")}
        early = self.pre_scale
        if early is not None:
            early = PreScale(early.from_s / speed, early.until_s / speed, early.pods)
        return replace(self, **times, pre_scale=early)


class Autoscaler:
    """Decides how many pods run; call `decide` every ``every_s`` seconds."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        self._wishes: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def decide(self, now: float, lag: int, pods: int) -> int:
        """Pods wanted from now on, given the group's lag in turns and the pods there are, those that start included."""
        scaling = self._scaling
        wish = min(scaling.max_pods, max(scaling.min_pods, self._wish(now, lag, pods)))
        self._wishes.append((now, wish))
        while self._wishes[0][0] <= now - scaling.down_window_s:
            self._wishes.popleft()
        if wish > pods:
            wish = min(wish, self._highest(now, pods))
        elif wish < pods:  # only as far as the highest wish of the window
            wish = max(min(pods, max(wish for _, wish in self._wishes)), self._lowest(now, pods))
        if wish != pods:
            self._changes.append((now, wish - pods))
        return wish

    def _wish(self, now: float, lag: int, pods: int) -> int:
        scaling = self._scaling
        by_lag = math.ceil(lag / scaling.lag_threshold)
        if pods and abs(lag / (scaling.lag_threshold * pods) - 1) <= scaling.tolerance:
            by_lag = pods
        early = scaling.pre_scale
        by_clock = early.pods if early is not None and early.from_s <= now < early.until_s else 0
        return max(by_lag, by_clock)

    def _highest(self, now: float, pods: int) -> int:
        scaling = self._scaling
        began = pods - sum(by for at, by in self._changes if at > now - scaling.up_period_s and by > 0)
        return max(began + scaling.up_pods, math.ceil(began * (1 + scaling.up_percent / 100)))

    def _lowest(self, now: float, pods: int) -> int:
        scaling = self._scaling
        began = pods - sum(by for at, by in self._changes if at > now - scaling.down_period_s and by < 0)
        return began - scaling.down_pods
