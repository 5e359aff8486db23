"""The Redis store: what is specific to it. The suite that every store passes is test_store.py."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis
from structlog.testing import capture_logs

from forebay.rehearsal.servers.redis import EmbeddedRedis
from forebay.schemas import SettingsError
from forebay.workers.conversations import CLAIM_S, Claim, Entry, State, StoredReply, StoreError, open_store
from forebay.workers.conversations.hot_histories import HeldHistory, HotConversations
from forebay.workers.conversations.redis_store import HISTORY, KEEP_S, RedisStore
from forebay.workers.conversations.redis_store.redis_words import RedisWords
from tests.integration.test_store import entry


@asynccontextmanager
async def opened(url: str, hot: HotConversations | None = None) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, hot)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def url(redis: EmbeddedRedis) -> str:
    """A database of this test's own."""
    url = f"redis://127.0.0.1:{redis.port}/8"
    with Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def client(url: str) -> Iterator[Redis]:
    with Redis.from_url(url) as client:
        yield client


def paid(turn_id: str, conversation_id: str = "c") -> Entry:
    """Costs a quarter, for everyone and for a scope of its own."""
    return entry(turn_id, turn_id.encode(), conversation_id)._replace(scopes=("", turn_id), cost_usd=0.25)


async def test_nothing_stays_for_ever(url: str, client: Redis) -> None:
    async with opened(url) as store:
        await store.load("only a state", "t", 1, owner="me")
        assert await store.save_state(Claim("only a state", "t", "me"), State(failures=1))
        await store.record(entry("lost", outcome="failed")._replace(hand_off="asked_for"))
        for number in range(HISTORY + 5):
            await store.record(paid(f"t-{number}"))
        assert (await store.load("c", "claimed", 5, owner="me")).claimed_s == 0
        await store.renew([Claim("c", "claimed", "me")])
        await store.save_summary("c", "short", 100)
        await store.remember_message("c", "m", "Anna", "Hello.", time.time())
        await store.record(entry("by a user")._replace(user_id="u-1", exchange=None))
        await store.give_back("c")
        assert (await store.load("c", "u", 5)).conversation.exchanges == HISTORY + 6
    kinds: dict[str, list[int]] = {}
    for key in client.scan_iter(count=1000):
        assert key.startswith(b"{forebay:0}:")
        kinds.setdefault(key.split(b":")[2].decode(), []).append(client.ttl(key))
    listed = {"participants", "user"}
    assert set(kinds) == {"turn", "claim", "conversation", "history", "turns", "message", "spent"} | listed
    lowest = {"claim": int(CLAIM_S) - 1, "spent": 3 * 86_400 - 60}
    for kind in listed:  # a little longer than the conversation
        assert all(KEEP_S < left <= KEEP_S + 2 * 86_400 for left in kinds.pop(kind)), kind
    for kind, seconds in kinds.items():
        assert all(lowest.get(kind, KEEP_S - 60) <= left <= KEEP_S for left in seconds), kind
    assert all(left <= 10 for left in kinds["claim"])
    assert client.llen("{forebay:0}:history:c") == HISTORY


async def test_what_the_first_version_wrote_is_read(url: str, client: Redis) -> None:
    client.rpush("{forebay:0}:history:c", b'["hello","hi",null]')
    client.hset("{forebay:0}:conversation:c", mapping={"version": "1.2.3", "exchanges": "1"})
    async with opened(url) as store:
        await store.record(entry("t-2"))
        assert [exchange.said for exchange in (await store.load("c", "u", 5)).history] == ["hello", "said t-2"]
        page = await store.history("c")
        assert [(one.turn_id, one.exchange.said) for one in page.exchanges] == [(None, "hello"), ("t-2", "said t-2")]
        assert page.exchanges[0].at is None


async def test_pages_end_where_the_kept_history_does(url: str) -> None:
    async with opened(url) as store:
        for number in range(HISTORY + 5):
            await store.record(entry(f"t{number}"))
        before, said = None, list[str]()
        while True:
            page = await store.history("c", before, limit=70)
            said = [one.exchange.said for one in page.exchanges] + said
            if (before := page.before) is None:
                break
        assert said == [f"said t{number}" for number in range(5, HISTORY + 5)]
        assert (await store.history("c", 3)).exchanges == ()


async def test_old_hours_are_no_longer_counted(url: str, client: Redis) -> None:
    hour = int(time.time()) // 3600
    for old in (f"h{hour - 100}", f"d{hour // 24 - 5}", f"h{hour - 20}", f"d{hour // 24 - 1}"):
        client.hincrbyfloat("{forebay:0}:spent:", old, 1.0)
    async with opened(url) as store:
        await store.record(paid("t"))
        assert (await store.load("c", "u", 1, ("",))).spent[""][1:] == (0.25, 0.25)
    assert client.hlen("{forebay:0}:spent:") == 4


