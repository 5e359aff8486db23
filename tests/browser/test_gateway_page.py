"""The chat page at a real gateway with real Kafka behind it, which is killed in the middle of an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from forebay.rehearsal.worker_processes import GatewayProcess
from forebay.schemas import Cluster, decode_turn
from tests.integration.conftest import read_topic
from tests.integration.gateway import Hand

from .test_chat_page import say, words


@asynccontextmanager
async def running(cluster: Cluster, folder: Path, port: int = 0) -> AsyncIterator[GatewayProcess]:
    environment = {"FOREBAY_KAFKA": cluster.kafka, "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix}
    with closing(GatewayProcess("gateway", folder, environment, port)) as process:
        await process.ready()
        yield process


async def sent(cluster: Cluster) -> tuple[str, str]:
    """(conversation, turn id) of the turn that the page sent."""
    while not (found := await read_topic(cluster, cluster.topics.requests)):
        continue
    turn = decode_turn(found[0].value)
    return turn.conversation_id, turn.turn_id


@pytest.mark.usefixtures("network_may_fail")
async def test_a_gateway_is_killed_in_mid_answer_and_no_word_is_lost_or_doubled(
    page: Page, cluster: Cluster, hand: Hand, tmp_path: Path
) -> None:
    async with running(cluster, tmp_path) as gateway:
        await page.goto(gateway.url)
        await say(page, "Is SKU001 in stock?")
        turn = await sent(cluster)
        await hand.delta(turn, 0, "Yes, ")
        await hand.delta(turn, 1, "forty-two ")
        await expect(words(page)).to_have_text("Yes, forty-two")
        gateway.kill()
        port = int(gateway.url.rpartition(":")[2])
    await hand.delta(turn, 2, "pieces, ")
    async with running(cluster, tmp_path, port):
        await hand.delta(turn, 3, "sent today.")
        await expect(words(page)).to_have_text("Yes, forty-two pieces, sent today.")
        await hand.reply(turn, "Yes, forty-two pieces, sent today.")
        await expect(words(page)).to_have_text("Assistant: Yes, forty-two pieces, sent today.")
        await page.reload()
        await expect(words(page)).to_have_text("Assistant: Yes, forty-two pieces, sent today.")


@pytest.mark.usefixtures("network_may_fail")
async def test_what_a_model_says_never_runs(page: Page, cluster: Cluster, hand: Hand, tmp_path: Path) -> None:
    async with running(cluster, tmp_path) as gateway:
        await page.goto(gateway.url)
        await say(page, "<img src=x onerror='window.hit=1'>")
        turn = await sent(cluster)
        text = "<script>window.hit=2</script> <img src=x onerror='window.hit=3'> [x](javascript:window.hit=4)"
        await hand.delta(turn, 0, text)
        await hand.reply(turn, text)
        await expect(words(page)).to_contain_text("<script>window.hit=2</script>")
        assert await page.evaluate("window.hit") is None
