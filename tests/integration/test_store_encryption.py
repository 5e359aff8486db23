"""Values at rest: never readable in a store's files, whatever a conversation has; keys are changed without a break."""

from __future__ import annotations

import base64
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from forebay.rehearsal.servers.redis import EmbeddedRedis
from forebay.workers.conversations import Store, StoreError, open_store
from tests.integration.test_store import entry
from tests.integration.test_store_erasure import PLANTED, fill

SECRET = [base64.b64encode(bytes([number]) * 32).decode() for number in (7, 8)]
OLD, NEW = f"old:{SECRET[0]}", f"new:{SECRET[1]}"
Opened = Callable[[str], Store]


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """The same store with these keys."""
    url = f"sqlite:///{tmp_path / 'conversations.db'}"
    if request.param == "redis":
        server: EmbeddedRedis = request.getfixturevalue("redis")
        url = f"redis://127.0.0.1:{server.port}/9"
        with Redis.from_url(url) as client:
            client.flushdb()
    return lambda keys: open_store(url, SecretStr(keys) if keys else None)


async def same(store: Store, mark: str = PLANTED) -> None:
    """All that `fill` stored is there."""
    loaded = await store.load("c", "t1", 9)
    assert loaded.reply is not None
    assert loaded.reply.value == f"{mark}-reply-1".encode() * 50
    assert [exchange.said for exchange in loaded.history] == [f"{mark}-said-{number}" for number in range(3)] + [""]
    assert loaded.history[0].steps[1].results[0].text == f"{mark}-result"
    assert (loaded.history[3].answer, loaded.history[3].person) == (f"{mark}-message", f"{mark}-name")
    conversation = loaded.conversation
    assert (conversation.summary, conversation.handed_off) == (f"{mark}-summary", f"{mark}-reason")
    assert conversation.state.vault == {"PHONE_1": f"{mark}-phone", "EMAIL_1": None}
    page = await store.history("c")
    assert [one.turn_id for one in page.exchanges] == ["t0", "t1", "t2", "message-1"]
    assert page.exchanges[3].exchange == loaded.history[3]


async def test_nothing_is_readable_in_the_files_of_sqlite(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'c.db'}", SecretStr(OLD))
    await fill(store, "c")
    await same(store)
    assert len(list(tmp_path.iterdir())) == 3
    for file in tmp_path.iterdir():
        found = file.read_bytes().replace(f"{PLANTED}-user".encode(), b"")
        assert PLANTED.encode() not in found, file.name
        assert base64.b64decode(SECRET[0]) not in found
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    await store.close()


async def test_nothing_is_readable_in_redis(tmp_path: Path) -> None:
    with EmbeddedRedis.running(data=tmp_path, settings={"appendfsync": "always"}) as server:
        store = open_store(server.url, SecretStr(OLD))
        await fill(store, "c")
        await same(store)
        await store.close()
        files = [file.read_bytes().replace(f"{PLANTED}-user".encode(), b"") for file in tmp_path.rglob("*.aof*")]
        assert any(b"{forebay:0}" in found for found in files), "or the search proves nothing"
        assert not any(PLANTED.encode() in found for found in files)


async def test_keys_are_changed_and_old_values_stay_readable(opened: Opened) -> None:
    plain = opened("")
    await plain.record(entry("t-plain", b"plain", "d"))
    await fill(plain, "c")
    sealing = opened(OLD)
    await same(sealing)
    await sealing.record(entry("t-old", b"old", "d"))
    changed = opened(f"{NEW},{OLD}")
    await changed.record(entry("t-new", b"new", "d"))
    loaded = await changed.load("d", "t-old", 9)
    assert loaded.reply is not None
    assert loaded.reply.value == b"old"
    assert [exchange.said for exchange in loaded.history] == ["said t-plain", "said t-old", "said t-new"]
    only_new = opened(NEW)
    with pytest.raises(StoreError, match="FOREBAY_STORE_KEY lacks the key 'old'") as told:
        await only_new.load("d", "t-old", 9)
    assert SECRET[0] not in str(told.value)
    for store in (only_new, plain):
        with pytest.raises(StoreError, match=r"lacks the key '(old|new)'"):
            await store.history("d")
    with pytest.raises(StoreError, match="lacks the key 'old'"):
        await only_new.record(entry("t-old", b"again", "d"))
    erased = await only_new.erase("d")
    assert (erased.removed["replies"], erased.unreadable) == (3, None)
    for store in (plain, sealing, changed, only_new):
        await store.close()


async def test_a_conversation_whose_key_is_lost_is_erased_and_that_is_told(opened: Opened) -> None:
    sealing, other = opened(OLD), opened(NEW)
    await fill(sealing, "c")
    erased = await other.erase("c")
    assert erased.removed["replies"] == 7
    assert erased.unreadable is not None
    assert "lacks the key 'old'" in erased.unreadable
    assert (await sealing.load("c", "t0", 9)).reply is None
    for store in (sealing, other):
        await store.close()


async def test_what_redis_is_told_twice_is_paid_for_once(redis: EmbeddedRedis) -> None:
    """Sealed, it is never the same bytes."""
    store = open_store(f"redis://127.0.0.1:{redis.port}/9", SecretStr(OLD))
    await store.erase("twice")
    before = (await store.load("twice", "t", 9, ("twice",))).spent["twice"].in_day
    done = entry("t", conversation_id="twice")._replace(scopes=("twice",), cost_usd=0.5)
    known = (await store.load("twice", "t", 9)).erased_at
    assert [await store.record(done._replace(erased_at=known)) for _ in range(3)] == [(done.reply,)] * 3
    for _ in range(2):
        await store.save_summary("twice", "short", 1, 0.25, known)
    loaded = await store.load("twice", "t", 9, ("twice",))
    assert (loaded.spent["twice"].in_day - before, loaded.conversation.summary_usd) == (0.5, 0.25)
    await store.close()


async def test_a_value_that_was_moved_to_another_conversation_is_not_believed(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'c.db'}", SecretStr(OLD))
    await store.record(entry("t", b"mine", "c"))
    await store.record(entry("t", b"yours", "d"))
    with closing(sqlite3.connect(tmp_path / "c.db")) as database, database:
        (reply,) = database.execute("SELECT reply FROM turns WHERE conversation_id = 'd'").fetchone()
        database.execute("UPDATE turns SET reply = ? WHERE conversation_id = 'c'", (reply,))
    with pytest.raises(StoreError, match="changed or moved"):
        await store.load("c", "t", 9)
    await store.close()


async def test_the_file_of_an_earlier_version_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "c.db").touch(0o644)
    store = open_store(f"sqlite:///{tmp_path / 'c.db'}")
    await store.record(entry("t"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    await store.close()
