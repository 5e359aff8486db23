"""The Redis store while Redis dies, hangs, is full or is no longer the primary."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from redis import Redis

from forebay.rehearsal.servers.redis import EmbeddedRedis
from forebay.workers.conversations import Entry, StoredReply, StoreError
from forebay.workers.conversations.redis_store import HISTORY, RedisStore, pipe
from tests.integration.test_store import entry
from tests.integration.test_store_redis import opened, paid


async def test_killed_among_many_records_each_turn_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    server = EmbeddedRedis(data=tmp_path / "data", settings={"appendfsync": "always"})
    server.start()
    tried: list[Entry] = []
    told: list[Entry] = []

    async def customer(store: RedisStore, conversation_id: str) -> None:
        for number in range(100_000):
            tried.append(turn := paid(f"{conversation_id}-{number}", conversation_id))
            await store.record(turn)
            told.append(turn)

    try:
        async with opened(server.url) as store:
            customers = [asyncio.create_task(customer(store, f"c{number}")) for number in range(40)]
            while len(told) < 400:
                await asyncio.sleep(0.001)
            await asyncio.to_thread(server.stop, kill=True)
            ends = await asyncio.gather(*customers, return_exceptions=True)
            assert all(isinstance(end, StoreError) for end in ends), "each of them was in the middle of a turn"
            server.start()
            there = await whole_or_nothing(server.url, tried)
            assert there >= {turn.turn_id for turn in told}, "what was acknowledged is kept"
            assert len(tried) == len(told) + 40
            for turn in tried[-200:]:
                assert await store.record(turn) == (turn.reply,), "by the same store: it connects again by itself"
        assert len(await whole_or_nothing(server.url, tried)) == len(tried), "and no turn was paid for twice"
    finally:
        server.stop()


async def whole_or_nothing(url: str, tried: list[Entry]) -> set[str]:
    """The turns that are there."""
    async with opened(url) as store:
        there = set()
        for turn in tried:
            loaded = await store.load(turn.conversation_id, turn.turn_id, HISTORY, turn.scopes)
            assert len(loaded.history) < HISTORY, "or the oldest are gone"
            kept = [exchange for exchange in loaded.history if exchange == turn.exchange]
            parts = loaded.reply, len(kept), loaded.spent[turn.turn_id].in_day
            assert parts in ((turn.reply, 1, 0.25), (None, 0, 0.0))
            assert loaded.conversation.exchanges == len(loaded.history)
            if kept:
                there.add(turn.turn_id)
        assert loaded.spent[""].in_day == 0.25 * len(there)
        return there


async def test_a_redis_that_hangs_is_noticed_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedRedis.running() as server:
        with Redis.from_url(server.url) as client:
            pid = int(client.info("server")["process_id"])
        monkeypatch.setattr(pipe, "ANSWER_S", 0.3)
        async with opened(server.url) as store:
            await store.record(entry("t"))
            os.kill(pid, signal.SIGSTOP)
            asked = [store.load("c", "t", 5), store.record(entry("u")), store.load("c", "v", 5)]
            for end in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(end, StoreError)
                assert str(end) == "redis: no answer within 0.3 s"
            with pytest.raises(StoreError, match="no answer"):
                await store.load("c", "t", 5)
            os.kill(pid, signal.SIGCONT)
            assert (await store.load("c", "t", 5)).reply == StoredReply("answered", b"{}")


async def test_a_redis_that_is_away_says_so_and_comes_back() -> None:
    server = EmbeddedRedis()
    server.start()
    async with opened(server.url) as store:
        await store.record(entry("t"))
        server.stop(kill=True)
        for _ in range(2):
            with pytest.raises(StoreError, match=r"redis: .*") as away:
                await asyncio.gather(*(store.load("c", "t", 5) for _ in range(10)))
            assert "\n" not in str(away.value)
        server.start()
        assert (await store.load("c", "t", 5)).reply is None, "in memory only, and its scripts are gone too"
        server.stop()


async def test_a_primary_that_became_a_replica_is_left() -> None:
    with EmbeddedRedis.running() as server, Redis.from_url(server.url) as client:
        async with opened(server.url) as store:
            await store.record(entry("t"))
            before = store._nodes._pipes[None]
            client.execute_command("REPLICAOF", "127.0.0.1", 1)
            with pytest.raises(StoreError, match=r"READONLY|read only"):
                await store.record(entry("u"))
            client.execute_command("REPLICAOF", "NO", "ONE")
            assert (await store.record(entry("u", b"x")))[0].value == b"x"
            assert store._nodes._pipes[None] is not before


async def test_a_full_redis_refuses_whole_turns() -> None:
    with EmbeddedRedis.running(settings={"maxmemory": "3mb"}) as server:
        async with opened(server.url) as store:
            turns = (paid(f"t-{n}")._replace(reply=StoredReply("answered", b"x" * 20_000)) for n in range(1000))
            ends = [await asyncio.gather(store.record(turn), return_exceptions=True) for turn in turns]
            refused = [str(end) for (end,) in ends if isinstance(end, StoreError)]
            assert "OOM" in refused[0]
            stored = len(ends) - len(refused)
            loaded = await store.load("c", "t-999", HISTORY, ("",))
            assert loaded.reply is None
            assert len(loaded.history) == stored
            assert loaded.spent[""].in_day == 0.25 * stored
