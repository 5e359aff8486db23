"""What answers have cost, read from the replies on their topic."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aiokafka import ConsumerRecord
from cachetools import FIFOCache

from forebay.producers.topic_reader import TopicReader
from forebay.schemas import Cluster, DecodeError, decode_reply
from forebay.schemas import headers as names
from forebay.workers.models import Catalogue

from .accounts import Accounts, largest

_REMEMBERED = 200_000
"""Replies for each partition in which a repeat is noticed: a crash repeats what it had not committed, some hundred."""


async def read_costs(
    cluster: Cluster, catalogue: Path | None, against: str | None, since_ms: int | None, tenant: str | None
) -> Accounts:
    """The accounts of all replies since then (milliseconds since the epoch). Raises ClusterError and SettingsError."""
    known = Catalogue.load(catalogue)
    accounts = Accounts(known, against or largest(known))
    known.find(accounts.against)
    async with await TopicReader.of(cluster, cluster.topics.replies) as reader:
        spans = await reader.spans(since_ms)
        seen = FIFOCache[str, None](_REMEMBERED)
        async for records in reader.by_partition(spans):
            for record in records:
                _add(accounts, record, seen, tenant)
    return accounts


def _add(accounts: Accounts, record: ConsumerRecord, seen: FIFOCache[str, None], tenant: str | None) -> None:
    try:
        reply = decode_reply(record.value)
    except DecodeError:
        return  # not ours
    if reply.reply_id in seen:
        return
    seen[reply.reply_id] = None
    of = _header(record.headers, names.TENANT)
    if tenant is None or of == tenant:
        left_out = _header(record.headers, names.LEFT_OUT) or "0"
        accounts.add(reply, of, int(left_out) if left_out.isdigit() else 0)


def _header(headers: Iterable[tuple[str, bytes]], name: str) -> str | None:
    return next((value.decode(errors="replace") for key, value in headers if key == name and value), None)
