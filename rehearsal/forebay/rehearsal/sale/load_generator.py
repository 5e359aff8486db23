"""The load generator: sends what customers say when they say it, whether or not anybody keeps up, and counts the replies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from forebay.producers import ChatClient, new_turn
from forebay.producers.feed import Feed
from forebay.rehearsal.customers import Visit
from forebay.rehearsal.delivery_check import DeliveryCheck, remembered
from forebay.rehearsal.model_api import parse_reply
from forebay.schemas import Cluster, Confirm, Reply, Turn, WhenBusy, decode_delta, decode_reply

from .impatient_customer import ImpatientCustomer, Question

log = logging.getLogger(__name__)


class LoadGenerator:
    """All customers of a rehearsal. Use it as a context manager. Its clock is the monotonic one."""

    def __init__(
        self, cluster: Cluster, *, streamed: bool = False, when_busy: WhenBusy | None = None, simulated: bool = True
    ) -> None:
        """``simulated``: the models repeat how much they were shown, so it is checked."""
        self._cluster = cluster
        self._streamed, self._when_busy, self._simulated = streamed, when_busy, simulated
        self._tasks: set[asyncio.Task[Any]] = set()
        self._awaited: dict[str, asyncio.Future[Reply]] = {}
        self._users: dict[str, str | None] = {}
        self._heard: set[str] = set()
        self._exchanges = Counter[str]()
        self._unanswered: dict[str, list[str]] = {}  # turn ids by conversation, of customers who may leave
        self.check = DeliveryCheck()
        self.routes = Counter[str]()
        self.first_words_s: dict[str, float] = {}
        """From sending a turn to its first fragment, by turn id; of streamed turns."""
        self.questions: list[Question] = []
        """Of customers who do not wait for ever; the latest ended last."""
        self.late_s: list[float] = []
        """How late each visit was begun: above a few milliseconds the load itself could not keep up."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._chat = await stack.enter_async_context(ChatClient(self._cluster))
            topics = self._cluster.topics
            for topic, hear in ((topics.replies, self._read), (topics.deltas, self._hear))[: 1 + self._streamed]:
                feed = Feed(self._cluster, topic, hear)
                stack.push_async_callback(feed.stop)
                await feed.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._stack.aclose()
        except (KafkaError, asyncio.CancelledError) as error:
            # aiokafka cancels its own waiting where Kafka is gone. What was counted counts.
            ours = asyncio.current_task()
            if ours is None or ours.cancelling():
                raise
            log.warning("Kafka was not left in order: %s", str(error) or type(error).__name__)

    async def visit(self, visits: Iterable[Visit], began: float) -> None:
        """Begins each visit at its moment after ``began``; returns when every customer has said all and has replies."""
        for visit in visits:
            at = began + visit.at
            await asyncio.sleep(at - time.monotonic())
            self.late_s.append(max(0.0, time.monotonic() - at))
            self._spawn(visit)
        while self._tasks:
            await asyncio.gather(*self._tasks)

    @property
    def all_replied(self) -> bool:
        """Whether nothing is on its way."""
        return self.check.replied == self.check.sent and not self._tasks

    def _spawn(self, visit: Visit) -> None:
        if visit.wait is not None:
            self._run(self._stay(visit, ImpatientCustomer(self, visit, visit.wait)))
            return
        # The first words of a conversation's customers must leave in their order: it is sent before anything else runs.
        turn = self._turn(visit, visit.said[0])
        self._run(self._say_all(visit, turn) if len(visit.said) > 1 else self._chat.send(turn))

    async def _say_all(self, visit: Visit, turn: Turn) -> None:
        reply = await self._ask(turn)
        for text, pause_s in zip(visit.said[1:], visit.pauses_s, strict=True):
            await asyncio.sleep(pause_s)
            reply = await self._ask(self._turn(visit, text))
            if reply.outcome == "handed_off":
                return  # a person takes over

    async def _stay(self, visit: Visit, customer: ImpatientCustomer) -> None:
        for text, pause_s in zip(visit.said, (0.0, *visit.pauses_s), strict=True):
            await asyncio.sleep(pause_s)
            question = await customer.ask(text)
            self.questions.append(question)
            if question.answered_at is None:
                break
        self._unanswered.pop(visit.conversation_id, None)

    def ask(self, visit: Visit, text: str) -> asyncio.Future[bool]:
        """Sends words of a customer who may leave; the future tells whether they were answered."""
        turn = self._turn(visit, text)
        self._unanswered.setdefault(visit.conversation_id, []).append(turn.turn_id)
        task = asyncio.ensure_future(self._is_answered(turn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _is_answered(self, turn: Turn) -> bool:
        # The reply of a merged turn is none yet: that of the turn it went into is, which is waited for too.
        return (await self._ask(turn)).outcome in ("answered", "confirmation_required", "handed_off")

    def reload(self, visit: Visit, text: str, asked: Sequence[asyncio.Future[bool]]) -> Sequence[asyncio.Future[bool]]:
        """The turns are in Kafka: the page that comes back shows their replies."""
        return asked

    def take_back(self, visit: Visit) -> None:
        """The frontend cancels every turn of the customer that has no reply."""
        for turn_id in self._unanswered.pop(visit.conversation_id, ()):
            if turn_id in self._awaited:
                conversation, user = visit.conversation_id, visit.user_id
                self._run(self._cancel(turn_id, conversation, user))

    async def _cancel(self, turn_id: str, conversation_id: str, user_id: str) -> None:
        await self._chat.cancel(turn_id, conversation_id=conversation_id, user_id=user_id)

    async def _ask(self, turn: Turn) -> Reply:
        asked: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._awaited[turn.turn_id] = asked
        await self._chat.send(turn)
        return await asked

    def _turn(self, visit: Visit, text: str) -> Turn:
        return self._count(
            new_turn(
                text,
                conversation_id=visit.conversation_id,
                user_id=visit.user_id,
                stream=self._streamed,
                when_busy=self._when_busy,
            )
        )

    def _count(self, turn: Turn) -> Turn:
        self._users[turn.conversation_id] = turn.user_id
        self.check.turn_sent(turn.conversation_id, turn.turn_id, time.monotonic())
        return turn

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(task := asyncio.create_task(coroutine))
        task.add_done_callback(self._tasks.discard)

    def _read(self, record: ConsumerRecord) -> None:
        reply = decode_reply(record.value)
        if reply.turn_id not in self.check.sent_at:
            return
        first = reply.turn_id not in self._heard
        self._heard.add(reply.turn_id)
        self.check.reply_read(reply, record.value, time.monotonic(), not first or self._remembered(reply))
        if not first:
            return
        self.routes[reply.route or reply.outcome] += 1
        if reply.outcome in ("answered", "confirmation_required"):
            self._exchanges[reply.conversation_id] += 1
        if reply.action is not None:  # the customer agrees
            word, user = Confirm(action_id=reply.action.action_id, accept=True), self._users[reply.conversation_id]
            agreed = new_turn("", conversation_id=reply.conversation_id, user_id=user, confirm=word)
            self._run(self._chat.send(self._count(agreed)))
        if (awaited := self._awaited.pop(reply.turn_id, None)) is not None and not awaited.done():
            awaited.set_result(reply)

    def _remembered(self, reply: Reply) -> bool:
        """The simulated model tells how many turns it was shown."""
        if not self._simulated or reply.model is None or reply.outcome != "answered":
            return True
        return remembered(parse_reply(reply.text).turn, self._exchanges[reply.conversation_id])

    def _hear(self, record: ConsumerRecord) -> None:
        delta = decode_delta(record.value)
        sent_at = self.check.sent_at.get(delta.turn_id)
        if sent_at is not None and delta.text:
            self.first_words_s.setdefault(delta.turn_id, time.monotonic() - sent_at)
