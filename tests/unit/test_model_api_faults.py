"""Which call fails is a pure decision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rehearsal.model_api import Fault, Limits, ModelApi, ModelApiError, ModelApiSettings
from forebay.rehearsal.model_api.control import Control
from forebay.rehearsal.model_api.faults import (
    STREAM_ONLY,
    FaultRule,
    Strike,
    from_rules,
    from_shares,
    from_text,
    read_rule,
)
from forebay.rehearsal.model_api.limits.provider_gate import ProviderGate
from forebay.rehearsal.model_api.stats import CallCounters


def test_shares_lie_side_by_side() -> None:
    shares = {"hang": 0.1, "cut": 0.2}
    kinds = [from_shares(shares, roll, stream=True) for roll in (0.0, 0.099, 0.101, 0.299, 0.301, 0.99)]
    hang, cut = Strike(Fault.HANG), Strike(Fault.CUT)
    assert kinds == [hang, hang, cut, cut, None, None]


@given(roll=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(sorted(STREAM_ONLY)))
def test_stream_faults_leave_plain_calls_alone(roll: float, kind: Fault) -> None:
    assert from_shares({kind: 1.0}, roll, stream=False) is None
    assert from_shares({kind: 1.0}, roll, stream=True) == Strike(kind)
    assert from_text(f"[fault {kind}]", 1, stream=False) is None
    assert from_rules([FaultRule(kind)], "", roll, stream=False) is None


def test_the_conversation_itself_can_ask_for_a_fault() -> None:
    assert from_text("please [fault overloaded]", 9, stream=False) == Strike(Fault.OVERLOADED)
    assert from_text("please [fault explode]", 1, stream=False) is None
    struck = [from_text("[fault cut x2]", call, stream=True) is not None for call in (1, 2, 3)]
    assert struck == [True, True, False]


def test_the_first_rule_that_fits_strikes() -> None:
    rules = [FaultRule(Fault.CUT, match="parcel"), FaultRule(Fault.HANG, share=0.5), FaultRule(Fault.OVERLOADED)]
    assert from_rules(rules, "my parcel", 0.9, stream=False) == (0, Strike(Fault.CUT))
    assert from_rules(rules, "hello", 0.4, stream=False) == (1, Strike(Fault.HANG))
    assert from_rules(rules, "hello", 0.6, stream=False) == (2, Strike(Fault.OVERLOADED))


def test_a_rule_strikes_as_often_as_it_says() -> None:
    control = Control(CallCounters().snapshot, ProviderGate(Limits()))
    control.add(FaultRule(Fault.RATE_LIMIT, count=2, match="x", seconds=3.0))
    strikes = [control.strike(text, 0.0, stream=False) for text in ("x", "y", "x", "x")]
    strike = Strike(Fault.RATE_LIMIT, seconds=3.0)
    assert strikes == [strike, None, strike, None]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (7, "a fault is a JSON object"),
        ({}, "kind is missing"),
        ({"kind": "explode"}, "unknown fault 'explode': choose one of rate_limit, spend_limit"),
        ({"kind": "cut", "times": 3}, "unknown field 'times'"),
        ({"kind": "cut", "count": 0}, "count must be a whole number of at least 1"),
        ({"kind": "cut", "count": 1.5}, "count must be a whole number"),
        ({"kind": "cut", "share": 2}, "share must be between 0 and 1"),
        ({"kind": "cut", "match": 5}, "match must be a text"),
        ({"kind": "cut", "seconds": -1}, "seconds must be a number of at least 0"),
        ({"kind": "cut", "after": -1}, "after must be a whole number of at least 0"),
    ],
)
def test_a_wrong_rule_is_refused_in_one_line(body: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_rule(body)


def test_a_rule_may_leave_fields_null() -> None:
    assert read_rule({"kind": "hang", "count": None, "share": 0.5}) == FaultRule(Fault.HANG, share=0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latency_ms": -1}, "latency_ms must not be negative, got -1"),
        ({"first_token_ms": -1}, "first_token_ms must not be negative"),
        ({"port": 70000}, "port must be between 0 and 65535, got 70000"),
        ({"jitter": 1.5}, "jitter of a uniform latency must be at most 1"),
        ({"distribution": "normal"}, "distribution must be uniform or lognormal, got 'normal'"),
        ({"faults": {"explode": 0.1}}, "unknown fault 'explode'"),
        ({"faults": {"cut": 1.1}}, "the share of fault 'cut' must be between 0 and 1"),
        ({"faults": {"cut": 0.6, "hang": 0.6}}, "together must be at most 1, got 1.2"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ModelApiError, match=message):
        ModelApiSettings(**settings)  # type: ignore[arg-type]


def test_a_wrong_fault_from_python_is_refused_in_one_line() -> None:
    with pytest.raises(ModelApiError, match="unknown fault 'explode'"):
        ModelApi().add_fault("explode")
