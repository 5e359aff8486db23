"""What answers have cost, and how customers rated them, read from the replies and the feedback on their topics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aiokafka import ConsumerRecord
from cachetools import FIFOCache

from forebay.producers.topic_reader import TopicReader
from forebay.schemas import Cluster, DecodeError, decode_feedback, decode_reply
from forebay.schemas import headers as names
from forebay.workers.models import Catalogue

from .accounts import Accounts, largest
from .ratings import Ratings

_REMEMBERED = 200_000
"""Replies for each partition in which a repeat is noticed: a crash repeats what it had not committed, some hundred."""


async def read_costs(
    cluster: Cluster, catalogue: Path | None, against: str | None, since_ms: int | None, tenant: str | None
) -> Accounts:
    """The accounts of all replies since then (milliseconds since the epoch). Raises ClusterError and SettingsError."""
    known = Catalogue.load(catalogue)
    accounts = Accounts(known, against or largest(known))
    known.find(accounts.against)
    await _rate(cluster, accounts.ratings, since_ms)
    async with await TopicReader.of(cluster, cluster.topics.replies) as reader:
        spans = await reader.spans(since_ms)
        seen = FIFOCache[str, None](_REMEMBERED)
        async for records in reader.by_partition(spans):
            for record in records:
                _add(accounts, record, seen, tenant)
    if tenant is not None:
        accounts.ratings.forget_unknown()
    return accounts


async def _rate(cluster: Cluster, ratings: Ratings, since_ms: int | None) -> None:
    async with await TopicReader.of(cluster, cluster.topics.feedback) as reader:
        async for records in reader.by_partition(await reader.spans(since_ms)):
            for record in records:
                try:
                    ratings.rate(decode_feedback(record.value))
                except DecodeError:
                    continue  # not ours


def _add(accounts: Accounts, record: ConsumerRecord, seen: FIFOCache[str, None], tenant: str | None) -> None:
    try:
        reply = decode_reply(record.value)
    except DecodeError:
        return  # not ours
    if reply.reply_id in seen or names.replayed(record.headers):
        return  # it is there already: repeated after a crash, or for a webhook
    seen[reply.reply_id] = None
    of = _header(record.headers, names.TENANT)
    if tenant is None or of == tenant:
        left_out = _header(record.headers, names.LEFT_OUT) or "0"
        accounts.ratings.reply(reply)
        accounts.add(reply, of, int(left_out) if left_out.isdigit() else 0)


def _header(headers: Iterable[tuple[str, bytes]], name: str) -> str | None:
    return next((value.decode(errors="replace") for key, value in headers if key == name and value), None)
