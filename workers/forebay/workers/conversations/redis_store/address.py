"""Where a Redis is, checked before it is used; the package `redis` is imported here, when an address first needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from forebay.schemas import SettingsError
from forebay.schemas.extras import needs

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

CONNECT_S = 2.0
"""How long a connection may take, in seconds."""
MOST_SHARDS = 1024

_WRITE = "write redis://host:port/0, rediss://host:port/0 or unix:///path/to/redis.sock"


class Node(NamedTuple):
    """One server of a cluster."""

    host: str
    port: int


class RedisAddress:
    """``redis://``, ``rediss://`` or ``unix://``, with what the package `redis` knows after the question mark, and

    ``shards``: in how many parts, each under a hash tag of its own, the conversations are kept (1). Workers of one group
    must have the same number, and it is chosen once: conversations do not move.
    """

    def __init__(self, url: str) -> None:
        """Raises SettingsError when the address cannot be used, or the package `redis` is not installed."""
        self.shown = _shown(url)
        """Without its credentials."""
        self.shards, plain = self._split(url)
        try:
            from redis.asyncio import ConnectionPool
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            raise SettingsError(needs("FOREBAY_STORE", "redis")) from None
        try:
            self._pool = ConnectionPool.from_url(
                plain,
                protocol=2,
                retry=Retry(NoBackoff(), 0),  # the caller knows how long it may wait
                socket_timeout=CONNECT_S,
                socket_connect_timeout=CONNECT_S,
            )
            self.connection()
        except (TypeError, ValueError) as error:
            raise SettingsError(_rule(self.shown, " ".join(str(error).split()))) from None

    def connection(self, node: Node | None = None) -> AbstractConnection:
        """A new connection, not opened yet; ``node`` is another node of the cluster, with the same credentials."""
        moved = {} if node is None else {"host": node.host, "port": node.port}
        connection: AbstractConnection = self._pool.connection_class(**self._pool.connection_kwargs | moved)
        return connection

    def node(self, node: Node) -> Node:
        """The node's host and port. A node that does not know its own host has the host of this address."""
        return node if node.host else Node(str(self._pool.connection_kwargs.get("host", "localhost")), node.port)

    def _split(self, url: str) -> tuple[int, str]:
        """The shards, and the address without them."""
        parts = urlsplit(url)
        options = parse_qsl(parts.query, keep_blank_values=True)
        wanted = [value for name, value in options if name == "shards"] or ["1"]
        if len(wanted) > 1 or not wanted[0].isdecimal() or not 1 <= int(wanted[0]) <= MOST_SHARDS:
            rule = f"shards is a number from 1 to {MOST_SHARDS}"
            raise SettingsError(f"FOREBAY_STORE={self.shown}?shards={wanted[-1]}: {rule}")
        query = urlencode([(name, value) for name, value in options if name != "shards"])
        return int(wanted[0]), parts._replace(query=query).geturl()


def _shown(url: str) -> str:
    """The address as it may be shown. Raises SettingsError."""
    try:
        parts = urlsplit(url)
        where = f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else ""
    except ValueError:  # a port that is no number; what else is in the address may be secret
        raise SettingsError(_rule("redis://...", "its port is no number from 1 to 65535")) from None
    database = parts.path.strip("/")
    if parts.scheme == "unix":
        right, shown = bool(database), f"unix://{parts.path}"
    else:
        right = parts.scheme in ("redis", "rediss") and bool(where) and (not database or database.isdecimal())
        shown = f"{parts.scheme}://{where}{parts.path}"
    if not right:
        raise SettingsError(_rule(shown, "this is no address of a Redis"))
    return shown


def _rule(shown: str, why: str) -> str:
    return f"FOREBAY_STORE={shown}: {why}; {_WRITE}"
