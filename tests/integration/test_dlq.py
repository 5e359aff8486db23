"""Dead letters on a real Kafka: seen, replayed once and in order whatever dies in the middle, deleted."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.record.util import calc_crc32c

from forebay.operations import DeadLetters, Filter, LetterId, NoSuchLetterError, ReplayTakenOverError
from forebay.operations.dead_letters import dead_letters as room
from forebay.operations.dead_letters.pace import ReplayPace
from forebay.operations.dead_letters.replay import ReplayProducer
from forebay.operations.dead_letters.replay_plan import write_mark
from forebay.producers import ChatClient, new_turn
from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.worker_processes import WorkerProcess
from forebay.schemas import Cluster, ClusterError, Failure, Headers, Reason, dead_letter_headers, decode_reply

from .conftest import read_topic, until_async
from .test_command_line import forebay

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
"""Letter n died n seconds later: long enough ago for Kafka to take the time, and not so long that retention takes them."""
TRACE = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


def at(seconds: int) -> str:
    """A time as people write it."""
    return (BEGAN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


class Letter:
    """One dead letter to be written, as a worker would."""

    def __init__(
        self,
        number: int,
        *,
        conversations: int = 30,
        reason: str = "retries_exhausted",
        key: bytes | None = b"",
        value: bytes | None = b"",
        headers: Headers = (TRACE,),
        text: str = "",
    ) -> None:
        conversation = f"c-{number % conversations}"
        turn = {"turn_id": f"t-{number}", "conversation_id": conversation, "text": text or f"Question {number}"}
        self.partition = number % conversations % 3
        self.key = conversation.encode() if key == b"" else key
        self.value = json.dumps(turn | {"tenant": f"shop-{number % 2}"}).encode() if value == b"" else value
        self.timestamp = int((BEGAN + timedelta(seconds=number)).timestamp() * 1000)
        self.reason = reason
        self.headers = headers


async def bury(cluster: Cluster, letters: Sequence[Letter]) -> None:
    """Writes dead letters; each came from the partition of its own number."""
    producer = AIOKafkaProducer(
        acks="all", max_batch_size=1 << 20, max_request_size=1 << 24, compression_type="lz4", **cluster.connection()
    )
    async with producer:
        for number, letter in enumerate(letters):
            marks = dead_letter_headers(
                letter.headers,
                Failure(Reason.RETRIES_EXHAUSTED, "529 overloaded", 6),
                topic=cluster.topics.requests,
                partition=letter.partition,
                offset=number,
                timestamp=letter.timestamp,
                failed_at=BEGAN,
                worker="w",
            )
            named = [(name, letter.reason.encode() if name == "dlq.reason" else value) for name, value in marks]
            batch = producer.create_batch()
            batch.append(key=letter.key, value=letter.value, timestamp=letter.timestamp, headers=named)
            sent = await producer.send_batch(batch, cluster.topics.dead_letters, partition=letter.partition)
            if number % 50 == 0:
                await sent
        await producer.flush()


async def requests(cluster: Cluster) -> list[ConsumerRecord]:
    """What lies on the requests' topic for readers of committed records, by partition and offset."""
    consumer = AIOKafkaConsumer(
        cluster.topics.requests,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        enable_auto_commit=False,
        **cluster.connection(),
    )
    records: list[ConsumerRecord] = []
    async with consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                records += batch
    return sorted(records, key=lambda record: (record.partition, record.offset))


def numbers(records: Sequence[ConsumerRecord]) -> list[int]:
    return [int(json.loads(record.value)["turn_id"][2:]) for record in records]


def in_order(records: Sequence[ConsumerRecord]) -> bool:
    """Whether each conversation kept its order."""
    spoken: defaultdict[bytes, list[int]] = defaultdict(list)
    for record, number in zip(records, numbers(records), strict=True):
        spoken[record.key].append(number)
    return all(said == sorted(said) for said in spoken.values())


