"""What a person can do wrong, and the one clear line that each gets; and the commands doing what they say."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.schemas import Cluster

from .conftest import Fleet


def forebay(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FOREBAY_", "ANTHROPIC", "OPENAI"))
    }
    return subprocess.run(
        [sys.executable, "-m", "forebay.cli", *words],
        cwd=cwd,
        env={**kept, "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def protected() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka.running(users={"shop": "right"}) as broker:
        yield broker


WRONG = {
    "a bad number": (
        ["worker"],
        {"FOREBAY_CONCURRENCY": "many"},
        2,
        "FOREBAY_CONCURRENCY='many': input should be a valid integer",
    ),
    "out of range": (
        ["worker"],
        {"FOREBAY_DRAIN_S": "-1"},
        2,
        "FOREBAY_DRAIN_S='-1': input should be greater than or equal to 0",
    ),
    "a bad option": (
        ["worker", "--concurrency", "0"],
        {},
        2,
        "--concurrency=0: input should be greater than or equal to 1",
    ),
    "a bad address": (["worker"], {"FOREBAY_KAFKA": "kafka"}, 2, "FOREBAY_KAFKA='kafka': 'kafka' is not host:port"),
    "a bad prefix": (["topics", "apply"], {"FOREBAY_TOPIC_PREFIX": "a b"}, 2, "FOREBAY_TOPIC_PREFIX='a b'"),
    "no password": (["worker"], {"FOREBAY_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, 2, "FOREBAY_KAFKA_SASL_USERNAME"),
    "no such file": (["worker"], {"FOREBAY_KAFKA_SSL_CAFILE": "/no/ca.pem"}, 2, "FOREBAY_KAFKA_SSL_CAFILE"),
    "unknown model": (["worker"], {"FOREBAY_MODEL": "claude-haiku-4"}, 2, "Near: claude-haiku-4-5"),
    "no key": (["worker"], {}, 2, "ANTHROPIC_API_KEY is not set, and claude-haiku-4-5 needs it"),
    "a bad store key": (
        ["worker"],
        {"ANTHROPIC_API_KEY": "x", "FOREBAY_STORE_KEY": "a:secret"},
        2,
        "FOREBAY_STORE_KEY=(hidden): the key a is no base64",
    ),
    "nothing to erase": (["erase", "--yes"], {}, 2, "--conversation"),
    "no store to erase from": (["erase", "--conversation", "c", "--yes"], {}, 1, "there is no such file"),
    "no module": (["worker", "no.such:assistant"], {"ANTHROPIC_API_KEY": "x"}, 2, "No module named 'no'"),
    "no attribute": (["worker", "json:assistant"], {"ANTHROPIC_API_KEY": "x"}, 2, "json has no 'assistant'"),
    "not an assistant": (["worker", "json:dumps"], {"ANTHROPIC_API_KEY": "x"}, 2, "is a function, not an Assistant"),
    "not a name": (["worker", "shop"], {"ANTHROPIC_API_KEY": "x"}, 2, "write it as package.module:attribute"),
    "no broker": (
        ["worker"],
        {"ANTHROPIC_API_KEY": "x", "FOREBAY_KAFKA": "127.0.0.1:1"},
        1,
        "Kafka at 127.0.0.1:1 does not answer",
    ),
    "no broker to ask": (["ask", "hi"], {"FOREBAY_KAFKA": "127.0.0.1:1"}, 1, "Kafka at 127.0.0.1:1 does not answer"),
    "no broker for topics": (["topics", "apply"], {"FOREBAY_KAFKA": "127.0.0.1:1"}, 1, "does not answer"),
    "nothing asked": (["ask"], {}, 2, "give TEXT, --file"),
    "no such command": (["asc"], {}, 2, "No such command"),
    "a bad fault": (["model-api", "--port", "0", "--fault", "x=0.1"], {}, 2, "x"),
    "a bad port": (["broker", "--port", "99999"], {}, 2, "less than or equal to 65535"),
    "an empty turn": (["ask", ""], {}, 2, "a turn needs `text`"),
    "a bad partition count": (["topics", "apply", "--partitions", "0"], {}, 2, "--partitions=0"),
    "a strange port": (["worker"], {"FOREBAY_KAFKA": "127.0.0.1:²²"}, 2, "is not host:port"),
    "a key with a line end": (["worker"], {"ANTHROPIC_API_KEY": "x\ny"}, 2, "ANTHROPIC_API_KEY has white space"),
    "a strange address": (
        ["worker"],
        {"ANTHROPIC_API_KEY": "x", "ANTHROPIC_BASE_URL": "nonsense"},
        2,
        "ANTHROPIC_BASE_URL='nonsense'",
    ),
    "both kinds of data": (["broker", "--ephemeral", "--data", "x"], {}, 2, "not both"),
}


@pytest.mark.parametrize(("words", "environment", "status", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_gets_one_clear_line(
    tmp_path: Path, words: list[str], environment: dict[str, str], status: int, says: str
) -> None:
    done = forebay(*words, cwd=tmp_path, **environment)
    told = done.stdout + done.stderr
    assert done.returncode == status, told
    assert says in told
    assert "Traceback" not in told
    lines = [line for line in done.stderr.splitlines() if line.startswith("forebay: ")]
    assert len(lines) == 1 or "Usage" in told


def test_no_topics(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    environment = {"FOREBAY_KAFKA": kafka.bootstrap_servers, "FOREBAY_TOPIC_PREFIX": "none", "ANTHROPIC_API_KEY": "x"}
    for words in (["worker"], ["ask", "hi"]):
        done = forebay(*words, cwd=tmp_path, **environment)
        assert done.returncode == 1
        assert re.fullmatch(r"forebay: Kafka at \S+ has no topic none\.requests.*`forebay topics apply`\n", done.stderr)


def test_a_port_in_use(cluster: Cluster, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = {
            "FOREBAY_KAFKA": cluster.kafka,
            "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
            "ANTHROPIC_API_KEY": "x",
        }
        for words, status in (
            (["worker", "--health-port", port], 2),
            (["broker", "--port", port], 1),
            (["model-api", "--port", port], 1),
        ):
            done = forebay(*words, cwd=tmp_path, **environment)
            assert done.returncode == status
            assert port in done.stderr
            assert "in use" in done.stderr
            assert len(done.stderr.splitlines()) == 1, done.stderr


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_bytes(b"\xff\xfe")
    done = forebay("worker", cwd=tmp_path, ANTHROPIC_API_KEY="x", FOREBAY_CATALOGUE="prices.toml")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    (tmp_path / "ca.pem").write_text("no certificate")
    secured = {
        "FOREBAY_KAFKA_SECURITY_PROTOCOL": "SSL",
        "FOREBAY_KAFKA_SSL_CAFILE": "ca.pem",
        "ANTHROPIC_API_KEY": "x",
    }
    done = forebay("worker", cwd=tmp_path, **secured)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "FOREBAY_KAFKA_SSL_CAFILE" in done.stderr
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    done = forebay("contract", cwd=tmp_path)
    assert (done.returncode, done.stderr.startswith("forebay: .env is not UTF-8")) == (2, True)


def test_wrong_credentials(protected: EmbeddedKafka, tmp_path: Path) -> None:
    environment = {
        "FOREBAY_KAFKA": protected.bootstrap_servers,
        "FOREBAY_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "FOREBAY_KAFKA_SASL_USERNAME": "shop",
        "FOREBAY_KAFKA_SASL_PASSWORD": "wrong",
        "ANTHROPIC_API_KEY": "x",
    }
    for words in (["worker"], ["ask", "hi"], ["topics", "apply"]):
        done = forebay(*words, cwd=tmp_path, **environment)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "wrong" not in done.stderr, "a password must not be shown"
        assert "SASL" in done.stderr or "credentials" in done.stderr
    right = forebay(
        "topics", "apply", "--json", cwd=tmp_path, **{**environment, "FOREBAY_KAFKA_SASL_PASSWORD": "right"}
    )
    assert right.returncode == 0
    assert len(json.loads(right.stdout)) == 11


def test_topics_apply_creates_and_compares(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    environment = {"FOREBAY_KAFKA": kafka.bootstrap_servers, "FOREBAY_TOPIC_PREFIX": "apply"}
    first = forebay("topics", "apply", "--partitions", "4", cwd=tmp_path, **environment)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("created") == 11
    again = json.loads(forebay("topics", "apply", "--partitions", "2", "--json", cwd=tmp_path, **environment).stdout)
    requests = next(state for state in again if state["name"] == "apply.requests")
    assert (requests["created"], requests["partitions"]) == (False, 4)
    assert "4 partitions, not 2" in requests["differences"][0]


async def test_ask(fleet: Fleet, model_api: ModelApi, cluster: Cluster, tmp_path: Path) -> None:
    await fleet.start()
    environment = {"FOREBAY_KAFKA": cluster.kafka, "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix}

    async def ask(*words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(lambda: forebay("ask", *words, cwd=tmp_path, **environment))

    plain = await ask("Is SKU001 in stock?", "--conversation", "c-1")
    assert (plain.returncode, plain.stdout) == (0, "[turn 1] I understand: “Is SKU001 in stock?”.\n")
    streamed = await ask("And the blue one?", "--conversation", "c-1", "--stream")
    assert streamed.stdout.strip().startswith("[turn 2]")
    as_json = await ask("Hello", "--json")
    assert json.loads(as_json.stdout)["outcome"] == "answered"
    (tmp_path / "turns.txt").write_text('One\n\n你好\n{"turn_id": "t-9", "conversation_id": "c-9", "text": "Three"}\n')
    many = await ask("--file", "turns.txt", "--json")
    replies = [json.loads(line) for line in many.stdout.splitlines()]
    assert [reply["outcome"] for reply in replies] == ["answered"] * 3
    assert replies[2]["turn_id"] == "t-9"
    failed = await ask("Hello [fault context_too_long]")
    assert failed.returncode == 1
    assert failed.stdout.startswith("[failed")
    (tmp_path / "bad.txt").write_text('{"turn_id": 1}\n')
    bad = await ask("--file", "bad.txt")
    assert bad.returncode == 2
    assert "line 1: conversation_id" in bad.stderr or "line 1: turn_id" in bad.stderr


def test_contract_is_printed(tmp_path: Path) -> None:
    document = json.loads(forebay("contract", "--prefix", "shop", cwd=tmp_path).stdout)
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"]["requests"]["address"] == "shop.requests"
    assert set(json.loads(forebay("contract", "--schemas", cwd=tmp_path).stdout)) == {
        "turn",
        "reply",
        "delta",
        "handoff",
        "workerState",
        "command",
        "cancellation",
        "personMessage",
        "feedback",
    }


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "the gateway has no keys"),
        ({"FOREBAY_GATEWAY_OPEN": "true", "FOREBAY_GATEWAY_HOST": "0.0.0.0"}, "loopback only"),
        ({"FOREBAY_GATEWAY_OPEN": "true", "FOREBAY_GATEWAY_PORT": "x"}, "FOREBAY_GATEWAY_PORT='x'"),
        ({"FOREBAY_GATEWAY_KEYS": "none.json"}, "no such file"),
    ],
)
def test_a_gateway_that_is_set_up_wrongly_says_so_in_one_line(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    result = forebay("gateway", cwd=tmp_path, **settings)
    assert result.returncode == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["broker", "--port", "0", "--ephemeral"], ["model-api", "--port", "0"]])
def test_a_server_ends_on_sigterm_and_on_its_parents_death(tmp_path: Path, command: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "forebay.cli", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_kafka_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = "import time; from forebay.rehearsal.servers.kafka import EmbeddedKafka; k = EmbeddedKafka(); k.start(); print(k.bootstrap_servers, flush=True); time.sleep(99)"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        host, _, port = process.stdout.readline().strip().partition(":")
        socket.create_connection((host, int(port)), 5).close()
    finally:
        process.kill()
        process.communicate()
    for _ in range(200):
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((host, int(port))) != 0:
                return
    raise AssertionError("Kafka outlived its parent")


@pytest.mark.takes(10)
def test_topics_survive_a_restart(tmp_path: Path) -> None:
    broker = EmbeddedKafka(data=tmp_path / "a,b 数据" / "kafka")
    for expected in ("created", "exists"):
        broker.port = 0
        broker.start()
        try:
            done = forebay("topics", "apply", cwd=tmp_path, FOREBAY_KAFKA=broker.bootstrap_servers)
            assert done.stdout.count(expected) == 11, done.stdout + done.stderr
        finally:
            broker.stop()
