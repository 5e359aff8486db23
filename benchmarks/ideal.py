"""What an engine without any cost would reach: the same calls, the same permits, order kept per conversation."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque

from .calls import call_seconds
from .load import conversations
from .workloads import Workload


def completions(scenario: Workload) -> list[float]:
    """When each call would end, seconds after the first began, sorted; empty where there is no call.

    Calls begin in the order of the topic as soon as a permit is free and their conversation's last call is done;
    the whole backlog is in sight. Evenly spread conversations give concurrency / mean length, to within 1%.
    """
    if not scenario.latency_ms:
        return []
    waiting: defaultdict[int, deque[int]] = defaultdict(deque)
    for sequence, conversation in enumerate(conversations(scenario), start=1):
        waiting[conversation].append(sequence)
    ready = [(turns[0], conversation) for conversation, turns in waiting.items()]
    heapq.heapify(ready)
    return _drain(scenario, waiting, ready)


def _drain(scenario: Workload, waiting: dict[int, deque[int]], ready: list[tuple[int, int]]) -> list[float]:
    now, ends = 0.0, []
    in_flight: list[tuple[float, int]] = []
    while ready or in_flight:
        while ready and len(in_flight) < scenario.concurrency:
            sequence, conversation = heapq.heappop(ready)
            heapq.heappush(in_flight, (now + call_seconds(scenario, sequence), conversation))
        now, conversation = heapq.heappop(in_flight)
        ends.append(now)
        waiting[conversation].popleft()
        if waiting[conversation]:
            heapq.heappush(ready, (waiting[conversation][0], conversation))
    return ends
