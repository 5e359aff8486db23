"""An MCP server as a source of tools: what a user writes into ``Assistant(tools=...)``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from forebay.schemas import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """An MCP server whose tools a model may ask for. Raises SettingsError for what does not go together."""

    command: tuple[str, ...] = ()
    """The server as a child process of each worker, spoken to over its stdin and stdout."""
    env: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    """The child's variables, besides HOME, LOGNAME, PATH, SHELL, TERM and USER; it sees none else of the worker's."""
    url: str = ""
    """The server's address, spoken to by streamable HTTP."""
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    """Sent with each request to ``url``."""
    only: tuple[str, ...] = ()
    """The tools to take, by the server's names; empty takes all."""
    confirm: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict, hash=False)
    """Tools that wait for the customer's word, and what they agree to: ``{"cancel": "Cancel order {order_id}"}``, or one text
    for each language, ``{"cancel": {"zh": ..., "en": ...}}``.
    """
    customer_argument: str | None = None
    """The argument that is given the customer's ``user_id``, in every tool that has it. No model sees or fills it."""
    prefix: str = ""
    """Before the tools' names, where another source has the same ones."""

    def __post_init__(self) -> None:
        for name in ("env", "headers", "confirm"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        for name in ("command", "only"):
            value = getattr(self, name)
            if isinstance(value, str):
                words = ", ".join(f'"{word}"' for word in shlex.split(value))
                raise SettingsError(f"McpServer({name}={value!r}): is one text; write {name}=({words},)")
            object.__setattr__(self, name, tuple(value))
        if wrong := self._wrong():
            raise SettingsError(f"McpServer({self.label}): {wrong}")

    @property
    def label(self) -> str:
        """The server as logs and errors name it: its command, or its address without what may be secret in it."""
        if self.command:
            return shlex.join(self.command)
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if self.url else ""

    def _wrong(self) -> str | None:
        """What does not go together, and the fix."""
        if bool(self.command) == bool(self.url):
            return 'give it one of command=("program", ...) and url="https://..."'
        if self.url and not self.url.startswith(("http://", "https://")):
            return f"url={self.url!r} is no address; begin it with https:// or http://"
        if self.env and self.url:
            return "env= is for a command; leave it out, or send headers="
        if self.headers and self.command:
            return "headers= are for a url; leave them out, or set env="
        if self.only and (left_out := set(self.confirm) - set(self.only)):
            return f"confirm= names {min(left_out)!r}, which only= leaves out; add it to only="
        if not re.fullmatch(r"[A-Za-z0-9_-]*", self.prefix):
            return f"prefix={self.prefix!r}: a tool's name has letters, digits, _ and - only; correct it"
        return None
