"""Rate limits shared by the fleet through Redis. While Redis is away each worker uses only its own part."""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from forebay.telemetry import tracing

from .lease import SLOTS, Lease, LeaseRequest
from .limits import WINDOW_S, Amounts, Quota, QuotaWindow, RateLimit, Reservation
from .redis_link import RedisLink, reason

log = structlog.get_logger()

_RETRY_S = 0.5
"""Between two tries while Redis is away."""
_JOIN_S = 1.5
"""From the first reply of a Redis that was away until leases count again: by then all workers told what they used."""
_SOON_S = 0.02
"""When a lease that was just asked for may have come."""


class SharedLimits:
    """This worker's side of the shared limits of all keys."""

    def __init__(self, url: str, share: int = 1, window_s: float = WINDOW_S) -> None:
        """``share``: among how many workers a quota is divided while Redis is away, at least.

        Raises SettingsError when the address cannot be used.
        """
        self._link = RedisLink(url)
        self._share = share
        self._window_s = window_s
        self._limits: list[SharedRateLimit] = []
        self._away = False
        self._loop = asyncio.get_running_loop()
        self.on_change: Callable[[], None] = lambda: None
        """Called when calls that had to wait may be possible."""

    def limit(self, key: str, limits: Amounts) -> SharedRateLimit:
        """The limits over all workers of what ``key`` identifies; Redis sees only a hash of it.

        ``limits`` are per minute; resources that are not named are learned from the provider's headers.
        """
        counted = f"{key}\n{self._window_s:g} s in {SLOTS}"  # workers that count otherwise are not to mix with these
        name = f"forebay:{{{hashlib.sha256(counted.encode()).hexdigest()[:24]}}}"
        made = SharedRateLimit(self._link, name, self._changed, limits, self._share, self._window_s)
        self._limits.append(made)
        return made

    async def reach(self) -> None:
        """Raises ConnectionError, with one clear line, when Redis does not answer."""
        await self._link.reach()

    async def close(self) -> None:
        """Gives back what is leased."""
        await asyncio.gather(*(limit.close() for limit in self._limits))
        await self._link.close()

    def _changed(self, limit: SharedRateLimit, error: Exception | None) -> None:
        if error is not None and not self._away:
            self._away = True
            log.error(
                "limits.away",
                redis=self._link.address,
                error=reason(error),
                share=limit.share,
                fix="each worker keeps to its share of every quota until Redis is back",
            )
        elif self._away and not any(limit.alone for limit in self._limits):
            self._away = False
            log.info("limits.back", redis=self._link.address)
        self._loop.call_soon(self.on_change)


@dataclass(slots=True)
class SharedReservation(Reservation):
    """What one call reserved of a shared quota."""

    leased: Amounts = field(default_factory=dict)
    """What of it was taken from the lease."""
    at: int = 0
    """The slot in which that counts."""


