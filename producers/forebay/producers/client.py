"""The chat client: sends turns, waits for replies, streams their fragments, takes turns back.

async with ChatClient(Cluster.read()) as chat:
    reply = await chat.ask("Is SKU001 in stock?", conversation_id="c-1842")
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any, Self

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from forebay.schemas import (
    Cancellation,
    Cluster,
    DecodeError,
    Delta,
    Headers,
    Reply,
    Turn,
    decode_delta,
    decode_reply,
    encode,
    new_id,
)
from forebay.telemetry import tracing

from .feed import Feed
from .waiting import Waiter, Waiters

log = logging.getLogger(__name__)


class ReplyTimeoutError(TimeoutError):
    """No reply came in time. The turn is not lost: it waits in Kafka, and its reply will be on the replies topic."""


class ChatClient:
    """Sends turns and receives their replies; one consumer serves all callers. Use it as an async context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._topics = cluster.topics
        self._waiters = Waiters()
        self._replies = Feed(cluster, self._topics.replies, self._on_reply)
        self._deltas: Feed | None = None
        self._deltas_lock = asyncio.Lock()
        self._cancels = False  # whether the topic of cancellations is known to exist
        self._producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            max_batch_size=128 * 1024,
            compression_type="lz4",
            **cluster.connection(),
        )

    async def __aenter__(self) -> Self:
        """Connects. Raises ClusterError when the cluster does not answer or has no topics."""
        try:
            await self._producer.start()
            existing = (await self._producer.client.fetch_all_metadata()).topics()
            self._cluster.missing(existing, (self._topics.requests, self._topics.replies, self._topics.deltas))
            # Who sends first waits for nothing then, so turns that are sent at once keep the order in which they were.
            await self._producer.partitions_for(self._topics.requests)
            await self._replies.start()
        except (KafkaError, OSError) as error:
            await self._close()
            raise self._cluster.explain(error) from error
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def send(self, turn: Turn, headers: Headers = ()) -> None:
        """Sends a turn; returns when all in-sync replicas have it. Raises KafkaError; sending it again is harmless.

        The record joins the trace in ``headers``, or the caller's current OpenTelemetry span.
        """
        await (await self._enqueue(turn, headers))

    async def send_many(self, turns: Iterable[Turn]) -> int:
        """Sends turns in order, in batches; returns their number when all are acknowledged. Raises the first KafkaError."""
        sent = [await self._enqueue(turn) for turn in turns]
        await asyncio.gather(*sent)
        return len(sent)

    async def ask(
        self,
        what: str | Turn,
        *,
        timeout_s: float | None = 120.0,
        headers: Headers = (),
        follow_merged: bool = False,
        **fields: Any,
    ) -> Reply:
        """Sends a turn and returns its final reply, whatever its outcome.

        ``what`` is a turn, or the text of one with its other ``fields``; without ``conversation_id`` it begins a new
        conversation. ``follow_merged`` returns, of a merged turn, the reply of the turn it was merged into. Raises
        ReplyTimeoutError after ``timeout_s`` seconds.
        """
        turn = what if isinstance(what, Turn) else new_turn(what, **fields)
        with self._waiters.waiting(turn.turn_id) as waiter:
            await self.send(turn, headers)
            give_up, heard = _give_up(timeout_s), None
            while not _is_final(heard, follow_merged):
                heard = await _next(waiter, turn.turn_id, give_up, timeout_s)
        assert isinstance(heard, Reply)
        return heard

    async def stream(
        self, what: str | Turn, *, timeout_s: float | None = 120.0, follow_merged: bool = False, **fields: Any
    ) -> AsyncIterator[Delta | Reply]:
        """Sends a turn and yields its fragments as they come, then its final reply, which has the whole text.

        A delta with ``restart`` means: drop what was shown so far. Fragments may be missing; the reply never is.
        ``follow_merged`` as in `ask`.
        """
        turn = (what if isinstance(what, Turn) else new_turn(what, **fields)).model_copy(update={"stream": True})
        await self._hear_deltas()
        with self._waiters.waiting(turn.turn_id) as waiter:
            await self.send(turn)
            give_up, heard = _give_up(timeout_s), None
            while not _is_final(heard, follow_merged):
                heard = await _next(waiter, turn.turn_id, give_up, timeout_s)
                if not isinstance(heard, Reply) or _is_final(heard, follow_merged):
                    yield heard

    async def cancel(
        self,
        turn: str | Turn,
        *,
        conversation_id: str | None = None,
        user_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Reply | None:
        """Takes a turn back; returns when all in-sync replicas have the cancellation. It may come before its turn.

        ``turn`` is the turn, or its id with the ``conversation_id``. With ``user_id`` it counts only for turns of that
        user; without one a server speaks, which may cancel any. With ``timeout_s`` it waits so long, in seconds, for the
        turn's reply and returns it: whether it came too late, its outcome says. Raises ClusterError, KafkaError,
        ValueError.
        """
        turn_id = turn.turn_id if isinstance(turn, Turn) else turn
        conversation_id = turn.conversation_id if isinstance(turn, Turn) else conversation_id
        if conversation_id is None:
            raise ValueError(f"cancel turn {turn_id} with its conversation_id: it is the key of all that is about it")
        word = Cancellation(conversation_id=conversation_id, turn_id=turn_id, user_id=user_id, at=datetime.now(UTC))
        with self._waiters.waiting(turn_id) as waiter:
            await self._cancel(word)
            if timeout_s is None:
                return None
            give_up, heard = _give_up(timeout_s), None
            try:
                while not isinstance(heard, Reply):
                    heard = await _next(waiter, turn_id, give_up, timeout_s)
            except ReplyTimeoutError:
                return None
        return heard

    async def _cancel(self, word: Cancellation) -> None:
        topic = self._topics.cancellations
        if not self._cancels:
            self._cluster.missing((await self._producer.client.fetch_all_metadata()).topics(), (topic,))
            self._cancels = True
        await self._producer.send_and_wait(topic, value=encode(word), key=word.conversation_id.encode())

    async def _enqueue(self, turn: Turn, headers: Headers = ()) -> asyncio.Future[Any]:
        key = turn.conversation_id.encode()
        value = encode_turn(turn)
        tracer = None if tracing.trace_of(headers) else tracing.callers_tracer()
        span = tracing.sending(tracer, self._topics.requests, turn.turn_id, turn.conversation_id)
        try:
            sent: asyncio.Future[Any] = await self._producer.send(
                self._topics.requests, value=value, key=key, headers=list(span.carrying(headers))
            )
        except MessageSizeTooLargeError as error:
            raise ValueError(f"turn {turn.turn_id} has {len(value):,} bytes, more than a record takes") from error
        span.ends_with(sent)
        return sent

    async def _hear_deltas(self) -> None:
        async with self._deltas_lock:
            if self._deltas is None:
                feed = Feed(self._cluster, self._topics.deltas, self._on_delta)
                await feed.start()
                self._deltas = feed

    def _on_reply(self, record: ConsumerRecord) -> None:
        if not self._waiters:
            return
        try:
            self._waiters.tell(decode_reply(record.value))
        except DecodeError as error:
            log.warning("%s has a record that is no reply: %s", record.topic, error)

    def _on_delta(self, record: ConsumerRecord) -> None:
        try:
            self._waiters.tell(decode_delta(record.value))
        except DecodeError as error:
            log.warning("%s has a record that is no delta: %s", record.topic, error)

    async def _close(self) -> None:
        if self._deltas is not None:
            await self._deltas.stop()
        await self._replies.stop()
        await self._producer.stop()


def new_turn(text: str, *, conversation_id: str | None = None, turn_id: str | None = None, **fields: Any) -> Turn:
    """A turn with new ids where none are given, sent now. Raises pydantic's ValidationError."""
    return Turn(
        turn_id=turn_id or new_id(),
        conversation_id=conversation_id or new_id(),
        text=text,
        sent_at=fields.pop("sent_at", None) or datetime.now(UTC),
        **fields,
    )


def encode_turn(turn: Turn) -> bytes:
    """The turn as JSON; fields that were not set are left out."""
    return encode(turn, unset=False)


def _is_final(heard: Delta | Reply | None, follow_merged: bool) -> bool:
    """Whether it ends the waiting."""
    return isinstance(heard, Reply) and not (follow_merged and heard.outcome == "merged")


async def _next(waiter: Waiter, turn_id: str, give_up: float | None, timeout_s: float | None) -> Delta | Reply:
    left = None if give_up is None else max(0.0, give_up - asyncio.get_running_loop().time())
    try:
        return await asyncio.wait_for(waiter.get(), left)
    except TimeoutError:
        raise ReplyTimeoutError(
            f"no reply to turn {turn_id} within {timeout_s:g} s: is a worker running? the turn stays in Kafka"
        ) from None


def _give_up(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
