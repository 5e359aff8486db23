"""Submission of a turn: from its admission to Kafka's acknowledgement, or a problem that says why not and until when."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from cachetools import FIFOCache

from forebay.gateway import metrics
from forebay.gateway.settings import GatewaySettings
from forebay.gateway.stream.cursor import Cursor
from forebay.gateway.stream.hub import EntryPoint, Hub
from forebay.gateway.stream.record import ConversationRecord, Stream
from forebay.schemas import ONLY, Cluster, Headers, Turn, encode
from forebay.telemetry import tracing
from forebay.telemetry.metrics import sent as count_sent

from .admission import TurnAdmission
from .problem import Problem, kafka_away
from .streaming import Streaming

log = structlog.get_logger()

_REMEMBERED = 50_000
"""Accepted turns that are remembered: one that is sent again is not written again."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A turn that Kafka has."""

    turn: Turn
    cursor: Cursor
    """A reader that starts here misses nothing of it."""
    request: ConversationRecord


class Submission:
    """Takes turns and writes them to Kafka, for every API of the gateway."""

    def __init__(self, cluster: Cluster, settings: GatewaySettings, hub: Hub) -> None:
        now = time.monotonic()
        self._settings, self._hub = settings, hub
        self._topic = cluster.topics.requests
        self._admission = TurnAdmission(
            everyone=settings.gateway_turns_a_second,
            tenant=settings.gateway_tenant_turns_a_second,
            user=settings.gateway_user_turns_a_second,
            user_burst=settings.gateway_user_burst,
            now=now,
        )
        self.streaming = Streaming(wait_s=settings.gateway_whole_above_s, deltas=settings.gateway_whole_above_deltas)
        self._unacknowledged = 0
        self._known: FIFOCache[tuple[str, str], tuple[bytes, asyncio.Future[Accepted]]] = FIFOCache(_REMEMBERED)
        # Not idempotent: such a producer is of no more use after one request that failed for good. What its retries may
        # write twice is one turn to the workers, by its id.
        self._producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=False,
            max_batch_size=128 * 1024,
            compression_type="lz4",
            **cluster.connection(),
        )

    async def start(self) -> None:
        """Connects. Raises KafkaError."""
        await self._producer.start()

    async def stop(self) -> None:
        """Waits a moment for turns that are not acknowledged yet."""
        try:
            await asyncio.wait_for(self._producer.stop(), self._settings.gateway_accept_s)
        except TimeoutError:
            log.warning("gateway.unacknowledged", turns=self._unacknowledged)

    async def submit(self, turn: Turn, headers: Headers = (), api: str = "turns") -> Accepted:
        """Returns when all in-sync replicas have the turn. The same turn again is accepted, and not written again.

        Raises Problem.
        """
        key = turn.conversation_id, turn.turn_id
        said = _digest(turn)
        known = self._known.get(key)
        if known is not None:
            if known[0] != said:
                raise Problem(409, "another turn with this id, or this idempotency key, was accepted before")
            return await asyncio.shield(known[1])
        entry = self._hub.entry(turn.conversation_id)
        turn = self._admitted(turn, entry.wait_s)
        accepted: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._known[key] = said, accepted
        try:
            value = encode(turn, unset=False)
            with tracing.About(turn.turn_id, turn.conversation_id, headers):
                accepted.set_result(await self._send(turn, value, headers, entry))
        except BaseException as error:
            self._known.pop(key, None)
            accepted.set_exception(error if isinstance(error, Problem) else _away(turn))
            accepted.exception()  # nobody else may be waiting for it
            raise
        metrics.ACCEPTED.labels(api).inc()
        return accepted.result()

    def forget(self, conversation: str) -> None:
        """Drops what is remembered of a conversation's turns."""
        for known in [known for known in self._known if known[0] == conversation]:
            del self._known[known]

    def used(self, now: float) -> float:
        """Which share of the rate, or of the turns that may wait for Kafka, is used; 1 is all of it."""
        unacknowledged = self._unacknowledged / self._settings.gateway_unacknowledged
        return max(unacknowledged, self._admission.used(now))

    def refresh_metrics(self) -> None:
        """Sets the gauges to their current values."""
        metrics.UNACKNOWLEDGED.set(self._unacknowledged)
        metrics.STREAMING.set(self.streaming.on)

    def _admitted(self, turn: Turn, wait_s: float | None) -> Turn:
        """The turn as it is written; ``wait_s`` is how long it would wait. Raises Problem."""
        if self._unacknowledged >= self._settings.gateway_unacknowledged:
            raise _away(turn)
        limit = self._admission.admit(turn.user_id, turn.tenant, time.monotonic())
        if limit is not None:
            raise Problem(429, f"{limit.whose} sends too many turns", retry_after_s=limit.retry_after_s)
        turn = self._in_time(turn, wait_s)
        if turn.stream and not self.streaming.on:
            metrics.WHOLE.inc()
            turn = turn.model_copy(update={"stream": False})
        return turn

    def _in_time(self, turn: Turn, wait_s: float | None) -> Turn:
        """The turn; where it would expire before its answer, one for the FAQ only. Raises Problem."""
        assert turn.sent_at is not None
        left_s = self._settings.turn_ttl_s
        if turn.expires_at is not None:
            left_s = (turn.expires_at - turn.sent_at).total_seconds()
        if wait_s is None or left_s <= 0 or wait_s <= left_s:
            return turn  # also one that has expired already: its reply says so
        if self._settings.gateway_when_late == "faq":
            return turn.model_copy(
                update={"priority": "high", "attributes": {**turn.attributes, ONLY: "faq"}},
            )
        raise Problem(
            503,
            f"too many turns wait: this one would begin in about {wait_s:.0f} s and may wait {left_s:.0f} s",
            code="busy",
            retry_after_s=min(max(1.0, wait_s - left_s), 60.0),
            estimated_wait_s=wait_s,
        )

    async def _send(self, turn: Turn, value: bytes, headers: Headers, entry: EntryPoint) -> Accepted:
        key, began = turn.conversation_id.encode(), time.monotonic()
        self._unacknowledged += 1
        span = tracing.sending(tracing.tracer, self._topic, turn.turn_id, turn.conversation_id)
        sent: asyncio.Future[Any] | None = None
        try:
            async with asyncio.timeout(self._settings.gateway_accept_s):
                sent = await self._producer.send(
                    self._topic, value=value, key=key, partition=entry.partition, headers=list(span.carrying(headers))
                )
                sent.add_done_callback(lambda done: self._settled(done, began))
                span.ends_with(sent)
                acknowledged = await asyncio.shield(sent)
        except MessageSizeTooLargeError:
            raise Problem(413, f"the turn has {len(value):,} bytes, more than a record takes") from None
        except (KafkaError, TimeoutError) as error:
            raise _away(turn) from error
        finally:
            if sent is None:
                self._unacknowledged -= 1
                span.failed("not_sent")
                span.end()
        metrics.ACKNOWLEDGED.observe(time.monotonic() - began, tracing.exemplar())
        record = ConversationRecord(
            Stream.REQUESTS,
            acknowledged.partition,
            acknowledged.offset,
            key,
            value,
            turn.turn_id,
            acknowledged.timestamp,
        )
        return Accepted(turn, entry.cursor, record)

    def _settled(self, sent: asyncio.Future[Any], began: float) -> None:
        """Counts the turn until Kafka has it or the producer gives up, even when nobody waits any more."""
        self._unacknowledged -= 1
        if sent.cancelled():
            return
        error = sent.exception()
        count_sent(self._topic, 1, time.monotonic() - began, error)
        if error is not None:
            log.warning("gateway.not_acknowledged", error=str(error) or type(error).__name__)


def _away(turn: Turn) -> Problem:
    return kafka_away("Kafka does not take turns now; send it again with this turn_id", turn_id=turn.turn_id)


def _digest(turn: Turn) -> bytes:
    """Digest of the turn's content, without its time."""
    said = repr((turn.text, turn.confirm, turn.user_id, turn.tenant, turn.attributes))
    return hashlib.blake2b(said.encode(errors="surrogatepass"), digest_size=16).digest()
