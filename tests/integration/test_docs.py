"""Every command in the documentation is run, against a real broker, simulated models, a worker and a gateway.

One that this file does not know fails: give it a rule in `reader.py`, or a reason here why it is not run.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from forebay.operations import DeadLetters
from forebay.producers import ChatClient, TopicSettings, apply_topics, new_turn
from forebay.rehearsal.model_api import ModelApi, ModelApiSettings
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.worker_processes import GatewayProcess, WorkerProcess
from forebay.schemas import Cluster, Confirm
from tests.pages import Page, commands, pages, words

from .reader import Reader, Town

ELSEWHERE = {
    r"git clone ": "the checkout is here already",
    r"(python3 -m venv|source) ": "the environment is the one that runs this test",
    r"pip install ": "it would change this environment; tests/unit/test_docs.py checks that the extras exist",
    r"make ": "each takes minutes or is what runs this test; tests/unit/test_docs.py checks that the target exists",
    r"pytest ": "tests of this suite",
    r"python -m (benchmarks|forebay\.rehearsal)(?!.* --plan )": "minutes; tests/unit/test_docs.py checks that the module exists",
    r"forebay erase ": "a page has no store of its own; tests/integration/test_erasure.py runs it",
    r"forebay deliver": "its file names servers of shops; tests/integration/test_webhooks.py runs it",
    r"(kubectl|kustomize|helm|docker|kind) ": "there is no cluster and no daemon; k8s/ has checks of its own",
}
ONLY_COMPILED = {
    (
        "docs/assistant.md",
        "from forebay.workers.assistants import",
    ): "names the shop's own; docs/shop.md has one that runs",
    ("docs/flow.md", "Assistant(model="): "an extract",
    ("docs/managed-agents.md", "assistant = Assistant("): "an extract",
    ("docs/mcp.md", "from forebay.workers.assistants import"): "needs an MCP server of the shop",
    ("docs/redaction.md", "from forebay.workers.conversations.redaction import"): "names what a caller has",
    ("docs/webhooks.md", "from standardwebhooks import"): "verifies a webhook with a secret of the reader's",
    ("docs/redaction.md", "from presidio_analyzer import"): "Presidio is not installed",
}
SAME_AS_ANOTHER = {"README.zh.md": "tests/unit/test_docs.py checks that its commands are README.md's"}
AT_ONCE = 3


@asynccontextmanager
async def town_of(kafka: EmbeddedKafka, folder: Path) -> AsyncIterator[Town]:
    folder.mkdir()
    cluster = Cluster(kafka=kafka.bootstrap_servers, topic_prefix="town")
    await apply_topics(cluster, TopicSettings(topic_partitions=3))
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(ModelApi(ModelApiSettings(latency_ms=20.0)))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("FOREBAY", "OTEL"))}
        environment |= {"ANTHROPIC_API_KEY": "simulated", "ANTHROPIC_BASE_URL": api.url}
        environment |= {"OPENAI_API_KEY": "simulated", "OPENAI_BASE_URL": f"{api.url}/v1", "COLUMNS": "120"}
        here = environment | {"FOREBAY_KAFKA": cluster.kafka, "FOREBAY_TOPIC_PREFIX": "town"}
        command = [sys.executable, "-m", "forebay.cli", "worker", "forebay.rehearsal.shop.assistant:assistant"]
        worker = stack.enter_context(closing(WorkerProcess("worker", folder, here, command)))
        gateway = stack.enter_context(closing(GatewayProcess("gateway", folder, here)))
        health = await asyncio.gather(worker.ready(), gateway.ready())
        addresses = ("http://" + cluster.kafka, gateway.url, api.url, *health)
        places = [address.removeprefix("http://") for address in addresses]
        letters = await _letters(cluster)
        ports = ("9092", "8080", "8089", "9464", "9465")
        yield Town(cluster, environment, dict(zip(ports, places, strict=True)), letters, ELSEWHERE, ONLY_COMPILED)


async def _letters(cluster: Cluster) -> tuple[str, ...]:
    """Ids of dead letters: of turns that confirm what nobody asked."""
    async with ChatClient(cluster) as chat:
        word = Confirm(action_id="none", accept=True)
        turns = [new_turn("", conversation_id=f"c-{number}", confirm=word) for number in range(4)]
        await asyncio.gather(*map(chat.ask, turns))
    async with DeadLetters(cluster) as letters:
        return tuple([str(letter.id) async for letter in letters.browse()])


@pytest.mark.takes(53)
@pytest.mark.timeout(900)
async def test_what_the_pages_say_works(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    """All pages in one test, a few at once: they mostly wait."""
    seats = asyncio.Semaphore(AT_ONCE)

    async def read(reader: Reader) -> None:
        async with seats:
            await reader.read()

    async with town_of(kafka, tmp_path / "town") as town, asyncio.TaskGroup() as reading:
        readers = [
            Reader(page, town, tmp_path / re.sub(r"\W", "-", page.name))
            for page in pages()
            if page.name not in SAME_AS_ANOTHER
        ]
        for reader in readers:
            reading.create_task(read(reader))
    assert not [fault for reader in readers for fault in reader.faults]
    assert sum(len(reader.ran) for reader in readers) > 50


WRONG = """
```sh
frobnicate --now
FOREBAY_GATEWAY_BODY_KIB=none forebay gateway --open
curl -s 127.0.0.1:1/livez
forebay contract | grep no-such-topic
```
```python
raise SystemExit("no")
```
"""


async def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    """Each of these fails, and the page is read to its end all the same."""
    (tmp_path / "page.md").write_text(WRONG)
    page = Page(tmp_path / "page.md")
    reader = Reader(page, Town(Cluster(topic_prefix="none"), os.environ, {}, (), ELSEWHERE, {}), tmp_path / "folder")
    await reader.read()
    found = "\n".join(reader.faults)
    assert "frobnicate --now\n    nobody knows" in found
    assert "forebay gateway --open\n    FleetError" in found
    assert "127.0.0.1:1/livez" in found
    assert "no-such-topic" in found
    assert "python, line 8\n    exit status 1" in found


def _heads(page: Page) -> list[str]:
    return [" ".join(words(command)) for block in page.blocks("sh") for command in commands(block.text)]


def test_no_rule_is_left_over() -> None:
    said = [head for page in pages() for head in _heads(page)]
    unused = [pattern for pattern in ELSEWHERE if not any(re.match(pattern, head) for head in said)]
    blocks = [(page.name, block.text) for page in pages() for block in page.blocks("python")]
    assert not unused
    assert all(any(page == name and text.startswith(first) for name, text in blocks) for page, first in ONLY_COMPILED)
