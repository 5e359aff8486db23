"""Deploy, break a provider, find it, mend it, replay the dead letters: the commands of docs/runbook.md, as they stand there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from forebay.rehearsal.servers.child_process import free_port
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.schemas import Cluster, decode_reply
from tests.pages import ROOT, Page

from .conftest import read_topic

MARKER = "operator-path"
ENDED = "operator-path-ended"
STEP_S = 60.0


class Operator:
    """A shell in which one does what the runbook says, a step at a time."""

    def __init__(self, shell: asyncio.subprocess.Process, addresses: dict[str, str]) -> None:
        self._shell, self._addresses = shell, addresses
        self._steps = [
            block.text for block in Page(ROOT / "docs" / "runbook.md").blocks("sh") if block.marker == MARKER
        ]

    async def step(self) -> tuple[int, str]:
        """The next one: (exit status of its last command, what was said)."""
        return await self._do(self._steps.pop(0))

    async def step_until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next one, whose last command is `forebay status --json`: looked at again until it shows something."""
        _, said = await self.step()
        async with asyncio.timeout(STEP_S):
            while not holds(seen := _document(said)):
                _, said = await self._do("forebay status --json")
        return seen

    @property
    def left(self) -> int:
        """Steps that were not done."""
        return len(self._steps)

    async def _do(self, commands: str) -> tuple[int, str]:
        for written, here in self._addresses.items():
            commands = commands.replace(written, here)
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{commands}\necho {ENDED} $?\n".encode())
        said = ""
        async with asyncio.timeout(STEP_S):
            while not (line := (await self._shell.stdout.readline()).decode()).startswith(ENDED):
                assert line, f"the shell ended:\n{said}"
                said += line
        return int(line.split()[1]), said


@pytest_asyncio.fixture
async def operator(cluster: Cluster, kafka: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Operator]:
    addresses = {
        "127.0.0.1:9092": kafka.bootstrap_servers,
        "127.0.0.1:8089": f"127.0.0.1:{(api := free_port())}",
        "--port 8089": f"--port {api}",
        "--health-port 9464": "--health-port 0",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FOREBAY_", "ANTHROPIC", "OTEL"))}
    shell = await asyncio.create_subprocess_exec(
        "bash",
        cwd=tmp_path,
        env={
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
            "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
            "FOREBAY_GROUP": cluster.topic_prefix,
            "FOREBAY_BREAKER_OPEN_S": "2",
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        limit=1 << 20,
    )
    yield Operator(shell, addresses)
    os.killpg(shell.pid, signal.SIGKILL)  # the shell leads a group of its own, with all that it started
    await shell.wait()


def _document(said: str) -> dict[str, Any]:
    """What `forebay status --json` said last."""
    found: dict[str, Any] = json.loads(said[said.index('{\n  "at"') :])
    return found


def codes(status: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in status["findings"]]


@pytest.mark.takes(22)
async def test_the_operators_path(operator: Operator, cluster: Cluster, tmp_path: Path) -> None:
    status, said = await operator.step()
    assert status == 0, said
    assert "exists   " in said
    assert "All is well" in said

    status, said = await operator.step()
    assert (status, "[failed: 400 invalid_request_error" in said) == (1, True), said

    status, said = await operator.step()
    assert status == 0, said
    assert "docs/runbook.md#dead-letters" in said
    assert "rejected_by_model" in said
    assert "Where do I enter my voucher?" in said
    assert "prompt is too long" in said, "the log says what the provider said"

    status, said = await operator.step()
    assert status == 1, said
    assert said.count("no reply to turn") == 20

    seen = await operator.step_until(lambda status: "breaker-open" in codes(status))
    assert codes(seen)[:2] == ["breaker-open", "no-model"]
    assert seen["severe"]
    assert seen["findings"][0]["runbook"].endswith("docs/runbook.md#breaker-open")
    assert seen["models"][0]["open"] == 1
    assert seen["models"][0]["reason"]
    assert seen["turns"]["waiting"] + seen["turns"]["in_flight"] == 20
    assert seen["turns"]["oldest_waiting_s"] is None or seen["turns"]["oldest_waiting_s"] < 60
    assert seen["dead_letters"]["last_10_minutes"] == {"rejected_by_model": 1}, "an outage makes no dead letters"

    seen = await operator.step_until(lambda status: status["turns"]["lag"] == 0 and codes(status) == ["dead-letters"])
    assert seen["workers"][0]["outcomes"]["answered"] == 21

    seen = await operator.step_until(lambda status: status["turns"]["lag"] == 0)
    assert seen["findings"] == []
    replies = [decode_reply(record.value) for record in await read_topic(cluster, cluster.topics.replies)]
    mended = [reply.outcome for reply in replies if reply.conversation_id == "c-1"]
    assert mended == ["failed", "answered"], "the customer got an answer"
    assert len(replies) == 23

    status, said = await operator.step()
    assert "All is well" in said
    assert operator.left == 0
    assert '"event":"worker.stopped"' in (tmp_path / "worker.log").read_text()
