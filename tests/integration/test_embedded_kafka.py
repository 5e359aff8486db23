"""The embedded broker on a machine that has never run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.servers.kafka_jars import cache_folder, kafka_jars


def test_the_first_start_on_a_machine_prepares_its_own_empty_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jars = kafka_jars()
    cache, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    prepared = cache / jars.relative_to(cache_folder().parent)
    prepared.parent.mkdir(parents=True)
    prepared.symlink_to(jars)
    elsewhere.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.chdir(elsewhere)
    with EmbeddedKafka.running() as first, EmbeddedKafka.running() as second:
        assert first.exited() is None
        assert second.exited() is None
    assert (prepared.parent / "formatted").is_dir()
    assert not list(elsewhere.iterdir()), "the folder in which the command was called stays as it was"