def environment(cluster: Cluster) -> dict[str, str]:
    return {"FOREBAY_KAFKA": cluster.kafka, "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix}


async def dlq(cluster: Cluster, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(lambda: forebay("dlq", *words, cwd=folder, **environment(cluster)))


# -- looking -----------------------------------------------------------------------------------------------------------


async def test_the_newest_come_first_page_by_page(cluster: Cluster, tmp_path: Path) -> None:
    await bury(cluster, [Letter(number) for number in range(300)])
    async with DeadLetters(cluster) as letters:
        everything = [letter async for letter in letters.browse()]
        assert [letter.turn_id for letter in everything] == [f"t-{number}" for number in reversed(range(300))]
        paged, after = [], None
        while page := [letter async for letter in letters.browse(limit=37, after=after)]:
            paged += page
            after = page[-1].id
        assert paged == everything
        assert [letter async for letter in letters.browse(newest_first=False)] == everything[::-1]
    shown = await dlq(cluster, tmp_path, "list")
    lines = shown.stdout.splitlines()
    assert lines[0].split()[:2] == ["ID", "DIED"]
    assert [line.split()[-1] for line in lines[1:]] == [str(number) for number in range(299, 279, -1)]
    assert f"--after {everything[19].id}" in shown.stderr
    more = await dlq(cluster, tmp_path, "list", "--after", str(everything[19].id), "--limit", "3", "--json")
    assert [json.loads(line)["turn_id"] for line in more.stdout.splitlines()] == ["t-279", "t-278", "t-277"]
    assert len((await dlq(cluster, tmp_path, "list", "--limit", "0")).stdout.splitlines()) == 301


async def test_filters(cluster: Cluster, tmp_path: Path) -> None:
    await bury(cluster, [Letter(number, reason=("invalid", "handler_error")[number % 5 == 0]) for number in range(200)])

    async def listed(*words: str) -> list[int]:
        printed = (await dlq(cluster, tmp_path, "list", "--limit", "0", "--oldest", "--json", *words)).stdout
        return [int(json.loads(line)["turn_id"][2:]) for line in printed.splitlines()]

    assert await listed("--reason", "handler_error") == list(range(0, 200, 5))
    assert len(await listed("--reason", "handler_error", "--reason", "invalid")) == 200
    assert await listed("--conversation", "c-7") == list(range(7, 200, 30))
    assert await listed("--tenant", "shop-1", "--conversation", "c-7") == list(range(7, 200, 30))
    assert await listed("--tenant", "shop-0", "--conversation", "c-7") == []
    assert await listed("--since", at(190)) == list(range(190, 200))
    assert await listed("--until", at(5)[:-1]) == list(range(5))
    assert await listed("--since", at(60), "--until", at(62)) == [60, 61]
    assert (await dlq(cluster, tmp_path, "list", "--tenant", "nobody")).stdout == "no dead letters match\n"


async def test_letters_of_any_clock_are_all_listed(cluster: Cluster) -> None:
    """Timestamps that go backwards: no page loses a letter."""
    letters = [Letter(number, conversations=3) for number in range(90)]
    for number, letter in enumerate(letters):
        letter.timestamp = [-(10**15), 5, letter.timestamp + 10**6, letter.timestamp][number % 4] if number % 7 else 7
    await bury(cluster, letters)
    async with DeadLetters(cluster) as room:
        found, after = set[str | None](), None
        while page := [letter async for letter in room.browse(limit=10, after=after)]:
            found |= {letter.turn_id for letter in page}
            after = page[-1].id
    assert found == {f"t-{number}" for number in range(90)}


async def test_letters_larger_than_any_buffer_are_listed_in_order(cluster: Cluster) -> None:
    letters = [Letter(number, conversations=3) for number in range(24)]
    for letter in letters[::2]:
        letter.value = os.urandom(900_000)
    await bury(cluster, letters)
    async with DeadLetters(cluster) as room:
        newest = [letter async for letter in room.browse()]
        assert [letter.timestamp for letter in newest] == [letter.timestamp for letter in reversed(letters)]
        assert [letter async for letter in room.browse(newest_first=False)] == newest[::-1]


async def test_a_header_that_the_client_cannot_read_is_named(cluster: Cluster) -> None:
    await bury(cluster, [Letter(number, conversations=1) for number in range(5)])
    producer = AIOKafkaProducer(**cluster.connection())
    async with producer:
        batch = producer.create_batch()
        batch.append(key=b"c-0", value=b"{}", timestamp=None, headers=[("AAAA", b"x")])
        built = bytearray(batch._build()).replace(b"AAAA", b"\xff\xfe\xfd\xfc")
        built[17:21] = calc_crc32c(bytes(built[21:])).to_bytes(4, "big")
        batch._buffer = bytes(built)
        await (await producer.send_batch(batch, cluster.topics.dead_letters, partition=0))
    async with DeadLetters(cluster) as letters:
        with pytest.raises(
            ClusterError, match=r"requests\.dlq-0: at offset \d or soon after it a header's name is not UTF-8"
        ):
            await letters.plan()


async def test_hostile_bytes_do_not_reach_the_terminal(cluster: Cluster, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202egnp\u2066\x9b31m\r"
    raw = evil.encode() + b"\xff\x00\x1b[31m"
    turn = json.dumps({"turn_id": evil, "conversation_id": evil, "text": evil}, ensure_ascii=False).encode()
    await bury(
        cluster,
        [
            Letter(0, key=raw, value=raw, headers=((evil, raw),), reason=evil),
            Letter(1, value=turn, key=evil.encode()),
            Letter(2, value=None, key=None, headers=()),
            Letter(3, value=b'{"text": "' + "那件".encode() * 20_000 + b'"}'),
        ],
    )
    printed = [await dlq(cluster, tmp_path, "list"), await dlq(cluster, tmp_path, "replay", "--all", "--dry-run")]
    printed += [
        await dlq(cluster, tmp_path, "show", *ids, *more)
        for ids in (("0-0", "1-0", "2-0"), ("0-1",))
        for more in ((), ("--json",))
    ]
    printed.append(await dlq(cluster, tmp_path, "list", "--json"))
    for done in printed:
        assert done.returncode == 0, done.stderr
        assert all(letter.isprintable() for letter in done.stdout.replace("\n", "")), done.stdout
    assert r"\u001b]0;owned\u0007" in printed[2].stdout
    assert r"\xff\u0000" in printed[2].stdout
    assert json.loads(printed[3].stdout.splitlines()[1])["turn_id"] == evil


async def test_a_letter_is_shown_whole(cluster: Cluster, tmp_path: Path) -> None:
    await bury(cluster, [Letter(number) for number in range(9)])
    shown = await dlq(cluster, tmp_path, "show", f"{cluster.topics.dead_letters}-1-2")
    for said in (
        "1-2 ",
        at(7)[:-1] + ".000Z",
        "retries_exhausted",
        "529 overloaded",
        "traceparent: 00-4bf",
        '"turn_id": "t-7"',
        "replayed  no",
    ):
        assert said in shown.stdout
    for missing in ("1-99", "7-0"):
        done = await dlq(cluster, tmp_path, "show", missing)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"forebay: there is no dead letter {missing} on {cluster.topics.dead_letters}\n"
    async with DeadLetters(cluster) as letters:
        with pytest.raises(NoSuchLetterError):
            [letter async for letter in letters.browse(after=LetterId(1, 99))]


# -- replaying ---------------------------------------------------------------------------------------------------------


async def test_a_replay_keeps_every_byte_and_the_order(cluster: Cluster, tmp_path: Path) -> None:
    odd = ((TRACE[0], TRACE[1]), ("x", b"\x00\xff"), ("x", b"twice"), ("", b""))
    await bury(cluster, [Letter(number, headers=odd) for number in range(600)])
    dead = await read_topic(cluster, cluster.topics.dead_letters)
    done = await dlq(cluster, tmp_path, "replay", "--all", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["replayed"] == 600
    sent = await requests(cluster)
    assert len(sent) == 600
    assert in_order(sent)
    # Each went back to the partition it came from, which is the one where this test wrote its letter.
    assert [(one.partition, one.key, one.value) for one in sent] == [
        (one.partition, one.key, one.value) for one in dead
    ]
    for letter, one in zip(dead, sent, strict=True):
        place = f"{letter.topic}-{letter.partition}-{letter.offset}".encode()
        assert one.headers == (*odd, ("replay.count", b"1"), ("replay.of", place))
        assert one.timestamp / 1000 == pytest.approx(time.time(), abs=60)


async def test_what_was_replayed_is_not_replayed_again_unless_asked(cluster: Cluster, tmp_path: Path) -> None:
    await bury(cluster, [Letter(number, reason=("invalid", "handler_error")[number % 2]) for number in range(100)])
    some = ("replay", "--reason", "invalid", "--yes", "--json")
    assert json.loads((await dlq(cluster, tmp_path, *some, "--limit", "20")).stdout)["replayed"] == 20
    assert sorted(numbers(await requests(cluster))) == list(range(0, 40, 2)), "the oldest go first"
    rest = json.loads((await dlq(cluster, tmp_path, *some)).stdout)
    assert (rest["replayed"], rest["replayed_before"]) == (30, 20)
    none = json.loads((await dlq(cluster, tmp_path, *some)).stdout)
    assert (none["selected"], none["replayed"], none["replayed_before"]) == (0, 0, 50)
    assert sorted(numbers(await requests(cluster))) == list(range(0, 100, 2))
    async with DeadLetters(cluster) as letters:
        states = {letter.turn_id: letter.replayed async for letter in letters.browse()}
        assert states == {f"t-{number}": number % 2 == 0 for number in range(100)}
        oldest_first = {letter.turn_id: letter.replayed async for letter in letters.browse(newest_first=False)}
        assert states == oldest_first
        first = await letters.get(LetterId(0, 0))
        assert first.replayed
    again = await dlq(cluster, tmp_path, "replay", "0-0", "1-0", "--again", "--yes", "--json")
    assert json.loads(again.stdout)["replayed"] == 2
    counts = Counter(numbers(await requests(cluster)))
    assert {number for number, count in counts.items() if count == 2} == {0}
    assert counts[1] == 1


async def test_a_dry_run_counts_by_reason_and_sends_nothing(cluster: Cluster, tmp_path: Path) -> None:
    letters = [Letter(number, reason=("invalid", "handler_error")[number % 4 == 0]) for number in range(80)]
    letters += [Letter(number, headers=(("replay.count", b"3"), ("replay.of", b"x-0-1"))) for number in range(80, 85)]
    await bury(cluster, letters)
    done = await dlq(cluster, tmp_path, "replay", "--all", "--dry-run")
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["60", "invalid"],
        ["20", "handler_error"],
        ["80", "to"],
        ["5", "left"],
    ]
    assert "replayed 3 times already" in done.stdout
    assert await requests(cluster) == []
    assert len(await read_topic(cluster, cluster.topics.dead_letters)) == 85, "a dry run writes no mark"
    raised = await dlq(cluster, tmp_path, "replay", "--all", "--dry-run", "--max-replays", "4", "--json")
    assert (json.loads(raised.stdout)["selected"], json.loads(raised.stdout)["worn_out"]) == (85, 0)


SLOW_COMMITS = """
import asyncio
from aiokafka import AIOKafkaProducer
from forebay.cli.command_line import main

commit = AIOKafkaProducer.commit_transaction

async def slowly(producer):
    await asyncio.sleep(0.3)
    await commit(producer)

AIOKafkaProducer.commit_transaction = slowly
main()
"""


def replay_process(
    cluster: Cluster, folder: Path, *words: str, program: Sequence[str] = ("-m", "forebay.cli")
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, "dlq", "replay", "--all", "--yes", *words],
        cwd=folder,
        env={**os.environ, **environment(cluster)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_a_killed_replay_goes_on_where_it_was(cluster: Cluster, tmp_path: Path) -> None:
    """SIGKILL again and again, mostly in the middle of a transaction: each letter arrives exactly once, in order."""
    await bury(cluster, [Letter(number) for number in range(1_500)])
    for kill in range(5):
        process = replay_process(cluster, tmp_path, "--rate", "500", program=("-c", SLOW_COMMITS))
        wanted = len(await read_topic(cluster, cluster.topics.requests)) + 150

        async def some_arrived(wanted: int = wanted) -> bool:
            return len(await read_topic(cluster, cluster.topics.requests)) >= wanted

        await until_async(some_arrived)
        await asyncio.sleep(0.05 * kill)  # real: each time it is killed elsewhere in a transaction of 0.3 s
        process.kill()
        process.communicate()
    done = await dlq(cluster, tmp_path, "replay", "--all", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["replayed_before"] >= 100
    assert report["replayed"] == 1_500 - report["replayed_before"]
    sent = await requests(cluster)
    assert Counter(numbers(sent)) == Counter(range(1_500))
    assert in_order(sent)
    assert len(await read_topic(cluster, cluster.topics.requests)) > 1_500, "no kill fell into a transaction"


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM])
async def test_a_replay_that_is_told_to_stop_says_how_to_go_on(
    cluster: Cluster, tmp_path: Path, wish: signal.Signals
) -> None:
    await bury(cluster, [Letter(number) for number in range(400)])
    process = replay_process(cluster, tmp_path, "--rate", "100", "--json")

    async def some_arrived() -> bool:
        return len(await requests(cluster)) >= 40

    await until_async(some_arrived)
    process.send_signal(wish)
    printed, said = await asyncio.to_thread(process.communicate)
    assert process.returncode == 128 + wish, said
    assert said == "forebay: stopped: the same command goes on with the rest\n"
    report = json.loads(printed)
    assert report["stopped"]
    assert 40 <= report["replayed"] < 400
    assert len(await requests(cluster)) == report["replayed"]
    rest = json.loads((await dlq(cluster, tmp_path, "replay", "--all", "--yes", "--json")).stdout)
    assert rest["replayed"] == 400 - report["replayed"]
    assert Counter(numbers(await requests(cluster))) == Counter(range(400))


async def test_of_two_replays_at_a_time_the_later_goes_on(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    await bury(cluster, [Letter(number) for number in range(600)])
    async with DeadLetters(cluster) as first, DeadLetters(cluster) as second:
        plans = [await letters.plan() for letters in (first, second)]
        begun = asyncio.Event()
        earlier = asyncio.create_task(first.replay(plans[0], rate=500, on_progress=lambda _: begun.set()))
        await begun.wait()
        later = await second.replay(plans[1])
        with pytest.raises(ReplayTakenOverError, match=r"another replay of .* took over"):
            await earlier
        gc.collect()
        assert "never retrieved" not in caplog.text
        assert 0 < later.replayed < 600
        assert (await second.plan()).selected == 0
    sent = await requests(cluster)
    assert Counter(numbers(sent)) == Counter(range(600))
    assert in_order(sent)


async def test_the_rate_is_kept(cluster: Cluster) -> None:
    await bury(cluster, [Letter(number) for number in range(60)])
    told: list[int] = []
    async with DeadLetters(cluster) as letters:
        began = time.monotonic()
        done = await letters.replay(await letters.plan(), rate=50, on_progress=told.append)
        took = time.monotonic() - began
    assert done.replayed == told[-1] == 60
    assert told == [10, 20, 30, 40, 50, 60]
    assert took >= 1.0


async def test_letters_without_key_or_value_are_replayed(cluster: Cluster) -> None:
    await bury(
        cluster, [Letter(0, key=None, value=None), Letter(1, key=None), Letter(2, value=None), Letter(3, key=b"\xff")]
    )
    async with DeadLetters(cluster) as letters:
        assert (await letters.replay(await letters.plan())).replayed == 4
    dead = [record for record in await read_topic(cluster, cluster.topics.dead_letters) if record.timestamp < 2e12]
    assert {(record.key, record.value) for record in await requests(cluster)} <= {(one.key, one.value) for one in dead}
    assert len(await requests(cluster)) == 4


async def test_a_letter_too_large_for_the_requests_is_left_and_named(cluster: Cluster, tmp_path: Path) -> None:
    letters = [Letter(number, conversations=1) for number in range(40)]
    letters[7].value = letters[23].value = os.urandom(1_500_000)
    await bury(cluster, letters)
    done = await dlq(cluster, tmp_path, "replay", "--all", "--yes", "--json")
    assert done.returncode == 1
    assert (json.loads(done.stdout)["replayed"], json.loads(done.stdout)["too_large"]) == (38, ["0-7", "0-23"])
    assert "0-7, 0-23: raise its max.message.bytes" in done.stderr
    assert numbers(await requests(cluster)) == [number for number in range(40) if number not in (7, 23)]
    rest = json.loads((await dlq(cluster, tmp_path, "replay", "--all", "--dry-run", "--json")).stdout)
    assert (rest["selected"], rest["replayed_before"]) == (2, 38)


async def test_marks_that_nobody_here_wrote_hide_nothing(cluster: Cluster) -> None:
    await bury(cluster, [Letter(number, conversations=1) for number in range(10)])
    foreign = [
        (b"{", (("dlq.replayed", b"1"),)),
        (None, (("dlq.replayed", b"1"),)),
        write_mark("another.topic", 0, list(range(10))),
        write_mark(cluster.topics.dead_letters, 1, list(range(10))),
        write_mark(cluster.topics.dead_letters, 0, [5, 10**12]),
    ]
    producer = AIOKafkaProducer(**cluster.connection())
    async with producer:
        for value, headers in foreign:
            await producer.send_and_wait(
                cluster.topics.dead_letters, value, key=b"x", headers=list(headers), partition=0
            )
    async with DeadLetters(cluster) as letters:
        assert (await letters.plan()).selected == 10
        assert [letter.replayed async for letter in letters.browse()] == [False] * 10


async def test_a_replay_that_dies_in_a_transaction_marks_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bury(cluster, [Letter(number) for number in range(30)])

    async def no_commit(_: object) -> None:
        raise ClusterError("the lights went out")

    async with DeadLetters(cluster) as letters:
        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaProducer, "commit_transaction", no_commit)
            with pytest.raises(ClusterError, match="lights"):
                await letters.replay(await letters.plan())
        assert await requests(cluster) == []
        assert (await letters.replay(await letters.plan())).replayed == 30
    assert Counter(numbers(await requests(cluster))) == Counter(range(30))


# -- on a terminal, and what people do wrong -----------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(("word", "status", "arrived"), [("n\n", 1, 0), ("\n", 1, 0), ("y\n", 0, 12)])
async def test_on_a_terminal_it_asks(
    cluster: Cluster, tmp_path: Path, terminal: tuple[int, int], word: str, status: int, arrived: int
) -> None:
    await bury(cluster, [Letter(number) for number in range(12)])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "forebay.cli", "dlq", "replay", "--all"),
        cwd=tmp_path,
        env={**os.environ, **environment(cluster)},
        stdin=terminal[1],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    os.write(terminal[0], word.encode())
    printed, said = await process.communicate()
    assert process.returncode == status, said
    assert b"12  retries_exhausted" in printed
    assert f"Replay 12 dead letters to {cluster.topics.requests}?".encode() in said
    assert len(await requests(cluster)) == arrived


WRONG = {
    "nothing chosen": (["replay", "--yes"], 2, "give ids, or a filter such as --reason, or --all"),
    "only a limit": (["replay", "--yes", "--limit", "3"], 2, "give ids, or a filter"),
    "all and some": (["replay", "--all", "--reason", "invalid"], 2, "not both"),
    "no terminal": (["replay", "--all"], 2, "forebay: there is no terminal to ask on: look with --dry-run"),
    "no terminal to purge": (["purge", "--all"], 2, "there is no terminal to ask on"),
    "nothing to purge named": (["purge", "--yes"], 2, "give --before with a time, or --all"),
    "no id": (["show", "3"], 2, "'3' is no dead letter's id"),
    "no time": (["list", "--since", "soon"], 2, "--since 'soon': write a time such as"),
    "a far time": (["list", "--since", "999999999d"], 2, "write a time such as"),
    "no rate": (["replay", "--all", "--rate", "0"], 2, "0.01"),
    "two orders": (["list", "--oldest", "--after", "1-1"], 2, "without --oldest"),
    "no broker": (["list"], 1, "Kafka at 127.0.0.1:1 does not answer"),
    "no broker to replay": (["replay", "--all", "--yes"], 1, "Kafka at 127.0.0.1:1 does not answer"),
}


@pytest.mark.parametrize(("words", "status", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_gets_one_clear_line(tmp_path: Path, words: list[str], status: int, says: str) -> None:
    done = forebay("dlq", *words, cwd=tmp_path, FOREBAY_KAFKA="127.0.0.1:1")
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert (
        len([line for line in done.stderr.splitlines() if line.startswith("forebay: ")]) == 1 or "Usage" in done.stderr
    )


def test_no_topics(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    done = forebay("dlq", "list", cwd=tmp_path, FOREBAY_KAFKA=kafka.bootstrap_servers, FOREBAY_TOPIC_PREFIX="none")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "has no topic none.requests.dlq, none.requests: create them with `forebay topics apply`" in done.stderr


async def test_a_kafka_without_transactions_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    await bury(cluster, [Letter(0)])

    async def never(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("forebay.operations.dead_letters.replay._START_S", 0.2)
    monkeypatch.setattr(AIOKafkaProducer, "start", never)
    async with DeadLetters(cluster) as letters:
        plan = await letters.plan()
        with pytest.raises(ClusterError, match="begins no transaction within"):
            await letters.replay(plan)


@pytest.mark.takes(23)
async def test_kafka_goes_away_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("forebay.operations.dead_letters.replay.TRANSACTION_S", 3.0)
    monkeypatch.setattr("forebay.operations.dead_letters.replay._CLOSE_S", 1.0)
    monkeypatch.setattr("forebay.producers.topic_reader._PATIENCE_S", 3.0)
    broker = EmbeddedKafka(data=tmp_path / "kafka")
    broker.start()
    try:
        cluster = Cluster(kafka=broker.bootstrap_servers)
        from forebay.producers import TopicSettings, apply_topics

        await apply_topics(cluster, TopicSettings(topic_partitions=3))
        await bury(cluster, [Letter(number) for number in range(200)])
        async with DeadLetters(cluster) as letters:
            plan, told = await letters.plan(), [0]
            wait_s = ReplayPace.wait_s

            def long_after_some(pace: ReplayPace, count: int, now: float) -> float:
                return wait_s(pace, count, now) if told[-1] < 40 else 5.0

            monkeypatch.setattr(ReplayPace, "wait_s", long_after_some)
            replaying = asyncio.create_task(letters.replay(plan, rate=100, on_progress=told.append))

            async def some_seen() -> bool:
                return len(await requests(cluster)) == told[-1] >= 40

            # Between two commits: a Kafka of one node that is killed within one may forget to end the transaction.
            await until_async(some_seen)
            await asyncio.to_thread(broker.stop, kill=True)
            with pytest.raises(ClusterError, match=r"did not acknowledge|stopped answering"):
                await replaying
        monkeypatch.setattr(ReplayPace, "wait_s", wait_s)
        gc.collect()
        assert "never retrieved" not in caplog.text
        broker.start()
        async with DeadLetters(cluster) as letters:
            assert (await letters.replay(await letters.plan())).replayed == 200 - told[-1]
        assert Counter(numbers(await requests(cluster))) == Counter(range(200))
    finally:
        broker.stop(kill=True)


# -- deleting ----------------------------------------------------------------------------------------------------------


async def test_purge_deletes_up_to_a_time_and_says_what(cluster: Cluster, tmp_path: Path) -> None:
    await bury(cluster, [Letter(number) for number in range(90)])
    await dlq(cluster, tmp_path, "replay", "--until", at(10), "--yes")
    looked = await dlq(cluster, tmp_path, "purge", "--before", at(30), "--dry-run")
    assert looked.stdout.splitlines()[-1].strip() == "30  to delete: 10 replayed, 20 not"
    async with DeadLetters(cluster) as letters:
        assert len([letter async for letter in letters.browse()]) == 90
        done = await dlq(cluster, tmp_path, "purge", "--before", at(30), "--yes", "--json")
        assert json.loads(done.stdout) == {
            "dry_run": False,
            "letters": 30,
            "replayed": 10,
            "reasons": {"retries_exhausted": 20},
        }
        left = [letter.turn_id async for letter in letters.browse(newest_first=False)]
        assert left == [f"t-{number}" for number in range(30, 90)]
        everything = await dlq(cluster, tmp_path, "purge", "--all", "--yes")
        assert everything.stdout.endswith("deleted 60 dead letters\n")
        assert [letter async for letter in letters.browse()] == []
        assert (await letters.plan()).selected == 0
    assert (await dlq(cluster, tmp_path, "purge", "--all", "--yes")).returncode == 0


async def test_letters_that_are_purged_during_a_replay(cluster: Cluster) -> None:
    await bury(cluster, [Letter(number) for number in range(90)])
    async with DeadLetters(cluster) as letters:
        plan = await letters.plan()
        await letters.purge(await letters.plan_purge(BEGAN + timedelta(seconds=30)))
        assert (await letters.replay(plan)).replayed == 60


# -- with a worker -----------------------------------------------------------------------------------------------------


@pytest.fixture
def worker(cluster: Cluster, model_api: ModelApi, tmp_path: Path) -> Iterator[WorkerProcess]:
    store = {"FOREBAY_STORE": f"sqlite:///{tmp_path / 'conversations.db'}"}
    process = WorkerProcess("worker", tmp_path, {**environment(cluster), **store})
    yield process
    process.close()


async def replies_of(cluster: Cluster, turn_id: str) -> list[bytes]:
    records = await read_topic(cluster, cluster.topics.replies)
    return [record.value for record in records if decode_reply(record.value).turn_id == turn_id]


async def test_a_failed_turn_is_answered_when_replayed_and_only_once(
    cluster: Cluster, worker: WorkerProcess, model_api: ModelApi, tmp_path: Path
) -> None:
    await worker.ready()
    async with ChatClient(cluster) as chat:
        model_api.add_fault("context_too_long", count=1)
        turn = new_turn("Is it in stock?", expires_at=datetime.now(UTC) + timedelta(seconds=60))
        assert (await chat.ask(turn)).outcome == "failed"

        async def replied(times: int) -> bool:
            return len(await replies_of(cluster, turn.turn_id)) >= times

        done = await dlq(cluster, tmp_path, "replay", "--reason", "rejected_by_model", "--yes", "--json")
        assert json.loads(done.stdout)["replayed"] == 1
        await until_async(lambda: replied(2))
        answered = (await replies_of(cluster, turn.turn_id))[1]
        assert decode_reply(answered).outcome == "answered"
        calls = model_api.stats().begun
        again = await dlq(cluster, tmp_path, "replay", "--all", "--again", "--yes", "--json")
        assert json.loads(again.stdout)["replayed"] == 1
        await until_async(lambda: replied(3))
        assert (await replies_of(cluster, turn.turn_id))[2] == answered, "what was answered stays answered"
        assert model_api.stats().begun == calls


@pytest.mark.takes(9)
async def test_a_replay_that_fails_comes_back_and_counts_until_it_is_left_alone(
    cluster: Cluster, worker: WorkerProcess, model_api: ModelApi, tmp_path: Path
) -> None:
    await worker.ready()
    async with ChatClient(cluster) as chat, DeadLetters(cluster) as letters:
        assert (await chat.ask("Hello [fault context_too_long]", headers=(TRACE,))).outcome == "failed"
        for replays in range(1, 4):
            done = await dlq(cluster, tmp_path, "replay", "--all", "--yes", "--json")
            assert json.loads(done.stdout)["replayed"] == 1

            async def came_back(replays: int = replays) -> bool:
                return len([letter async for letter in letters.browse()]) == replays + 1

            await until_async(came_back)
            newest, before = [letter async for letter in letters.browse(limit=2)]
            assert (newest.replays, newest.replayed, before.replayed) == (replays, False, True)
            assert dict(newest.headers)["replay.of"].decode() == f"{cluster.topics.dead_letters}-{before.id}"
            assert newest.headers[0] == TRACE
            assert newest.value == before.value
        stopped = await dlq(cluster, tmp_path, "replay", "--all", "--yes")
        assert stopped.returncode == 0
        assert "1  left out: replayed 3 times already (--max-replays raises it)" in stopped.stdout
        assert (await letters.plan(Filter(reasons=frozenset({"rejected_by_model"})), max_replays=None)).selected == 1


def test_the_bound_on_the_command_line_is_the_one_of_the_library(tmp_path: Path) -> None:
    assert f"default: {room.MAX_REPLAYS};" in forebay("dlq", "replay", "--help", cwd=tmp_path).stdout


async def test_a_sender_is_closed_when_it_cannot_start(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Cluster(kafka="127.0.0.1:1", topic_prefix=cluster.topic_prefix)
    with pytest.raises(Exception, match=r"127\.0\.0\.1:1|bootstrap"):
        async with ReplayProducer(away, away.topics.dead_letters, away.topics.requests, [0]):
            pass
