"""A connection to Redis for one script, with timeouts and errors fit for a log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from forebay.schemas import SettingsError
from forebay.schemas.extras import needs

_ANSWER_S = 1.0
"""How long an answer may take."""
_SCRIPT = Path(__file__).with_name("lease.lua")


class RedisLink:
    """Connections to one Redis server, made when they are needed."""

    def __init__(self, url: str) -> None:
        """Raises SettingsError when the address cannot be used, or the `redis` package is not installed."""
        self.address = _checked(url)
        """Without its credentials."""
        try:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            raise SettingsError(needs("FOREBAY_LIMITS", "redis")) from None
        try:
            self._redis = Redis.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),  # the script is not to run twice
                socket_timeout=_ANSWER_S,
                socket_connect_timeout=_ANSWER_S,
            )
        except ValueError as error:
            raise SettingsError(_rule(self.address, str(error))) from None
        self._script = self._redis.register_script(_SCRIPT.read_text(encoding="utf-8"))

    async def ping(self) -> None:
        """Raises whatever keeps Redis from answering."""
        async with asyncio.timeout(_ANSWER_S):
            await self._redis.time()

    async def say(self, keys: Sequence[str], request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Runs the script. Raises whatever went wrong; it may have run nevertheless."""
        async with asyncio.timeout(_ANSWER_S):
            answer = await self._script(keys, [orjson.dumps(request, option=orjson.OPT_NON_STR_KEYS)])
        reply: Mapping[str, Any] = orjson.loads(answer)
        return reply

    async def reach(self) -> None:
        """Raises ConnectionError, with one clear line, when Redis does not answer."""
        try:
            await self.ping()
        except Exception as error:
            raise ConnectionError(
                f"FOREBAY_LIMITS={self.address}: Redis does not answer: {reason(error)}. Start it, or unset FOREBAY_LIMITS"
            ) from error
        finally:
            await self.close()

    async def close(self) -> None:
        """Closes the connections; the next use makes new ones."""
        with suppress(Exception):
            await self._redis.aclose()


def reason(error: Exception) -> str:
    """One line, also for errors that say nothing."""
    return " ".join(str(error).split()) or f"no answer within {_ANSWER_S:g} s"


def _checked(url: str) -> str:
    """The address as it may be shown. Raises SettingsError."""
    try:
        parts = urlsplit(url)
        where = f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else ""
    except ValueError:  # a port that is no number; what else is in the address may be secret
        raise SettingsError(_rule("redis://...", "its port is no number from 1 to 65535")) from None
    shown = f"{parts.scheme}://{where}{parts.path}"
    database = parts.path.strip("/")
    if parts.scheme not in ("redis", "rediss") or not where or (database and not database.isdecimal()):
        raise SettingsError(_rule(shown, "this is no address of a Redis"))
    return shown


def _rule(shown: str, why: str) -> str:
    return f"FOREBAY_LIMITS={shown}: {why}; write redis://host:port/0"
