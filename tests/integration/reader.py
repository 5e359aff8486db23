"""A reader of the documentation, who does what a page says, from top to bottom, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from forebay.producers import TopicSettings, apply_topics
from forebay.rehearsal.worker_processes import FleetError, WorkerProcess
from forebay.schemas import Cluster
from tests.pages import ROOT, Block, Page, commands, words

from .conftest import until

PATIENCE_S = 240.0
STAYS = {
    "forebay broker": r"Kafka at ([\w.:]+),",
    "forebay model-api": r"Model API at http://(\S+)",
    "forebay worker": r"",
    "forebay gateway": r"",
    "curl .*-[a-zA-Z]*N": r"(event: \w+)",
}
"""Commands that run until they are stopped, and what they say when they are ready; workers and gateways have /readyz."""
RUN = frozenset({"forebay", "python", "curl", "mkdir", "cat", "cp", "rm", "jq", "openssl", "printf"})
"""Programs that are run to their end, which is to be exit status 0."""
LOOKS = re.compile("forebay (status|costs|dlq list)")
"""Commands that only look: a page that says one again is not obeyed again."""
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
_PYTHON = """
import ast, asyncio, sys
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
names = {"__name__": "__main__"}
if (awaited := eval(code, names)) is not None:
    asyncio.run(awaited)
