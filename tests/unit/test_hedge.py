"""Hedging: only for the slow tail, and never more than its share."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from forebay.workers.flow.hedge import Hedge


@given(st.lists(st.floats(0, 100), min_size=50, max_size=700))
def test_it_waits_for_the_95th_percentile_of_the_latest(seconds: list[float]) -> None:
    hedge = Hedge(0.05)
    for taken in seconds:
        hedge.took(taken)
    latest = sorted(seconds[-500:])
    assert hedge.after_s() == latest[int(0.95 * len(latest))]


def test_it_is_off_without_a_share_and_until_it_knows_enough() -> None:
    off, new = Hedge(0.0), Hedge(0.1)
    for _ in range(49):
        off.took(1.0)
        new.took(1.0)
    assert (off.after_s(), new.after_s()) == (None, None)
    off.took(1.0)
    new.took(1.0)
    assert (off.after_s(), new.after_s()) == (None, 1.0)


@given(st.floats(0.001, 0.5), st.integers(0, 2**32))
def test_extra_calls_stay_below_their_share(share: float, seed: int) -> None:
    hedge, rng, extra = Hedge(share), random.Random(seed), 0
    for calls in range(1, 2_001):
        hedge.begun()
        if rng.random() < 0.5:
            extra += hedge.spend()
        assert extra <= share * calls + 1e-6