async def test_a_hot_history_is_not_sent_again_and_never_stale(
    url: str, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    held = RedisWords.held

    def counted(words: RedisWords, conversation_id: str, version: bytes, depth: int, history: bytes) -> HeldHistory:
        sent.append(history)
        return held(words, conversation_id, version, depth, history)

    monkeypatch.setattr(RedisWords, "held", counted)
    async with opened(url) as first, opened(url) as second:
        await first.record(entry("t1"))
        assert len((await first.load("c", "u", 5)).history) == 1
        await first.record(entry("t2"))
        for _ in range(3):
            assert [exchange.said for exchange in (await first.load("c", "u", 5)).history] == ["said t1", "said t2"]
        assert len(sent) == 1, "its own turn it knows"
        await second.record(entry("t3"))
        assert len((await first.load("c", "u", 5)).history) == 3
        assert len(sent) == 2
        client.flushdb()
        for turn_id in ("t4", "t5", "t6"):
            await second.record(entry(turn_id))
        assert (await first.load("c", "u", 5)).history[0].said == "said t4", "as many as before, but others"
        client.flushdb()
        assert (await first.load("c", "u", 5)).history == ()


async def test_many_workers_on_one_conversation_never_serve_stale_history(url: str) -> None:
    stores = [RedisStore(url) for _ in range(3)]
    done = 0

    async def worker(number: int) -> None:
        nonlocal done
        for turn in range(40):
            await stores[number].record(entry(f"{number}-{turn}"))
            done += 1
            before = done
            loaded = await stores[(number + turn) % 3].load("c", "u", HISTORY)
            assert before <= len(loaded.history) == loaded.conversation.exchanges

    await asyncio.gather(*(worker(number) for number in range(3)))
    for store in stores:
        await store.close()


async def test_scripts_that_are_gone_are_sent_again(url: str, client: Redis) -> None:
    async with opened(url) as store:
        await store.record(entry("t"))
        client.script_flush()
        stored = await asyncio.gather(*(store.record(entry(f"t{number}")) for number in range(20)))
        assert len(stored) == 20
        history = (await store.load("c", "t", 50)).history
        assert [exchange.said for exchange in history] == ["said t", *(f"said t{number}" for number in range(20))]


async def test_a_caller_that_is_cancelled_takes_no_answer_from_others(url: str) -> None:
    async with opened(url) as store:
        await asyncio.gather(*(store.record(entry(f"t{number}", b"%d" % number)) for number in range(100)))
        loads = [asyncio.create_task(store.load("c", f"t{number}", 5)) for number in range(100)]
        await asyncio.sleep(0)
        for load in loads[::3]:
            load.cancel()
        for number, end in enumerate(await asyncio.gather(*loads, return_exceptions=True)):
            if number % 3 == 0:
                assert isinstance(end, asyncio.CancelledError)
            else:
                assert not isinstance(end, BaseException)
                assert end.reply == StoredReply("answered", b"%d" % number)


async def test_what_was_asked_is_done_before_it_closes(url: str) -> None:
    store = RedisStore(url)
    records = [asyncio.create_task(store.record(entry(f"t{number}"))) for number in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*records)) == 50
    await store.close()


async def test_only_another_word_about_a_turn_is_paid_for(url: str) -> None:
    async with opened(url) as first, opened(url) as second:
        for _ in range(3):
            await first.record(paid("t"))
        assert (await first.load("c", "u", 1, ("",))).spent[""].in_day == 0.25
        assert (await second.record(paid("t")))[0].value == b"t"
        assert (await first.load("c", "u", 1, ("",))).spent[""].in_day == 0.5, "another worker called a model too"
        for _ in range(2):
            await first.save_summary("c", "short", 1, 0.5)
        loaded = await first.load("c", "u", 5)
        assert (len(loaded.history), loaded.conversation.summary_usd) == (1, 0.5)


async def test_a_group_said_again_is_paid_for_once(url: str) -> None:
    group = paid("t2")._replace(others=(("t1", StoredReply("merged", b"into t2")),), scopes=("",))
    async with opened(url) as store:
        for _ in range(3):
            assert await store.record(group) == (StoredReply("answered", b"t2"), StoredReply("merged", b"into t2"))
        loaded = await store.load("c", "t1", 5, ("",))
        assert (loaded.spent[""].in_day, len(loaded.history)) == (0.25, 1)


async def test_an_operator_is_told_once_what_is_set_wrong() -> None:
    with EmbeddedRedis.running(settings={"maxmemory-policy": "allkeys-lru"}) as server, capture_logs() as logs:
        async with opened(server.url) as store:
            await store.load("c", "t", 5)
            await store._nodes.close()
            await store.load("c", "t", 5)
        found = [line["found"] for line in logs if line["event"] == "store.redis_settings"]
        assert found == ["maxmemory_policy:allkeys-lru", "aof_enabled:0"]


async def test_a_password_and_a_unix_socket(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    with EmbeddedRedis.running(settings={"unixsocket": str(socket), "requirepass": "pa55"}) as server:
        for right in (f"unix://:pa55@{socket}?db=3&shards=2", f"redis://:pa55@127.0.0.1:{server.port}/3?shards=2"):
            async with opened(right) as store:
                assert (await store.record(entry("t", b"x")))[0].value == b"x"
        async with opened(f"redis://:wrong@127.0.0.1:{server.port}/3") as store:
            with pytest.raises(StoreError, match=r"[Pp]assword") as refused:
                await store.load("c", "t", 5)
            assert ":wrong" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("redis://", "no address"),
        ("redis://:pa55@host/zero", "no address"),
        ("redis://:pa55@host:none/0", "its port"),
        ("unix://", "no address"),
        ("redis://:pa55@host/0?shards=0", "from 1 to 1024"),
        ("redis://:pa55@host/0?shards=", "from 1 to 1024"),
        ("rediss://:pa55@host/0?shards=2&shards=3", "from 1 to 1024"),
        ("redis://:pa55@host/0?db=x", "'db'"),
        ("redis://:pa55@host/0?never_heard_of=1", "never_heard_of"),
    ],
)
async def test_a_wrong_address_is_refused(address: str, why: str) -> None:
    with pytest.raises(SettingsError, match=f"FOREBAY_STORE=.*{why}") as refused:
        open_store(address)
    assert "pa55" not in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(SettingsError, match=r"pip install 'forebay\[redis\]'"):
        open_store("redis://127.0.0.1:6379/0")
