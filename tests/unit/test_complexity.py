"""Complexity: hard turns are seen as hard, and easy ones cost little."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas import Usage
from forebay.workers.assistants.complexity import Complexity, Signals, complexity, signs
from forebay.workers.models.catalogue import Price

LABELLED = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "complexity.jsonl").read_text(encoding="utf-8").splitlines()
]
"""Fields of Signals, the ``label``, ``held_out`` where it was not read while tuning."""

USAGE = Usage(input_tokens=800, output_tokens=120)
"""What a turn is supposed to take."""
PRICES: dict[str, Price] = {
    "simple": Price(input=0.10, output=0.50, cache_read=0),
    "complex": Price(input=2.0, output=10.0, cache_read=0),
    "reasoning": Price(input=4.0, output=20.0, cache_read=0),
}
"""claude-haiku-5-5, claude-sonnet-5-5, claude-opus-5-5."""

SIGNALS = st.builds(
    Signals,
    text=st.text(max_size=300) | st.text("为什么怎么算退投诉?,. 1299why total", max_size=300),
    exchanges=st.integers(0, 100),
    tools=st.integers(0, 10),
    failures=st.integers(0, 5),
)
LEVELS = get_args(Complexity)


def routed(*, held_out: bool) -> Counter[tuple[str, str]]:
    """How many turns of each label went where."""
    lines = [line for line in LABELLED if line.get("held_out", False) is held_out]
    fields = ("text", "exchanges", "tools", "failures")
    return Counter(
        (line["label"], complexity(Signals(**{name: line[name] for name in fields if name in line}))) for line in lines
    )


def cost_usd(level: str) -> float:
    price = PRICES[level]
    return (USAGE.input_tokens * price.input + USAGE.output_tokens * price.output) / 1e6


@pytest.mark.parametrize(("held_out", "accuracy", "saved"), [(False, 0.92, 0.6), (True, 0.82, 0.6)])
def test_it_routes_as_labelled_and_saves_most_of_the_money(held_out: bool, accuracy: float, saved: float) -> None:
    went = routed(held_out=held_out)
    turns = went.total()
    right = sum(count for (label, level), count in went.items() if label == level)
    cost = sum(count * cost_usd(level) for (_, level), count in went.items())
    kept = 1 - cost / (turns * cost_usd("reasoning"))
    by_label = 1 - sum(count * cost_usd(label) for (label, _), count in went.items()) / (turns * cost_usd("reasoning"))
    print(f"{'held out' if held_out else 'tuned on'}: {turns} turns, {right / turns:.1%} as labelled, ", end="")
    print(f"{kept:.1%} saved ({by_label:.1%} by the labels), {went['reasoning', 'simple']} reasoning turns to simple")
    for label in LEVELS:
        print(f"  {label:9}", *(f"{level} {went[label, level]:3}" for level in LEVELS), sep="  ")
    assert right >= accuracy * turns
    assert kept >= saved
    assert went["reasoning", "simple"] <= 0.04 * sum(went["reasoning", level] for level in LEVELS)
    assert went["complex", "simple"] <= 0.05 * sum(went["complex", level] for level in LEVELS)


def test_the_labelled_lines_are_many_and_a_third_is_held_out() -> None:
    assert len({line["text"] for line in LABELLED}) == len(LABELLED) >= 240
    assert sum(line.get("held_out", False) for line in LABELLED) * 3 >= len(LABELLED)
    assert {line["label"] for line in LABELLED} == set(LEVELS)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("有货吗", "simple"),
        ("Is it in stock?", "simple"),
        ("为什么我的券用不了", "complex"),
        ("Which is better, the red or the blue one?", "complex"),
        ("3件199，满500减80，运费6块，一共多少", "reasoning"),
        ("I will see my lawyer about the refund you refused me", "reasoning"),
        ("", "simple"),
    ],
)
def test_what_is_asked_decides(text: str, level: Complexity) -> None:
    assert complexity(Signals(text=text)) == level


def test_what_went_wrong_before_or_needs_several_tools_is_complex() -> None:
    assert complexity(Signals(text="ok, and now?")) == "simple"
    assert complexity(Signals(text="ok, and now?", failures=1)) == "complex"
    deeds = "cancel the blue one and return the red one"
    assert complexity(Signals(text=deeds)) == "simple"
    assert complexity(Signals(text=deeds, tools=3)) == "complex"
    assert [sign.name for sign in signs(Signals(text=deeds, tools=3, failures=2))] == [
        "length",
        "failures",
        "several deeds",
    ]


@given(SIGNALS)
@pytest.mark.takes(1)
def test_any_turn_has_a_level(signals: Signals) -> None:
    assert complexity(signals) in LEVELS


@given(SIGNALS)
def test_failures_a_longer_talk_and_tools_never_lower_it(signals: Signals) -> None:
    text = signals.text
    harder = Signals(
        text=text, exchanges=signals.exchanges + 20, tools=signals.tools + 1, failures=signals.failures + 1
    )
    assert LEVELS.index(complexity(harder)) >= LEVELS.index(complexity(signals))


def test_it_takes_less_than_a_tenth_of_a_millisecond() -> None:
    took = []
    for _ in range(5):
        for line in LABELLED:
            signals = Signals(text=line["text"], tools=2)
            began = time.thread_time_ns()
            complexity(signals)
            took.append((time.thread_time_ns() - began) / 1e3)
    took.sort()
    print(f"median {took[len(took) // 2]:.0f} us, p99 {took[len(took) * 99 // 100]:.0f} us")
    assert took[len(took) // 2] < 100


@pytest.mark.parametrize(
    "unit", ["\u0300\u0323", "。", "?", "1.", "选", "比", "if ", "怎么", "\ufdfa", "😭", " ", "cancel "]
)
def test_a_hostile_text_takes_no_longer_than_a_page(unit: str) -> None:
    began = time.thread_time()
    complexity(Signals(text=(unit * 32_768)[:32_768], tools=1))
    assert time.thread_time() - began < 0.5  # what is quadratic takes seconds
