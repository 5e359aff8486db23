"""Budget: no sequence of reservations passes a ceiling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas import SettingsError
from forebay.workers.flow.budget import EVERYONE, Budget, Ceilings
from forebay.workers.settings import WorkerSettings
from forebay.workers.spent import HOUR_S, Spent

NOW = 500_000 * HOUR_S + 10.0
CALLS = st.lists(st.tuples(st.floats(0.01, 2), st.floats(0, 1), st.booleans()), max_size=60)


@given(CALLS)
def test_reserved_and_spent_never_pass_the_ceiling(calls: list[tuple[float, float, bool]]) -> None:
    """Each call: its estimate, the share of it that it really costs, whether it is still under way at the end."""
    budget, scopes, spent, open_usd = Budget(Ceilings(hour_usd=5.0)), (EVERYONE,), 0.0, 0.0
    for estimate, share, open_ended in calls:
        if budget.verdict(scopes, estimate, NOW) == "stop":
            assert spent + open_usd + estimate > 5.0
            continue
        budget.reserve(scopes, estimate)
        if open_ended:
            open_usd += estimate
        else:
            budget.reserve(scopes, share * estimate - estimate)
            budget.recorded(scopes, share * estimate, NOW)
            spent += share * estimate
        assert spent + open_usd <= 5.0 + 1e-9


def test_near_the_ceiling_it_is_thrifty_and_at_it_stops() -> None:
    budget = Budget(Ceilings(day_usd=10.0, near=0.5))
    budget.learn({EVERYONE: Spent(500_000, 1.0, 4.0)})
    assert budget.verdict((EVERYONE,), 0.9, NOW) == "free"
    assert budget.verdict((EVERYONE,), 1.1, NOW) == "economy"
    assert budget.verdict((EVERYONE,), 6.1, NOW) == "stop"
    assert budget.used(NOW) == pytest.approx(0.4)


def test_a_new_hour_and_a_new_day_begin_at_nothing() -> None:
    budget = Budget(Ceilings(hour_usd=1.0, day_usd=3.0))
    budget.learn({EVERYONE: Spent(500_000, 1.0, 2.5)})
    assert budget.verdict((EVERYONE,), 0.1, NOW) == "stop"
    assert budget.verdict((EVERYONE,), 0.1, NOW + HOUR_S) == "economy"
    assert budget.verdict((EVERYONE,), 0.1, NOW + 24 * HOUR_S) == "free"


def test_an_older_word_of_the_store_does_not_count() -> None:
    budget = Budget(Ceilings(hour_usd=1.0))
    budget.verdict((EVERYONE,), 0.0, NOW)
    budget.reserve((EVERYONE,), 0.6)
    budget.recorded((EVERYONE,), 0.6, NOW)
    budget.learn({EVERYONE: Spent(500_000, 0.0, 0.0)})
    budget.learn({EVERYONE: Spent(499_999, 9.0, 9.0)})
    assert budget.used(NOW) == pytest.approx(0.6)


def test_each_tenant_has_its_own_ceiling() -> None:
    ceilings = Ceilings(tenant_hour_usd=1.0)
    budget, rich, poor = Budget(ceilings), ceilings.scopes("rich"), ceilings.scopes("poor")
    budget.learn({rich[0]: Spent(500_000, 1.0, 1.0)})
    assert budget.verdict(rich, 0.1, NOW) == "stop"
    assert budget.verdict(poor, 0.1, NOW) == "free"
    assert Ceilings().scopes("rich") == ()
    assert Ceilings(hour_usd=0.0).scopes("rich") == (EVERYONE,)
    assert Budget(Ceilings(hour_usd=0.0)).verdict((EVERYONE,), 0.0, NOW) == "stop"


def test_weights_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_TENANT_WEIGHTS", "a=3, b=0.5,")
    assert WorkerSettings.read().weights() == {"a": 3.0, "b": 0.5}
    monkeypatch.setenv("FOREBAY_TENANT_WEIGHTS", "a=3,b")
    with pytest.raises(SettingsError, match=r"FOREBAY_TENANT_WEIGHTS='a=3,b': 'b': write tenant=number"):
        WorkerSettings.read()
