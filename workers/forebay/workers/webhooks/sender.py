"""The sender: one HTTP request to a webhook's server. It follows no redirect, keeps no cookie and reads no body."""

from __future__ import annotations

from datetime import UTC, datetime

import aiohttp

from forebay.schemas.version import VERSION
from forebay.workers.models import Trouble

from .addresses import PrivateAddressError, any_socket, public_socket
from .attempt import Attempt, answered
from .destinations import Destination
from .webhook import signed_headers

_AGENT = {"user-agent": f"forebay/{VERSION}"}


class Sender:
    """Two pools of connections: one that reaches the internet only, one for destinations in private networks."""

    def __init__(self, connections: int, timeout_s: float) -> None:
        """``connections`` at most in each pool; ``timeout_s`` bounds a whole request."""
        self._public = _session(connections, timeout_s, private=False)
        self._private = _session(connections, timeout_s, private=True)
        self._timeout_s = timeout_s

    async def post(self, destination: Destination, webhook_id: str, body: bytes) -> Attempt:
        """Sends a webhook once."""
        headers = _AGENT | signed_headers(webhook_id, body, destination.secret, datetime.now(UTC))
        session = self._private if destination.allow_private else self._public
        try:
            async with session.post(destination.url, data=body, headers=headers, allow_redirects=False) as response:
                return answered(response.status, response.headers.get("retry-after"), datetime.now(UTC))
        except TimeoutError:
            return Attempt(Trouble.TIMEOUT, f"no answer within {self._timeout_s:g} s")
        except PrivateAddressError as error:
            return Attempt(Trouble.CONNECTION, str(error))
        except (aiohttp.ClientError, OSError) as error:
            return Attempt(Trouble.CONNECTION, _reason(error))

    async def close(self) -> None:
        """Closes all connections."""
        await self._public.close()
        await self._private.close()


def _session(connections: int, timeout_s: float, *, private: bool) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=connections, socket_factory=any_socket if private else public_socket)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        auto_decompress=False,
        trust_env=False,
    )


def _reason(error: Exception) -> str:
    """Without the address of the request, which may be as good as a password."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    said = getattr(cause, "strerror", None) or ("" if isinstance(error, aiohttp.ClientResponseError) else str(cause))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
