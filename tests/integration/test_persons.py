"""A person of the shop in a conversation, on real Kafka: what they write is remembered, what they know is sent once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from aiokafka import AIOKafkaProducer

from forebay.producers import ChatClient
from forebay.rehearsal.model_api import ModelApi
from forebay.schemas import Cluster, PersonMessage, encode
from forebay.workers.assistants import Assistant, HandOff
from forebay.workers.conversations import Store, open_store
from forebay.workers.remembered_messages import RememberedMessages

from .conftest import Fleet, until_async
from .test_assistant import turn
from .test_fleet import unreadable_header
from .test_last_resort import handoffs


@pytest_asyncio.fixture
async def store(fleet: Fleet) -> AsyncIterator[Store]:
    opened = open_store(fleet.store_url)
    yield opened
    await opened.close()


def written(text: str, message_id: str, conversation_id: str = "c-1") -> PersonMessage:
    return PersonMessage(message_id=message_id, conversation_id=conversation_id, name="Anna", text=text)


async def answers_in(store: Store) -> list[str]:
    return [exchange.answer for exchange in (await store.load("c-1", "x", 20)).history]


async def test_what_a_person_writes_is_part_of_the_conversation(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, cluster: Cluster, store: Store
) -> None:
    await fleet.start(assistant=Assistant(hand_off=HandOff()))
    await chat.ask(turn("Hello"))
    assert (await chat.ask(turn("I want to talk to a person"))).outcome == "handed_off"
    assert (await chat.ask(turn("My number is 13800138000"))).outcome == "handed_off"
    first, second = await handoffs(chat)
    assert [said.text for said in second.transcript] == ["My number is 13800138000"], "only what is new"
    assert [said.role for said in first.transcript] == ["user", "assistant", "user"]

    remembering = [
        asyncio.create_task(RememberedMessages(cluster, "forebay-workers", f"w-{number}", store).run())
        for number in range(2)
    ]
    try:
        async with AIOKafkaProducer(**cluster.connection()) as producer:
            await producer.send_and_wait(cluster.topics.messages, b"{", key=b"c-1")
            await unreadable_header(producer, cluster.topics.messages)
            for message in (written("I call you at 13800138000", "m-1"), written("Done, all paid back", "m-2")):
                for _ in range(2):
                    await producer.send_and_wait(cluster.topics.messages, encode(message), key=b"c-1")

        async def both() -> bool:
            return len(await answers_in(store)) == 5

        await until_async(both)
        assert (await answers_in(store))[-2:] == ["I call you at 13800138000", "Done, all paid back"]
    finally:
        for task in remembering:
            task.cancel()
        await asyncio.gather(*remembering, return_exceptions=True)

    await store.give_back("c-1")
    asked = await chat.ask(turn("What did she write?"))
    assert asked.outcome == "answered"
    assert asked.text.count("[The customer wrote noth") == 2, "the model reads both"
