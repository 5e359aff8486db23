"""A quota that several workers share through a real Redis, measured from their own calls."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from structlog.testing import capture_logs

from forebay.producers import ChatClient, new_turn
from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.servers.redis import EmbeddedRedis
from forebay.rehearsal.worker_processes import WorkerProcess
from forebay.schemas import Cluster, SettingsError
from forebay.workers.flow.limits import Quota
from forebay.workers.flow.shared_limits import SharedLimits

from .conftest import until
from .shared_user import Calls, User, fullest, used

WINDOW_S = 4.0
QUOTA = 400_000.0

Join = Callable[..., User]


@pytest_asyncio.fixture
async def join(redis: EmbeddedRedis) -> AsyncIterator[Join]:
    """Makes users of one key; they leave at the end."""
    name, seeds, users = uuid4().hex, count(), list[User]()

    def joined(**fields: Any) -> User:
        given: dict[str, Any] = {
            "url": redis.url,
            "name": name,
            "quota": QUOTA,
            "window_s": WINDOW_S,
            "seed": next(seeds),
        }
        users.append(User(**given | fields))
        return users[-1]

    yield joined
    await asyncio.gather(*(user.shared.close() for user in users))


def all_calls(users: list[User]) -> Calls:
    return [call for user in users for call in user.calls]


@pytest.mark.takes(12)
async def test_three_use_the_whole_quota_and_not_more(join: Join) -> None:
    users, began = [join() for _ in range(3)], time.time()
    await asyncio.gather(*(user.run(began + 3 * WINDOW_S) for user in users))
    calls = all_calls(users)
    assert fullest(calls, WINDOW_S) <= 1.01 * QUOTA
    assert sum(used(calls, [began, began + 3 * WINDOW_S])) >= 0.95 * 3 * QUOTA
    shares = [sum(tokens for _, tokens in user.calls) / (3 * QUOTA) for user in users]
    assert min(shares) > 0.25, "none goes short"


@pytest.mark.takes(13)
async def test_the_quota_of_a_killed_process_goes_to_the_others(redis: EmbeddedRedis) -> None:
    fields = {"url": redis.url, "name": uuid4().hex, "quota": QUOTA, "window_s": WINDOW_S}
    processes = [await started(fields | {"seed": seed}) for seed in range(3)]
    for process in processes:
        assert await output_of(process).readline() == b"ready\n"
    began = time.time()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{began + 3 * WINDOW_S}\n".encode())
    reading = asyncio.gather(*(output_of(process).read() for process in processes))
    await asyncio.sleep(0.5 * WINDOW_S)  # real: in the middle of a window
    processes[0].kill()
    said = await reading
    assert [await process.wait() for process in processes] == [-9, 0, 0]
    each = [[(float(at), int(tokens)) for at, tokens in map(bytes.split, lines.splitlines())] for lines in said]
    assert all(each)
    calls = [call for calls in each for call in calls]
    assert fullest(calls, WINDOW_S) <= 1.01 * QUOTA
    last = used(calls, [began + 2 * WINDOW_S, began + 3 * WINDOW_S])
    assert last[0] >= 0.95 * QUOTA, "what it had leased has left the window, and the two that are left use it all"


async def started(fields: dict[str, Any]) -> asyncio.subprocess.Process:
    """A user in a process of its own."""
    command = [sys.executable, "-m", "tests.integration.shared_user", orjson.dumps(fields).decode()]
    return await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)


def output_of(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    assert process.stdout is not None
    return process.stdout


@pytest.mark.takes(16)
async def test_each_keeps_to_its_share_while_redis_is_away(join: Join) -> None:
    with EmbeddedRedis.running() as own, capture_logs() as logs:
        users, began = [join(url=own.url) for _ in range(3)], time.time()
        marks = [began + number * WINDOW_S for number in range(5)]
        running = asyncio.gather(*(user.run(marks[-1]) for user in users))
        await asyncio.sleep(
            marks[1] - time.time()
        )  # real, as are the other two marks: whole windows with it and without
        own.stop(kill=True)
        await until(lambda: all(user.limit.alone for user in users))
        await asyncio.sleep(marks[2] - time.time())
        own.start()
        back = time.time()
        await until(lambda: not any(user.limit.alone for user in users))
        shared_again = time.time()
        await running
        calls = all_calls(users)
        assert shared_again < back + 5
        assert fullest([call for call in calls if call[0] < marks[1]], WINDOW_S) <= 1.01 * QUOTA
        assert fullest(calls, WINDOW_S) <= 1.1 * QUOTA, "nobody knew what the others used when Redis went"
        assert all(tokens >= 0.9 * QUOTA for tokens in used(calls, marks))
        assert fullest([call for call in calls if call[0] > shared_again], WINDOW_S) <= 1.01 * QUOTA
        assert [line["event"] for line in logs] == ["limits.away"] * 3 + ["limits.back"] * 3
        await asyncio.gather(*(user.shared.close() for user in users))


async def test_a_redis_that_hangs_stops_nobody(join: Join) -> None:
    with EmbeddedRedis.running() as own:
        user = join(url=own.url)
        running = asyncio.create_task(user.run(time.time() + 6.0))
        await until(lambda: bool(user.calls))
        assert own.pid is not None
        os.killpg(own.pid, signal.SIGSTOP)
        try:
            await until(lambda: user.limit.alone)
            before = len(user.calls)
            await until(lambda: len(user.calls) > before)
            user.limit.correct({"tokens": Quota(QUOTA / 2, QUOTA / 2)}, asyncio.get_running_loop().time())
            await asyncio.sleep(0.5)
            assert user.limit.alone
        finally:
            os.killpg(own.pid, signal.SIGCONT)
        await until(lambda: not user.limit.alone)
        await running
        await user.shared.close()


async def test_a_worker_on_its_own_has_its_share_of_a_limit_that_it_learns() -> None:
    shared = SharedLimits("redis://127.0.0.1:1/0", share=4)
    limit = shared.limit("key", {"tokens": 2000.0})
    limit.correct({"tokens": Quota(1000.0, 1000.0)}, asyncio.get_running_loop().time())
    loop = asyncio.get_running_loop()
    assert limit.admits_at({"tokens": 100.0}, loop.time()) > loop.time()
    await until(lambda: limit.alone)
    for _ in range(2):
        limit.reserve({"tokens": 125.0}, loop.time())
    assert limit.admits_at({"tokens": 1.0}, loop.time()) > loop.time() + 50
    limit.correct({"tokens": Quota(2000.0, 1900.0)}, loop.time())
    assert limit.admits_at({"tokens": 250.0}, loop.time()) == pytest.approx(loop.time())
    assert limit.admits_at({"tokens": 251.0}, loop.time()) > loop.time() + 50
    await shared.close()


@pytest.mark.takes(8)
async def test_a_count_that_was_lost_is_told_again(join: Join, redis: EmbeddedRedis) -> None:
    users, began = [join() for _ in range(3)], time.time()
    running = asyncio.gather(*(user.run(began + 2 * WINDOW_S) for user in users))
    await asyncio.sleep(WINDOW_S / 2)  # real: in the middle of a window
    async with Redis.from_url(redis.url) as client:
        await client.flushall()
    await running
    assert fullest(all_calls(users), WINDOW_S) <= 1.05 * QUOTA
    assert not any(user.limit.alone for user in users)


@pytest.mark.takes(8)
async def test_large_calls_are_not_crowded_out(join: Join) -> None:
    users = [join(longest=100_000, concurrency=2), *(join(longest=300) for _ in range(2))]
    await asyncio.gather(*(user.run(time.time() + 2 * WINDOW_S) for user in users))
    calls = all_calls(users)
    large = sum(tokens for _, tokens in users[0].calls)
    assert large >= 0.2 * sum(tokens for _, tokens in calls)
    assert fullest(calls, WINDOW_S) <= 1.01 * QUOTA + 2 * 5_000  # a large call alone is 4% of the quota


async def test_quota_that_is_not_used_comes_back(join: Join) -> None:
    idle, busy = join(window_s=60.0), join(window_s=60.0)
    loop = asyncio.get_running_loop()
    whole = {"tokens": QUOTA}
    await until(lambda: idle.limit.admits_at(whole, loop.time()) <= loop.time())
    assert busy.limit.admits_at(whole, loop.time()) > loop.time()
    await until(lambda: busy.limit.admits_at(whole, loop.time()) <= loop.time())
    busy.limit.reserve(whole, loop.time())
    assert busy.limit.room(loop.time()) < 0.1


async def test_all_learn_what_a_provider_told_one(join: Join) -> None:
    told, other = join(), join()
    loop = asyncio.get_running_loop()
    told.limit.correct({"tokens": Quota(500.0, 400.0, 1.0)}, loop.time())
    for user in (told, other):
        call = {"tokens": 50.0}
        await until(lambda user=user, call=call: user.limit.admits_at(call, loop.time()) <= loop.time())  # type: ignore[misc]
        user.limit.reserve(call, loop.time())
    await until(lambda: other.limit.room(loop.time()) == pytest.approx(0.8, abs=0.05))
    assert other.limit.admits_at({"tokens": 450.0}, loop.time() + 0.01) > loop.time()
    told.limit.correct({"tokens": Quota(10 * QUOTA, 10 * QUOTA)}, loop.time())
    call = {"tokens": QUOTA - 100.0}
    await until(lambda: other.limit.admits_at(call, loop.time()) <= loop.time())
    other.limit.reserve(call, loop.time())
    for _ in range(10):
        assert told.limit.admits_at({"tokens": 200.0}, loop.time()) > loop.time(), "the settings allow no more"
        await asyncio.sleep(0.05)


async def test_keys_stay_secret_and_nothing_stays_for_ever(redis: EmbeddedRedis, join: Join) -> None:
    user = join(name="anthropic claude sk-ant-secret")
    await user.run(time.time() + 0.3)
    async with Redis.from_url(redis.url, decode_responses=True) as client:
        names = [name async for name in client.scan_iter()]
        assert names
        assert all(name.startswith("forebay:{") and "secret" not in name for name in names)
        assert all([0 < await client.pttl(name) <= 600_000 for name in names])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:6379/0", "write redis://host:port/0"),
        ("redis://:pa55@host:six/0", "its port is no number"),
        ("redis://host:1/zero", "write redis://host:port/0"),
        ("localhost:6379", "write redis://host:port/0"),
    ],
)
async def test_a_wrong_address_is_refused_in_one_line(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        SharedLimits(url)
    assert "pa55" not in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(SettingsError, match=r"pip install 'forebay\[redis\]'"):
        SharedLimits("redis://127.0.0.1:6379/0")


async def test_a_redis_that_refuses_us_is_named_at_the_start() -> None:
    with EmbeddedRedis.running(settings={"requirepass": "right"}) as guarded:
        address = f"redis://:wrong@127.0.0.1:{guarded.port}/0"
        with pytest.raises(ConnectionError, match=r"Redis does not answer: .*[Pp]assword") as refused:
            await SharedLimits(address).reach()
        assert ":wrong" not in str(refused.value)
        await SharedLimits(address.replace("wrong", "right")).reach()


@pytest.mark.parametrize(("limits", "status"), [("redis://127.0.0.1:1/0", 1), ("redis://127.0.0.1:none/0", 2)])
def test_a_worker_without_its_redis_says_so(cluster: Cluster, tmp_path: Path, limits: str, status: int) -> None:
    settings = {"FOREBAY_LIMITS": limits, "ANTHROPIC_API_KEY": "k", "FOREBAY_HEALTH_PORT": "0"}
    kafka = {"FOREBAY_KAFKA": cluster.kafka, "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix}
    command = [sys.executable, "-m", "forebay.cli", "worker"]
    ended = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **settings, **kafka}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == status
    assert "FOREBAY_LIMITS=redis://" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.takes(8)
async def test_three_workers_fill_a_minute_and_no_call_is_refused(
    cluster: Cluster, redis: EmbeddedRedis, model_api: ModelApi, tmp_path: Path
) -> None:
    quota = 20_000
    model_api.set_limits(tokens_per_minute=quota)
    environment = {
        "FOREBAY_KAFKA": cluster.kafka,
        "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
        "FOREBAY_STORE": f"sqlite:///{tmp_path / 'conversations.db'}",
        "FOREBAY_LIMITS": redis.url,
        "FOREBAY_TPM": str(quota),
        "FOREBAY_CONCURRENCY": "2",
        "FOREBAY_DRAIN_S": "1",
        "ANTHROPIC_API_KEY": uuid4().hex,
    }
    async with AsyncExitStack() as stack:
        workers = [stack.enter_context(closing(WorkerProcess(f"w{n}", tmp_path, environment))) for n in range(3)]
        chat = await stack.enter_async_context(ChatClient(cluster))
        await asyncio.gather(*(worker.ready() for worker in workers))
        await chat.send_many([new_turn("word " * 60, conversation_id=f"c{number}") for number in range(300)])
        await until(lambda: model_api.stats().window_tokens >= 0.95 * quota)
        await asyncio.sleep(2.0)  # real: the window stays full, and nobody is refused
        stats = model_api.stats()
        assert stats.peak_window_tokens <= 1.01 * quota
        assert stats.refused["tokens"] == 0
        assert stats.accepted < 300
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))
