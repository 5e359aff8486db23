"""A short run of chaos with one seed: workers killed and terminated, a model API with faults, records that are no turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.rehearsal.chaos.chaos_run import SeededRun, run
from forebay.rehearsal.chaos.schedule import EventKind
from forebay.rehearsal.servers.kafka import EmbeddedKafka

KINDS = frozenset({EventKind.SIGKILL, EventKind.SIGTERM, EventKind.OVERLOADED, EventKind.CUT})


@pytest.mark.takes(24)
async def test_a_seed_of_chaos_breaks_no_promise(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    rehearsal = SeededRun(seed=8, seconds=10.0, rate=40.0, kinds=KINDS)
    assert {event.kind for event in rehearsal.events} >= KINDS
    outcome = await run(rehearsal, kafka, tmp_path)
    counts = outcome.counts
    assert not outcome.broken(), counts.examples
    assert counts.turns + counts.poison == len(rehearsal.script)
    assert counts.answered == counts.turns
    assert outcome.ended_by_themselves == 0