"""


class Town(NamedTuple):
    """What all readers share: a broker, a simulated model API, a worker of the example shop and a gateway."""

    cluster: Cluster
    environment: Mapping[str, str]
    places: Mapping[str, str]
    """Where things are here, by the addresses that pages name."""
    letters: tuple[str, ...]
    """Ids of dead letters."""
    elsewhere: Mapping[str, str]
    """Commands that are not run here, as patterns, and why."""
    only_compiled: Mapping[tuple[str, str], str]
    """Python blocks that are not run, by page and how they begin, and why."""


class Reader:
    """Reads one page. What went wrong is in ``faults``."""

    def __init__(self, page: Page, town: Town, folder: Path) -> None:
        self.page = page
        self.faults: list[str] = []
        self.ran: list[str] = []
        self._town = town
        self._folder = folder
        self._blocks = [block for block in page.blocks() if "operator-path" not in block.marker]
        said = "".join(block.text for block in self._blocks if block.language == "sh")
        # A page that starts workers has topics of its own, so that they alone answer what it asks.
        self._own = "forebay worker" in said
        self._makes_topics = "forebay topics apply" in said
        self._prefix = re.sub(r"\W", "-", page.name) if self._own else town.cluster.topic_prefix
        self._environment = dict(town.environment)
        self._places = dict(town.places)
        self._running: list[tuple[str, WorkerProcess]] = []
        self._said = ""

    async def read(self) -> None:
        """All blocks in order; at the end everything that it started is stopped."""
        self._folder.mkdir()
        (self._folder / "examples").symlink_to(ROOT / "examples")
        if self._own and not self._makes_topics:
            await apply_topics(self._town.cluster.model_copy(update={"topic_prefix": self._prefix}), TopicSettings())
        try:
            for block in self._blocks:
                if file := _FILE.match(block.text):
                    path = self._folder / file[1]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(block.text, encoding="utf-8")
                elif block.language == "sh":
                    for command in commands(block.text):
                        await self._obey(command)
                elif block.language == "python":
                    await self._run_python(block)
        finally:
            await asyncio.to_thread(self._stop_all)

    async def _obey(self, command: str) -> None:
        head = " ".join(words(command))
        if any(re.match(pattern, head) for pattern in self._town.elsewhere):
            return
        if LOOKS.match(head) and command in self.ran:
            return
        self.ran.append(command)
        fitted = self._fit(command)
        if re.match(r"(export|unset) ", head) or not head:
            await self._export(fitted)
        elif stays := next((pattern for pattern in STAYS if re.match(pattern, head)), None):
            await self._start(fitted, stays)
        elif head.split()[0] in RUN:
            await self._run(["bash", "-c", fitted], command)
        else:
            self._fault(command, "nobody knows how to run this: give it a rule here, or a reason in ELSEWHERE")

    def _fit(self, command: str) -> str:
        """The command with this place's addresses and ids in it, and free ports."""
        for named, here in self._places.items():
            command = re.sub(rf"(127\.0\.0\.1|localhost):{named}\b", here, command)
        command = re.sub(r"--port \d+", "--port 0", command)
        if re.match("forebay (broker|model-api)(?!.*--port)", command):
            command = re.sub("(broker|model-api)", r"\1 --port 0", command, count=1)
        if command.startswith("forebay rehearse"):
            command = command.replace("rehearse", "rehearse --show", 1)  # reads the scenario; holding it takes minutes
        if command.startswith("curl "):
            command = command.replace("curl ", "curl --fail-with-body ", 1)
        if command.startswith("forebay dlq"):
            letters = cycle(self._town.letters)
            command = re.sub(r"\b\d+-\d+\b(?!-)", lambda _: next(letters), command)
            if re.search("replay|purge", command) and not re.search("--yes|--dry-run", command):
                command = re.sub("(replay|purge)", r"\1 --yes", command, count=1)  # there is no terminal to ask on
        if action := re.findall(r"--confirm ([\w-]+)", self._said):
            command = command.replace("ACTION", action[-1])
        return command

    async def _export(self, command: str) -> None:
        status, environment = await self._output(["bash", "-c", f"{command}\nexec env -0"])
        if status != 0:
            return self._fault(command, environment)
        self._environment = dict(entry.partition("=")[::2] for entry in environment.split("\0") if entry)
        return None

    async def _start(self, command: str, pattern: str) -> None:
        process = WorkerProcess(f"{len(self.ran)}", self._folder, self._variables(), ["bash", "-c", command])
        self._running.append((command, process))
        try:
            place = await self._ready(process, STAYS[pattern])
        except (FleetError, TimeoutError) as error:
            return self._fault(command, f"{error!r}: {process.last_line()}")
        if pattern == "forebay broker":
            self._places["9092"] = self._town.cluster.kafka  # one is enough, and this one has the topics
            await asyncio.to_thread(self._stop_latest)
        else:
            self._places |= place
        return None

    async def _ready(self, process: WorkerProcess, says: str) -> dict[str, str]:
        """Waits until it is ready; where it is, by the ports that pages name."""
        if not says:
            health = (await process.ready(PATIENCE_S)).removeprefix("http://")
            url = process.logged("gateway.listening", "url")
            return {"9464": health} if url is None else {"8080": str(url).removeprefix("http://"), "9465": health}
        await until(lambda: not process.running or bool(re.search(says, process.log.read_text())), PATIENCE_S)
        found = re.search(says, process.log.read_text())
        if found is None:
            raise FleetError("it ended")
        return {"8089": found[1]} if "Model API" in says else {}

    async def _run_python(self, block: Block) -> None:
        if any(page == self.page.name and block.text.startswith(first) for page, first in self._town.only_compiled):
            return
        self.ran.append(f"python, line {block.line}")
        file = self._folder / f"line_{block.line}.py"
        file.write_text(self._fit(block.text), encoding="utf-8")
        await self._run([sys.executable, "-c", _PYTHON, str(file)], f"python, line {block.line}")

    async def _run(self, command: list[str], shown: str) -> None:
        status, output = await self._output(command)
        self._said += output
        if status != 0:
            self._fault(shown, f"exit status {status}: {output[-2000:]}")

    async def _output(self, command: list[str]) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self._folder,
            env=self._variables(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return -1, f"still running after {PATIENCE_S:g} s"
        return process.returncode or 0, output.decode(errors="replace")

    def _variables(self) -> dict[str, str]:
        """What the page has exported, but for the places where this test keeps things."""
        fixed = {
            "FOREBAY_KAFKA": self._town.cluster.kafka,
            "FOREBAY_TOPIC_PREFIX": self._prefix,
            "FOREBAY_GATEWAY_PORT": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        # What a page unsets is simulated here all the same: nothing goes to a real provider.
        return {**self._town.environment, **self._environment, **fixed}

    def _fault(self, command: str, what: str) -> None:
        self.faults.append(f"{self.page.name}: {command}\n    {what}")

    def _stop_all(self) -> None:
        while self._running:
            self._stop_latest()

    def _stop_latest(self) -> None:
        command, process = self._running.pop()
        try:
            status = process.stop() if process.running else process.exit_status
        except subprocess.TimeoutExpired:
            status = None
        if status != (-signal.SIGTERM if command.startswith("curl ") else 0):
            self._fault(command, f"ended with {status}: {process.last_line()}")
        process.close()
