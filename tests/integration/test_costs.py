"""Money: what `forebay costs` says agrees with the replies, and the assistant's check with its definition."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Literal

import orjson
from aiokafka import AIOKafkaProducer

from forebay.producers import ChatClient
from forebay.rehearsal.model_api import ModelApi
from forebay.schemas import Cluster, Feedback, Reply, encode
from forebay.workers.assistants import Assistant

from .conftest import Fleet
from .test_assistant import turn


async def forebay(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "forebay.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


async def rate(cluster: Cluster, words: list[tuple[Reply, Literal[1, -1]]]) -> None:
    async with AIOKafkaProducer(**cluster.connection()) as producer:
        for reply, rating in words:
            word = Feedback(conversation_id=reply.conversation_id, turn_id=reply.turn_id, rating=rating)
            await producer.send_and_wait(cluster.topics.feedback, encode(word), key=reply.conversation_id.encode())
        await producer.send_and_wait(cluster.topics.feedback, b"no feedback")


async def test_sums_agree_with_the_replies(fleet: Fleet, chat: ChatClient, model_api: ModelApi, tmp_path: Path) -> None:
    faq = tmp_path / "faq.yaml"
    faq.write_text("- id: hours\n  phrases: [When do you open?]\n  answer: We open at nine.\n")
    models = {"complex": "claude-sonnet-5-5"}
    await fleet.start(assistant=Assistant(faq=faq, models=models, fallbacks=("openai:gpt-unknown",)))  # type: ignore[arg-type]
    texts = [
        "Hello",
        "When do you open?",
        "Compare SKU001 with SKU002 and SKU003, and explain why which is better",
        "Hi",
    ]
    replies = [
        await chat.ask(turn(text, tenant=f"shop-{number % 2}", conversation_id=f"c-{number % 2}"))
        for number, text in enumerate(texts * 3)
    ]
    settings = {"FOREBAY_KAFKA": fleet.cluster.kafka, "FOREBAY_TOPIC_PREFIX": fleet.cluster.topic_prefix}
    await rate(fleet.cluster, [*((reply, -1) for reply in replies[:3]), (replies[0], 1)])
    told = await forebay("costs", "--json", "--turns-a-day", "1000", **settings)
    assert told.returncode == 0, told.stderr
    costs = orjson.loads(told.stdout)
    exact = sum(Decimal(str(reply.cost_usd)) for reply in replies)
    assert Decimal(str(costs["usd"])) == exact > 0
    assert costs["turns"] == len(replies)
    for by in ("models", "routes", "tenants", "days"):
        assert sum(Decimal(str(row["usd"])) for row in costs[by]) == exact
        assert sum(row["turns"] for row in costs[by]) == len(replies)
    assert {row["name"] for row in costs["tenants"]} == {"shop-0", "shop-1"}
    assert {row["name"] for row in costs["routes"]} == {"faq", "simple", "complex"}
    assert costs["against"] == "claude-opus-5-5"
    assert costs["saved_usd"]["routing"] > 0
    assert costs["saved_usd"]["faq"] > 0
    assert costs["forecast_usd"]["year"] == 365 * costs["forecast_usd"]["day"]
    one = orjson.loads((await forebay("costs", "--json", "--tenant", "shop-1", **settings)).stdout)
    assert one["turns"] == 6
    assert costs["rated"] == {"up": 1, "down": 2}
    assert {(row["name"], row["up"], row["down"]) for row in costs["routes"]} == {
        ("simple", 1, 0),
        ("faq", 0, 1),
        ("complex", 0, 1),
    }
    assert sum(row["up"] + row["down"] for row in costs["models"]) == 3
    assert one["rated"] == {"up": 0, "down": 1}, "of this tenant's turns"
    shown = await forebay("costs", **settings)
    assert f"{len(replies)} turns" in shown.stdout
    assert "1 up, 2 down" in shown.stdout
    assert "saved against claude-opus-5-5" in shown.stdout


async def test_the_check_tells_what_was_understood_and_what_is_wrong(tmp_path: Path) -> None:
    definition = tmp_path / "shop_of_this_test.py"
    definition.write_text(
        "from forebay.workers.assistants import Assistant, tool\n"
        "def get_stock(sku: str) -> int:\n    'Pieces in stock.'\n    return 1\n"
        "@tool(confirm=True, summary='Cancel {order}')\n"
        "def cancel(order: str) -> str:\n    'Cancels.'\n    return ''\n"
        "def bare(sku) -> int:\n    'No hint.'\n    return 1\n"
        "good = Assistant(tools=(get_stock, cancel))\n"
        "bad = Assistant(tools=(bare,))\n"
        "unknown = Assistant(models={'complex': 'claude-sonet'})\n"
    )
    name = "shop_of_this_test"
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    good = await forebay("assistant", "check", f"{name}:good", "--json", **environment)
    assert good.returncode == 0, good.stderr
    (route,) = orjson.loads(good.stdout)["routes"]
    assert [(tool["name"], tool["arguments"], tool["confirm"]) for tool in route["tools"]] == [
        ("get_stock", ["sku"], False),
        ("cancel", ["order"], True),
    ]
    shown = await forebay("assistant", "check", f"{name}:good", **environment)
    assert "cancel(order) asks the customer first" in shown.stdout
    bad = await forebay("assistant", "check", f"{name}:bad", **environment)
    assert bad.returncode == 2
    assert f"{name}:9" in bad.stderr
    assert "write sku: str" in bad.stderr
    assert len(bad.stderr.splitlines()) == 1
    unknown = await forebay("assistant", "check", f"{name}:unknown", **environment)
    assert unknown.returncode == 2
    assert "claude-sonnet-5-5" in unknown.stderr


async def test_a_conversation_is_given_back(fleet: Fleet, tmp_path: Path) -> None:
    from forebay.workers.conversations import Entry, StoredReply, open_store

    store = open_store(fleet.store_url)
    await store.record(Entry("c-1", "t", StoredReply("handed_off", b"{}"), None, hand_off="asked_for"))
    settings = {"FOREBAY_STORE": fleet.store_url}
    done = await forebay("handoffs", "return", "c-1", **settings)
    assert (done.returncode, done.stdout) == (0, "c-1: the assistant answers again\n")
    again = await forebay("handoffs", "return", "c-1", "--json", **settings)
    assert (again.returncode, orjson.loads(again.stdout)) == (1, {"c-1": False})
    assert (await store.load("c-1", "x", 1)).conversation.handed_off is None
    await store.close()


def one_line(done: subprocess.CompletedProcess[str], status: int, told: str) -> None:
    assert done.returncode == status, done.stderr
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


async def test_a_conversation_is_not_given_back_in_a_store_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "forebay.db"
    done = await forebay("handoffs", "return", "c-1", FOREBAY_STORE=f"sqlite:///{missing}")
    one_line(done, 1, "there is no such file; run this where the workers run, or set FOREBAY_STORE")
    assert not missing.exists()
    nobody = await forebay("handoffs", "return", "c-1", FOREBAY_STORE="redis://127.0.0.1:1/0")
    one_line(nobody, 1, "the store: ")
    odd = await forebay("handoffs", "return", "c-\udcff", FOREBAY_STORE=f"sqlite:///{missing}")
    assert odd.returncode == 2
    assert "is not UTF-8" in odd.stderr
    assert "Traceback" not in odd.stderr
    assert not missing.exists()


async def test_costs_without_a_kafka_are_told_in_one_line() -> None:
    one_line(await forebay("costs", FOREBAY_KAFKA="127.0.0.1:1"), 1, "127.0.0.1:1")


async def test_mistakes_in_a_definition_are_told_in_one_line(tmp_path: Path) -> None:
    name = "wrong_of_this_test"
    (tmp_path / f"{name}.py").write_text(
        "from forebay.workers.assistants import Assistant\n"
        "from forebay.workers.conversations.window import Window\n"
        "models = Assistant(models=['x'])\n"
        "summary = Assistant(window=Window(summary_model='nope'))\n"
        "file = Assistant(faq='/')\n"
    )
    (tmp_path / f"{name}_ends.py").write_text("raise SystemExit(0)\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    for attribute, told in [
        (":models", "the assistant: models: a list is not a mapping; write models={"),
        (":summary", "model 'nope'"),
        (":file", "cannot be read"),
        ("_ends:a", "must not end the process"),
    ]:
        one_line(await forebay("assistant", "check", f"{name}{attribute}", **environment), 2, told)
