"""Workers inside the test's own loop, and readers of whole topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from forebay.producers import ChatClient
from forebay.rehearsal.chaos.reading import records_of as read_topic
from forebay.schemas import Cluster
from forebay.workers.assembly import Assembly
from forebay.workers.assistants import Assistant
from forebay.workers.conversations import Store, open_store
from forebay.workers.engine.handler import Handler, SendDelta
from forebay.workers.engine.worker import Worker, worker_name
from forebay.workers.flow.retry import RetryPolicy
from forebay.workers.settings import WorkerSettings

from .installed import installed, shop

__all__ = ["Fleet", "installed", "read_topic", "shop", "until", "until_async"]

ASSISTANT = Assistant()
QUICK_RETRY = RetryPolicy(base_s=0.01, retry_after_cap_s=0.01)


class Fleet:
    """Workers of one test. Each is stopped at its end."""

    def __init__(self, cluster: Cluster, folder: Path, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self.store_url = f"sqlite:///{folder / 'conversations.db'}"
        self._stack = stack
        self.running: dict[Worker, asyncio.Task[None]] = {}

    async def start(
        self,
        *,
        answers: Callable[[SendDelta], Handler] | None = None,
        model: str = "claude-haiku-4-5",
        concurrency: int = 50,
        store: Store | None = None,
        max_waiting: int = 10_000,
        assistant: Assistant = ASSISTANT,
        retry: RetryPolicy = QUICK_RETRY,
        **more: Any,
    ) -> Worker:
        """A worker that has joined the group. Without ``answers`` it calls the simulated model.

        ``more`` are other settings of the worker.
        """
        given: dict[str, Any] = {"model": model, "concurrency": concurrency, "max_waiting": max_waiting, "drain_s": 10}
        settings = WorkerSettings(**given | more)
        name = worker_name()
        answers = answers or await self._answering(name, settings, assistant, store, retry)
        worker = Worker(self.cluster, settings, answers, name=name)
        task = asyncio.create_task(worker.run())
        self.running[worker] = task
        self._stack.push_async_callback(self.stop, worker)
        await until(lambda: task.done() or worker.ready() is None)
        if task.done():
            task.result()
        return worker

    async def stop(self, worker: Worker) -> None:
        """Drains it as SIGTERM does."""
        task = self.running.pop(worker, None)
        if task is not None:
            worker.stop()
            await task

    async def crash(self, worker: Worker) -> None:
        """Ends it where it is: nothing more is published or committed, and the group is not told."""
        task = self.running.pop(worker)
        worker._intake.commits.commit = _nothing  # type: ignore[method-assign]
        worker._intake._consumer._coordinator._maybe_leave_group = _nothing
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _answering(
        self, name: str, settings: WorkerSettings, assistant: Assistant, store: Store | None, retry: RetryPolicy
    ) -> Callable[[SendDelta], Handler]:
        if store is None:
            store = open_store(self.store_url)
            self._stack.push_async_callback(store.close)
        parts = await Assembly.of(assistant, settings, self._stack, retry)
        return partial(parts.answering, store, name)


async def _nothing(*_: object, **__: object) -> None:
    return None


@pytest_asyncio.fixture
async def fleet(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        yield Fleet(cluster, tmp_path, stack)


@pytest_asyncio.fixture
async def chat(cluster: Cluster) -> AsyncIterator[ChatClient]:
    async with ChatClient(cluster) as client:
        yield client


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Waits for a condition, not for a time."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def until_async(condition: Callable[[], Awaitable[bool]], timeout_s: float = 120.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.fixture(params=["claude-haiku-4-5", "gpt-6-luna"])
def model(request: pytest.FixtureRequest) -> str:
    """A model of each provider."""
    name: str = request.param
    return name
