"""What chaos drives beside Forebay's worker: it starts from any folder of a checkout, and says that it needs one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forebay.rehearsal.chaos import worker_kinds
from forebay.rehearsal.chaos.worker_kinds import ENGINES, FOREBAY, WorkerKind

PEERS = [engine for engine in ENGINES if engine is not FOREBAY]
each_peer = pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.command()[0] == sys.executable], ids=lambda p: p.name)
def test_a_peer_is_found_from_any_folder(peer: WorkerKind, tmp_path: Path) -> None:
    _, _, module, *_ = peer.command()
    look = f"import importlib.util as u; assert u.find_spec({module!r}) is not None"
    subprocess.run([sys.executable, "-c", look], cwd=tmp_path, env=os.environ | dict(peer.environment), check=True)


@each_peer
def test_without_a_checkout_a_peer_says_so_in_one_line(
    peer: WorkerKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_kinds, "_PEERS", tmp_path / "benchmarks" / "peers")
    assert peer.missing() == "needs a checkout of Forebay: what is installed brings no other engines"
