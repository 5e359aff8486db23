"""Shop talk: scripts that differ from each other, and conversations in which one customer stays one customer."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import pairwise
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rehearsal.shoptalk import CustomerScript, conversation, scripts

seeds = st.integers(0, 2**32)
lengths = st.integers(0, 200)
PLACEHOLDERS = {"order", "sku", "name", "city", "amount"}
ALL_TURNS = max(sum(len(s.turns) for s in scripts() if s.language == language) for language in ("zh", "en"))


def placeholders(script: CustomerScript) -> set[str]:
    return {field for turn in script.turns for _, field, _, _ in Formatter().parse(turn) if field is not None}


def test_there_are_twelve_scripts_in_each_language() -> None:
    assert Counter(script.language for script in scripts()) == {"zh": 12, "en": 12}


@pytest.mark.parametrize("script", scripts(), ids=lambda script: script.about)
def test_a_script_has_a_title_six_to_eight_turns_and_known_placeholders(script: CustomerScript) -> None:
    assert script.about.strip()
    assert 6 <= len(script.turns) <= 8
    assert all(turn == turn.strip() for turn in script.turns)
    assert set() < placeholders(script) <= PLACEHOLDERS
    chinese = re.search(r"[\u4e00-\u9fff]", "".join(script.turns)) is not None
    assert chinese == (script.language == "zh")


def test_no_sentence_appears_twice() -> None:
    turns = [turn for script in scripts() for turn in script.turns]
    sentences = Counter(
        sentence.strip().casefold()
        for turn in turns
        for sentence in re.split(r"[。！？!?…\n]+|\.+(?:\s|$)", turn)
        if sentence.strip()
    )
    assert [sentence for sentence, times in sentences.items() if times > 1] == []
    assert len({script.about for script in scripts()}) == len(scripts())


@given(seeds, lengths)
def test_a_conversation_has_its_length_and_nothing_unfilled(seed: int, length: int) -> None:
    turns = conversation(random.Random(seed), length)
    assert len(turns) == length
    assert all(1 <= len(turn) <= 2000 for turn in turns)
    assert not any(brace in turn for turn in turns for brace in "{}")


@given(seeds, lengths)
def test_the_same_seed_gives_the_same_conversation(seed: int, length: int) -> None:
    assert conversation(random.Random(seed), length) == conversation(random.Random(seed), length)


@given(seeds)
def test_a_shorter_conversation_is_the_beginning_of_a_longer_one(seed: int) -> None:
    longer = conversation(random.Random(seed), 50)
    assert all(conversation(random.Random(seed), length) == longer[:length] for length in range(50))


def matches(turns: tuple[str, ...], name: str) -> list[str]:
    """What stands for a placeholder in each turn of a conversation that was written with it."""
    written = [turn for script in scripts() for turn in script.turns if f"{{{name}}}" in turn]
    patterns = [
        re.sub(r"\\\{(\w+)\\\}", lambda m: "(.+)" if m[1] == name else ".+", re.escape(turn)) for turn in written
    ]
    found = [re.fullmatch(pattern, turn) for turn in turns for pattern in patterns]
    return [match[1] for match in found if match]


@given(seeds)
def test_order_name_and_city_stay_the_same(seed: int) -> None:
    turns = conversation(random.Random(seed), 2 * ALL_TURNS)
    for name in ("order", "name", "city"):
        values = matches(turns, name)
        assert len(values) > 1
        assert len(set(values)) == 1
    assert re.fullmatch(r"2026\d{4}-\d{6}", matches(turns, "order")[0])


@given(seeds)
def test_every_script_of_the_language_comes_once_before_any_comes_again(seed: int) -> None:
    turns = conversation(random.Random(seed), ALL_TURNS * 2)
    language = "zh" if re.search(r"[\u4e00-\u9fff]", turns[0]) else "en"
    own = [script for script in scripts() if script.language == language]
    one_round = sum(len(script.turns) for script in own)
    # A script is known by the first words of its first turn, unless that turn begins with a placeholder.
    openings = [script.turns[0].partition("{")[0] for script in own if not script.turns[0].startswith("{")]
    for start, end in pairwise((0, one_round, 2 * one_round)):
        assert all(sum(turn.startswith(opening) for turn in turns[start:end]) == 1 for opening in openings)


def test_both_languages_come_up() -> None:
    firsts = "".join(conversation(random.Random(seed), 1)[0] for seed in range(40))
    assert re.search(r"[\u4e00-\u9fff]", firsts)
    assert re.search(r"[a-z]{4}", firsts)
