"""How the SDKs' HTTP transport is bounded: connections from the permits, and a limit on every wait."""

from __future__ import annotations

import httpx2

from .timeouts import Timeouts


def timeout(timeouts: Timeouts) -> httpx2.Timeout:
    """For the pool we wait as long as for an answer: permits already bound how many calls there are."""
    return httpx2.Timeout(
        connect=timeouts.connect_s, read=timeouts.read_s, write=timeouts.write_s, pool=timeouts.read_s
    )


def limits(concurrency: int) -> httpx2.Limits:
    """As many connections as permits, all kept alive: the SDKs' default would close all but 100 after each burst."""
    return httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=300.0)
