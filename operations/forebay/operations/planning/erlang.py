"""Erlang: how long turns wait where so many are offered and so many calls can be made at once. Pure.

- Erlang B and C, the chance that all servers are busy (Erlang, 1917), by the recursion B(n) = a B(n-1) / (n + a B(n-1)),
  which neither overflows nor loses digits (Jagerman, 1974).
- Allen and Cunneen's correction for other spreads than the exponential: the mean waiting of M/M/c times (Ca2 + Cs2) / 2, the
  squared coefficients of variation of arrivals and service (Allen, Probability, Statistics and Queueing Theory, 1990).
- The waiting of those who wait taken as exponential with that mean: exact for M/M/c, good where servers are nearly all busy.
"""

from __future__ import annotations

import math

from .service_time import ServiceTime


def erlang_b(servers: int, load: float) -> float:
    """Chance that an arrival finds all busy where nobody waits; ``load`` in Erlangs: the rate times the mean service time."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked


def erlang_c(servers: int, load: float) -> float:
    """Chance that an arrival has to wait; 1 where the load is no less than the servers."""
    return _waits(erlang_b(servers, load), servers, load)


def mean_wait_s(servers: int, rate: float, service: ServiceTime, arrivals_scv: float = 1.0) -> float:
    """Mean waiting of all, in seconds; infinite where the load is no less than the servers."""
    load = rate * service.mean_s
    return erlang_c(servers, load) * _wait_of_those_who_wait_s(servers, load, service, arrivals_scv)


def wait_s(share: float, servers: int, rate: float, service: ServiceTime, arrivals_scv: float = 1.0) -> float:
    """The waiting that this share of turns does not exceed, in seconds."""
    load = rate * service.mean_s
    return _percentile_s(share, erlang_c(servers, load), servers, load, service, arrivals_scv)


def waits_longer(than_s: float, servers: int, rate: float, service: ServiceTime, arrivals_scv: float = 1.0) -> float:
    """Chance that a turn waits longer."""
    load = rate * service.mean_s
    if load >= servers:
        return 1.0
    return erlang_c(servers, load) * math.exp(-than_s / _wait_of_those_who_wait_s(servers, load, service, arrivals_scv))


def fewest_servers(
    rate: float, service: ServiceTime, target_s: float, share: float = 0.99, arrivals_scv: float = 1.0
) -> int:
    """The fewest servers with which this share of turns waits no longer than the target."""
    load, servers, blocked = rate * service.mean_s, 0, 1.0
    while (
        servers <= load
        or _percentile_s(share, _waits(blocked, servers, load), servers, load, service, arrivals_scv) > target_s
    ):
        servers += 1
        blocked = load * blocked / (servers + load * blocked)
    return servers


def _waits(blocked: float, servers: int, load: float) -> float:
    return 1.0 if load >= servers else blocked / (1 - load / servers * (1 - blocked))


def _wait_of_those_who_wait_s(servers: int, load: float, service: ServiceTime, arrivals_scv: float) -> float:
    return math.inf if load >= servers else service.mean_s / (servers - load) * (arrivals_scv + service.scv) / 2


def _percentile_s(
    share: float, waits: float, servers: int, load: float, service: ServiceTime, arrivals_scv: float
) -> float:
    if waits <= 1 - share:
        return 0.0
    return math.log(waits / (1 - share)) * _wait_of_those_who_wait_s(servers, load, service, arrivals_scv)
