"""The latest records of a topic, newest first, bounded in number and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from forebay.gateway.http.problem import Problem
from forebay.producers.topic_reader import TopicReader
from forebay.schemas import Cluster, ClusterError

from .admin import explained

READ_S = 15.0


async def latest(cluster: Cluster, topic: str, most: int) -> AsyncIterator[ConsumerRecord]:
    """Yields at most ``most`` records. Raises Problem."""
    left = most
    try:
        async with (
            asyncio.timeout(READ_S),
            await TopicReader.of(cluster, topic) as reader,
            aclosing(reader.newest_first(await reader.spans())) as records,
        ):
            async for record in records:
                yield record
                left -= 1
                if not left:
                    return
    except (KafkaError, OSError) as error:
        if isinstance(error, TimeoutError):
            raise Problem(503, f"reading {topic} took more than {READ_S:g} s", code="slow") from None
        raise explained(cluster.explain(error)) from error
    except ClusterError as error:
        raise explained(error) from error
