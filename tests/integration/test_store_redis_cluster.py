"""The Redis store on a Redis Cluster."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from redis import Redis

from forebay.rehearsal.servers.child_process import taken
from forebay.rehearsal.servers.redis import EmbeddedRedis
from forebay.workers.conversations import Claim, State, StoreError
from tests.integration.test_store_redis import opened, paid


@asynccontextmanager
async def cluster_of(nodes: int) -> AsyncIterator[list[EmbeddedRedis]]:
    """They share the slots evenly, without replicas. A node waits two seconds before it takes calls."""
    settings = {"cluster-enabled": "yes", "cluster-require-full-coverage": "no"}
    with ExitStack() as stack:
        servers, clients = [], []
        for at in range(nodes):
            servers.append(stack.enter_context(EmbeddedRedis.running(port=cluster_port(), settings=settings)))
            clients.append(stack.enter_context(Redis.from_url(servers[at].url)))
            clients[at].execute_command("CLUSTER ADDSLOTS", *range(at * 16384 // nodes, (at + 1) * 16384 // nodes))
            clients[at].execute_command("CLUSTER SET-CONFIG-EPOCH", at + 1)
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", servers[at].port)
        for client in clients:
            while True:
                told = client.execute_command("CLUSTER INFO")
                if (told["cluster_state"], told["cluster_slots_assigned"]) == ("ok", "16384"):
                    break
                await asyncio.sleep(0.01)
        yield servers


def cluster_port() -> int:
    """Its bus takes the port 10,000 above."""
    return next(
        port for port in range(20_000 + os.getpid() % 5_000, 50_000) if not taken(port) and not taken(port + 10_000)
    )


async def test_a_cluster_takes_every_call() -> None:
    async with cluster_of(1) as (server,):
        for shards in (1, 5):
            async with opened(f"{server.url}?shards={shards}") as store:
                names = [f"{shards}-{number}" for number in range(20)]
                for name in names:
                    assert (await store.load(name, "t", 5, ("", name), "me")).claimed_s == 0
                await store.renew([Claim(name, "t", "me") for name in names])
                for name in names:
                    assert await store.save_state(Claim(name, "t", "me"), State(failures=1))
                    await store.record(paid("t", name)._replace(hand_off="asked_for", scopes=(f"all-{shards}", name)))
                    await store.save_summary(name, "short", 1)
                    await store.release(Claim(name, "t", "me"))
                    assert await store.give_back(name)
                for name in names:
                    loaded = await store.load(name, "t", 5, (f"all-{shards}", name))
                    assert [usd.in_day for usd in loaded.spent.values()] == [5.0, 0.25]
                    assert (len(loaded.history), loaded.conversation.summary) == (1, "short")
        with Redis.from_url(server.url) as client:
            tags = {key.split(b"}")[0] for key in client.scan_iter(count=1000)}
        assert tags == {b"{forebay:%d" % shard for shard in range(5)}


async def test_shards_are_followed_to_the_nodes_that_have_them() -> None:
    async with (
        cluster_of(2) as (one, two),
        opened(f"{one.url}?shards=6") as store,
        opened(f"{two.url}?shards=6") as other,
    ):
        turns = [paid("t", f"c{number}")._replace(scopes=("",)) for number in range(40)]
        await asyncio.gather(*(store.record(turn) for turn in turns))
        for turn in turns:
            assert (await other.load(turn.conversation_id, "t", 5)).reply == turn.reply
        assert (await other.load("c", "t", 5, ("",))).spent[""].in_day == 10.0
        for server in (one, two):
            with Redis.from_url(server.url) as client:
                assert client.dbsize() > 0
        two.stop(kill=True)
        loads = (store.load(turn.conversation_id, "t", 5) for turn in turns)
        ends = await asyncio.gather(*loads, return_exceptions=True)
        errors = [end for end in ends if isinstance(end, BaseException)]
        assert 0 < len(errors) < len(turns), "the others' node is still there"
        assert all(isinstance(error, StoreError) for error in errors)
