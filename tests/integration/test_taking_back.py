"""Turns that their senders take back, from Python and from the command line; a hand writes the replies as a worker does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forebay.producers import ChatClient, new_turn
from forebay.schemas import Cancellation, Cluster, Turn, decode_cancellation, decode_turn, new_id

from .conftest import read_topic, until_async
from .gateway import Hand


async def cancellations(cluster: Cluster) -> list[Cancellation]:
    records = await read_topic(cluster, cluster.topics.cancellations)
    assert all(record.key == decode_cancellation(record.value).conversation_id.encode() for record in records)
    return [decode_cancellation(record.value) for record in records]


async def turns(cluster: Cluster) -> list[Turn]:
    return [decode_turn(record.value) for record in await read_topic(cluster, cluster.topics.requests)]


@asynccontextmanager
async def forebay(cluster: Cluster, folder: Path, *words: str) -> AsyncIterator[Process]:
    """A command that runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
    there = {"FOREBAY_KAFKA": cluster.kafka, "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "forebay.cli", *words, cwd=folder, env=kept | there, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def done(process: Process) -> tuple[int, str, str]:
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_turn_is_taken_back_and_its_reply_is_waited_for(cluster: Cluster, chat: ChatClient, hand: Hand) -> None:
    turn = new_turn("Hello", conversation_id="c-1", user_id="u-1")
    await chat.send(turn)
    before = datetime.now(UTC)
    assert await chat.cancel(turn, user_id="u-1") is None
    assert await chat.cancel("t-2", conversation_id="c-1") is None
    first, second = await cancellations(cluster)
    assert first.at is not None
    assert first.at >= before
    assert (first.turn_id, first.conversation_id, first.user_id) == (turn.turn_id, "c-1", "u-1")
    assert (second.turn_id, second.user_id) == ("t-2", None)
    assert await chat.cancel(turn, timeout_s=0.1) is None
    waiting = asyncio.create_task(chat.cancel(turn, timeout_s=30))
    await until_async(lambda: _sent(cluster, 4))
    written = await hand.reply(("c-1", turn.turn_id), "So far", outcome="cancelled")
    assert await waiting == written


async def _sent(cluster: Cluster, count: int) -> bool:
    return len(await cancellations(cluster)) == count


async def test_an_id_without_its_conversation_is_refused(chat: ChatClient) -> None:
    with pytest.raises(ValueError, match="with its conversation_id"):
        await chat.cancel("t-1")


async def test_who_waits_for_a_merged_turn_may_follow_it(chat: ChatClient, hand: Hand) -> None:
    first = new_turn("Hello", conversation_id="c-1", when_busy="merge")
    second = new_turn("Hello??", conversation_id="c-1", when_busy="merge")
    waits = [
        asyncio.create_task(chat.ask(first, timeout_s=30)),
        asyncio.create_task(chat.ask(first, timeout_s=30, follow_merged=True)),
        asyncio.create_task(chat.ask(second, timeout_s=30)),
    ]

    async def last() -> list[object]:
        return [part async for part in chat.stream(first, timeout_s=30, follow_merged=True)]

    streamed = asyncio.create_task(last())
    await until_async(lambda: _asked(chat, 2))
    merged = await hand.reply(("c-1", first.turn_id), "", outcome="merged", merged_into=second.turn_id)
    answer = await hand.reply(("c-1", second.turn_id), "Hello to both")
    assert await asyncio.gather(*waits) == [merged, answer, answer]
    assert await streamed == [answer]


async def _asked(chat: ChatClient, turns_waited_for: int) -> bool:
    waiting = chat._waiters._waiting
    return len(waiting) == turns_waited_for and sum(map(len, waiting.values())) == 4


@pytest.mark.takes(10)
async def test_the_command_says_what_became_of_the_turn(cluster: Cluster, hand: Hand, tmp_path: Path) -> None:
    cancelled, answered, unknown = (new_id() for _ in range(3))
    await hand.reply(("c-1", cancelled), "So far\x1b[2J", outcome="cancelled")
    await hand.reply(("c-1", answered), "Yes")
    cases = {
        cancelled: (0, "cancelled", "cancelled; said by then: So far\N{REPLACEMENT CHARACTER}[2J"),
        answered: (1, "too_late", "too late, its reply is answered"),
        unknown: (0, "sent", "Kafka has the cancellation"),
    }
    for turn_id, (status, word, says) in cases.items():
        words = ("cancel", turn_id, "--conversation", "c-1", "--wait", "0.2")
        async with (
            forebay(cluster, tmp_path, *words) as process,
            forebay(cluster, tmp_path, *words, "--json") as as_json,
        ):
            code, out, err = await done(process)
            assert (code, err) == (status, "")
            assert says in out
            told = json.loads((await done(as_json))[1])
            assert (told["turn_id"], told["conversation_id"], told["status"]) == (turn_id, "c-1", word)
            assert (told["reply"] is None) == (turn_id == unknown)
    assert unknown in {word.turn_id for word in await cancellations(cluster)}
    async with forebay(cluster, tmp_path, "cancel", "", "--conversation", "c-1") as process:
        code, _, err = await done(process)
        assert (code, "Traceback" in err) == (2, False)
        assert "turn_id: String should have at least 1 character" in err


@pytest.mark.takes(10)
@pytest.mark.parametrize("mode", ["plain", "stream", "file"])
async def test_ctrl_c_takes_the_waiting_turns_back_before_the_command_ends(
    cluster: Cluster, hand: Hand, tmp_path: Path, mode: str
) -> None:
    (tmp_path / "turns.txt").write_text("One\nTwo\n")
    asked = ["--file", "turns.txt"] if mode == "file" else ["One", *(["--stream"] if mode == "stream" else [])]
    async with forebay(cluster, tmp_path, "ask", *asked, "--conversation", "c-1", "--when-busy", "merge") as process:
        await until_async(lambda: _requested(cluster, 2 if mode == "file" else 1))
        sent = await turns(cluster)
        assert {turn.when_busy for turn in sent} == {"merge"}
        process.send_signal(signal.SIGINT)
        code, _, err = await done(process)
    assert code == 130
    assert "Traceback" not in err
    assert all(f"turn {turn.turn_id} taken back" in err for turn in sent)
    assert {word.turn_id for word in await cancellations(cluster)} == {turn.turn_id for turn in sent}


async def _requested(cluster: Cluster, count: int) -> bool:
    return len(await turns(cluster)) == count


@pytest.mark.takes(5)
async def test_ask_gives_the_answer_of_the_turn_it_was_merged_into(
    cluster: Cluster, hand: Hand, tmp_path: Path
) -> None:
    async with forebay(cluster, tmp_path, "ask", "One", "--conversation", "c-1", "--when-busy", "merge") as process:
        await until_async(lambda: _requested(cluster, 1))
        (turn,) = await turns(cluster)
        await hand.reply(("c-1", turn.turn_id), "", outcome="merged", merged_into="t-2")
        await hand.reply(("c-1", "t-2"), "To both")
        assert await done(process) == (0, "To both\n", "")
