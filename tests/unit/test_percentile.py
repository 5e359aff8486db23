"""Percentiles are values, by nearest rank."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.telemetry.percentile import percentile


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(0, 100))
def test_it_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent / 100)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    below = [value for value in values if value < found]
    assert not below or len(below) * 100 < percent * len(values)


@given(st.integers(1, 100).flatmap(lambda percent: st.tuples(st.just(percent), st.permutations(range(1, 101)))))
def test_of_one_to_a_hundred_it_is_its_own_number(given: tuple[int, list[int]]) -> None:
    percent, values = given
    assert percentile(values, percent / 100) == percent


def test_of_few_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0) == 1.0
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([1.0, 2.0], 0.5) == 1.0


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