class SharedRateLimit(RateLimit):
    """All resources of one key, shared by a fleet.

    The windows of `RateLimit` hold what this worker used and what the provider told it. Beside their room a call needs a
    lease; while Redis is away the windows alone decide, with this worker's part of the limits.
    """

    def __init__(
        self,
        link: RedisLink,
        name: str,
        changed: Callable[[SharedRateLimit, Exception | None], None],
        limits: Amounts,
        share: int,
        window_s: float,
    ) -> None:
        super().__init__(limits)
        self._link = link
        self._keys = f"{name}:window", f"{name}:workers"
        self._changed = changed
        self._own = dict(limits)
        self._told: dict[str, float] = {}
        self._limits = dict(limits)  # the lower of both
        self._news: dict[str, float] = {}
        self._least_share = self.share = share
        """Among how many workers a quota is divided while Redis is away."""
        self._window_s = window_s
        self._tempo = WINDOW_S / window_s  # a shorter window is a minute that goes faster
        self._loop = asyncio.get_running_loop()
        self._lease = Lease(window_s, ahead_s=time.time() - self._loop.time())
        self._me, self._epoch = secrets.token_hex(8), ""
        self._left, self._left_at = 1.0, 0.0
        self.alone = False
        """Whether Redis is away, or has not yet heard of all that the fleet used."""
        self._back_at: float | None = None
        self._wake = asyncio.Event()
        self._sleeps_until = 0.0
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False
        self.round_trips = 0
        """How often Redis was asked."""

    def admits_at(self, amounts: Amounts, now: float) -> float:
        wait_s = super().admits_at(amounts, now * self._tempo) / self._tempo - now
        if wait_s > 1e-6:  # not what rounding left
            return now + wait_s
        if self.alone:
            return now
        wanted = {name: min(amount, self._limits[name]) for name, amount in self._limited(amounts).items()}
        if self._lease.covers(wanted):
            return now
        self._lease.ask(wanted, now)
        self._hurry(now)
        return max(now + _SOON_S, self._lease.expected_at)

    def room(self, now: float) -> float:
        own = super().room(now * self._tempo)
        return own if self.alone else min(own, self._left + (now - self._left_at) / self._window_s)

    def reserve(self, amounts: Amounts, now: float) -> SharedReservation:
        slots = super().reserve(amounts, now * self._tempo).slots
        leased = self._limited(amounts) if slots else {}
        at = self._lease.use(leased, now)
        self._hurry(now)
        return SharedReservation(amounts, slots, leased, at)

    def settle(self, reservation: Reservation, used: Amounts) -> None:
        super().settle(reservation, used)
        if isinstance(reservation, SharedReservation):
            differences = {name: used.get(name, 0.0) - amount for name, amount in reservation.leased.items()}
            self._lease.settle(reservation.at, differences)

    def correct(self, quotas: Mapping[str, Quota], now: float) -> None:
        faster = {
            name: quota._replace(reset_s=quota.reset_s and quota.reset_s * self._tempo)
            for name, quota in quotas.items()
        }
        super().correct(faster, now * self._tempo)
        told = {name: quota.limit for name, quota in quotas.items() if quota.limit}
        self._news |= {name: limit for name, limit in told.items() if limit != self._told.get(name)}
        self._limit(told)

    async def close(self) -> None:
        """Gives back what is leased."""
        self._closing = True
        if self._keeper is not None:
            self._wake.set()
            await self._keeper  # not cancelled: its request may be half way
            self._lease.let_go()
            with suppress(Exception):
                await self._exchange(leaves=True)

    def _limited(self, amounts: Amounts) -> Amounts:
        """Those of which the limit is known."""
        return {name: amounts.get(name, 0.0) for name in self._limits}

    def _limit(self, told: Amounts) -> None:
        """Takes what the provider told of its limits, and of each limit this worker's part where it is alone."""
        self._told |= told
        self._limits = self._told | {name: min(own, self._told.get(name, own)) for name, own in self._own.items()}
        for name, limit in self._limits.items():
            self._windows.setdefault(name, QuotaWindow()).limit = limit / self.share if self.alone else limit
        self.limited = bool(self._windows)

    def _hurry(self, now: float) -> None:
        """Wakes the keeper where it would sleep too long."""
        if self._keeper is None:
            self._keeper = self._loop.create_task(self._keep(), name="limits.keep", context=tracing.apart())
        elif not self.alone and self._lease.due_at(now) < self._sleeps_until:
            self._wake.set()

    async def _keep(self) -> None:
        """Talks to Redis whenever there is a reason."""
        while not self._closing:
            await self._sleep()
            try:
                if self.alone:
                    await self._link.ping()  # so that no request is in doubt only because nobody is there
                await self._exchange()
            except Exception as error:
                self._go_alone(error)

    async def _sleep(self) -> None:
        due_at = self._loop.time() + _RETRY_S if self.alone else self._lease.due_at(self._loop.time())
        while due_at > self._loop.time() and not self._closing:
            self._sleeps_until = due_at
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_at if due_at < math.inf else None):
                    await self._wake.wait()
                    due_at = self._lease.due_at(self._loop.time())

    async def _exchange(self, *, leaves: bool = False) -> None:
        sent_at = self._loop.time()
        request = self._lease.request(sent_at)
        news, self._news = self._news, {}
        self.round_trips += 1
        try:
            reply = await self._link.say(self._keys, self._message(request, news, leaves))
        except BaseException:
            self._lease.unsure(request)
            self._news = news | self._news
            raise
        self._take(request, reply, sent_at)

    def _message(self, request: LeaseRequest, news: Amounts, leaves: bool) -> dict[str, Any]:
        return {
            "worker": self._me,
            "epoch": self._epoch,
            "new_epoch": secrets.token_hex(8),
            "slot_s": self._lease.slot_s,
            "slots": SLOTS + 1,  # and one late
            "ttl_ms": int(self._window_s * 2000) + 5000,
            "own": self._own,
            "told": self._told,
            "news": news,
            "moves": request.moves,
            "need": request.need,
            "want": {} if self.alone or leaves else request.want,
            "leaves": leaves,
        }

    def _take(self, request: LeaseRequest, reply: Mapping[str, Any], sent_at: float) -> None:
        now = self._loop.time()
        lost = self._epoch not in ("", reply["epoch"])
        self._epoch = reply["epoch"]
        self._lease.granted(request, reply, sent_at, now)
        if lost and self._lease.start_over(now) and not self.alone:
            self._go_alone(ConnectionError("it lost what was counted"))
        if not self.alone:
            self.share = max(self._least_share, reply["workers"])
        self._limit(reply["told"])
        used: Mapping[str, float] = reply["used"]
        self._left = min((1 - used.get(name, 0.0) / limit for name, limit in self._limits.items()), default=1.0)
        self._left_at = now
        if self.alone:
            self._come_back(now, ready=not (lost or reply["young"]))
        elif request.need:
            self._changed(self, None)

    def _go_alone(self, error: Exception) -> None:
        self._back_at = None
        self._lease.let_go()
        if not self.alone:
            self.alone = True
            self._limit({})
            self._changed(self, error)

    def _come_back(self, now: float, *, ready: bool) -> None:
        """Redis answers; leases count again when it was told all."""
        self._back_at = self._back_at or now
        if ready and now >= self._back_at + _JOIN_S:
            self.alone, self._back_at = False, None
            self._limit({})
            self._changed(self, None)
