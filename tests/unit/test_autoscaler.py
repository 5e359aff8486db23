"""The autoscaler: KEDA's triggers under the rules of the HorizontalPodAutoscaler."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.operations.planning.autoscaler import Autoscaler, PreScale, Scaling


def run(scaling: Scaling, lags: list[int], pods: int = 1) -> list[int]:
    autoscaler, wanted = Autoscaler(scaling), []
    for number, lag in enumerate(lags):
        pods = autoscaler.decide(number * scaling.every_s, lag, pods)
        wanted.append(pods)
    return wanted


def test_a_pod_for_each_threshold() -> None:
    assert run(Scaling(max_pods=50, lag_threshold=40), [401]) == [11]


def test_within_the_tolerance_nothing_is_done() -> None:
    scaling = Scaling(max_pods=50, lag_threshold=40, down_window_s=0.1)
    assert run(scaling, [430, 361, 441], pods=10) == [10, 10, 12]


def test_the_larger_policy_holds_and_speed_is_bounded() -> None:
    slow = Scaling(max_pods=100, up_percent=100, up_pods=4, up_period_s=15)
    assert run(slow, [100_000] * 5, pods=2) == [6, 12, 24, 48, 96]
    slower = Scaling(max_pods=100, up_percent=0, up_pods=4, up_period_s=60)
    assert run(slower, [100_000] * 6, pods=2) == [6, 6, 6, 6, 10, 10]


def test_scaling_in_waits_for_the_window_and_goes_slowly() -> None:
    scaling = Scaling(max_pods=20, down_window_s=60, down_pods=2, down_period_s=30)
    assert run(scaling, [800, *[0] * 8], pods=1)[:4] == [20, 20, 20, 20]
    assert run(scaling, [800, *[0] * 8], pods=1)[4:] == [18, 18, 16, 16, 14]


def test_a_dip_within_the_window_takes_no_pod_away() -> None:
    assert run(Scaling(max_pods=20, down_window_s=60), [400, 0, 400, 0, 400], pods=10) == [10] * 5


def test_the_clock_scales_before_the_lag_does() -> None:
    scaling = Scaling(max_pods=20, pre_scale=PreScale(15, 60, 12), down_window_s=0.1, down_pods=100)
    assert run(scaling, [0, 0, 0, 0, 0]) == [1, 12, 12, 12, 1]


@given(
    st.builds(
        Scaling,
        min_pods=st.integers(1, 5),
        max_pods=st.integers(5, 40),
        lag_threshold=st.integers(1, 100),
        up_percent=st.floats(0, 400),
        up_pods=st.integers(1, 30),
        down_pods=st.integers(1, 10),
        down_window_s=st.floats(0.1, 400),
    ),
    st.lists(st.integers(0, 10_000), min_size=1, max_size=60),
)
def test_never_beyond_its_bounds_nor_faster_than_its_policies(scaling: Scaling, lags: list[int]) -> None:
    pods = scaling.min_pods
    for wanted in run(scaling, lags, pods):
        assert scaling.min_pods <= wanted <= scaling.max_pods
        assert wanted <= max(pods + scaling.up_pods, pods * (1 + scaling.up_percent / 100) + 1)
        assert wanted >= pods - scaling.down_pods
        pods = wanted


def test_faster_divides_every_time() -> None:
    fast = Scaling(pre_scale=PreScale(60, 600, 3)).faster(20)
    assert (fast.every_s, fast.pod_start_s, fast.down_window_s) == (0.75, 1.0, 15.0)
    assert fast.pre_scale == PreScale(3, 30, 3)
    assert (fast.lag_threshold, fast.up_pods) == (40, 24)
