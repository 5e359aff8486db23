"""What a seed decides: the same every time, all of it possible, and everything that is taken away comes back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rehearsal.chaos.schedule import BEGINNINGS, ENDS, RATE, SESSION_S, EventKind, ScheduledEvent, schedule
from forebay.rehearsal.chaos.script import Poison, script

seeds = st.integers(0, 2**63)
lengths = st.integers(0, 8_000)
kinds = st.frozensets(st.sampled_from(sorted(BEGINNINGS)))


@given(seeds, lengths)
def test_the_seed_alone_decides(seed: int, turns: int) -> None:
    first = schedule(seed, turns), script(seed, min(turns, 200))
    random.seed(turns)  # whatever else draws numbers
    assert (schedule(seed, turns), script(seed, min(turns, 200))) == first


def test_other_seeds_decide_otherwise() -> None:
    assert len({schedule(seed, 3_600) for seed in range(50)}) == 50
    assert len({script(seed, 100) for seed in range(50)}) == 50


@given(seeds)
def test_a_minute_has_everything(seed: int) -> None:
    assert {event.kind for event in schedule(seed, 3_600)} == set(EventKind)


@given(seeds, lengths, kinds)
def test_only_what_was_asked_for_happens_and_in_order(seed: int, turns: int, kinds: frozenset[EventKind]) -> None:
    events = schedule(seed, turns, kinds=kinds)
    assert {event.kind for event in events} <= kinds | {ENDS[kind] for kind in kinds}
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert all(0 <= event.at <= turns for event in events)


@given(seeds, lengths, st.integers(1, 6))
def test_never_are_all_workers_down(seed: int, turns: int, workers: int) -> None:
    down: set[int] = set()
    for event in schedule(seed, turns, workers=workers):
        if event.worker is None:
            continue
        if event.kind in BEGINNINGS:
            assert event.worker not in down, "only who runs can be struck"
            down.add(event.worker)
        else:
            down.remove(event.worker)
        assert len(down) < workers
    assert not down, "everything that was stopped goes on"


@given(seeds, lengths)
def test_what_is_taken_away_comes_back(seed: int, turns: int) -> None:
    away: dict[EventKind, EventKind] = {}
    for event in schedule(seed, turns):
        if event.worker is not None:
            continue
        if event.kind in BEGINNINGS:
            assert ENDS[event.kind] not in away, "one at a time"
            away[ENDS[event.kind]] = event.kind
        else:
            del away[event.kind]
    assert not away


@given(seeds, lengths, st.floats(5.0, 500.0))
def test_a_stop_outlasts_the_session(seed: int, turns: int, rate: float) -> None:
    stopped: dict[int | None, ScheduledEvent] = {}
    for event in schedule(seed, turns, rate=rate):
        if event.kind is EventKind.SIGSTOP:
            stopped[event.worker] = event
        elif event.kind is EventKind.SIGCONT:
            assert (event.at - stopped.pop(event.worker).at) / rate > SESSION_S


@given(seeds, st.integers(3, 300))
def test_a_script_has_sound_turns_and_every_kind_of_poison(seed: int, turns: int) -> None:
    lines = script(seed, turns)
    assert len(lines) == turns
    assert len({line.value for line in lines}) == turns
    assert {line.poison for line in lines if line.poison} == set(Poison)
    assert all(line.text.startswith(line.turn_id) for line in lines)
    assert len({line.turn_id for line in lines}) == turns


@pytest.mark.parametrize("seed", range(20))
def test_a_script_has_conversations_that_go_on(seed: int) -> None:
    lines = script(seed, int(60 * RATE))
    lengths = [sum(line.conversation_id == name for line in lines) for name in {line.conversation_id for line in lines}]
    assert sum(lengths) / len(lengths) > 10
    assert any(line.stream for line in lines)
    assert any("[fault " in line.text for line in lines)
