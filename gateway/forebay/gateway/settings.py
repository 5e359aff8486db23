"""The gateway's settings: read once at the start, frozen, each with its unit and default."""

from __future__ import annotations

import ipaddress
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from forebay.schemas import FleetSettings
from forebay.workers.store_settings import StoreSettings

OnDisconnect = Literal["continue", "cancel"]
"""What a client that leaves before it has its reply does with its turn."""


class GatewaySettings(FleetSettings, StoreSettings):
    """Settings of one gateway; ``gateway_port`` is ``FOREBAY_GATEWAY_PORT``, and so on."""

    gateway_host: str = "127.0.0.1"
    """Address to listen on."""
    gateway_port: int = Field(default=8080, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one and logs it."""
    gateway_open: bool = False
    """Ask for no token or key. On loopback only."""
    gateway_open_user: str | None = None
    """User id of an open gateway's callers that do not send one."""
    gateway_keys: Path | None = None
    """File with the JSON Web Key Set that tokens are checked with; read again when it changes."""
    gateway_api_keys: SecretStr = SecretStr("")
    """``name=key,...`` of servers: they may open every conversation."""
    gateway_admin_keys: SecretStr = SecretStr("")
    """``name=key,...`` of operators: the console too."""
    gateway_cors: str = ""
    """Origins whose pages may call the gateway and embed the chat page, comma-separated, such as ``https://shop.example``."""
    gateway_turns_a_second: float = Field(default=500.0, gt=0)
    """Turns accepted by this gateway a second."""
    gateway_tenant_turns_a_second: float = Field(default=250.0, gt=0)
    """Turns accepted of one tenant a second."""
    gateway_user_turns_a_second: float = Field(default=1.0, gt=0)
    """Turns accepted of one user a second, beyond ``gateway_user_burst`` at once."""
    gateway_user_burst: int = Field(default=10, ge=1)
    """Turns that one user may send at once."""
    gateway_user_connections: int = Field(default=20, ge=1)
    """Events and WebSockets that one user may have open."""
    gateway_connections: int = Field(default=20_000, ge=1)
    """Events and WebSockets that all users together may have open."""
    gateway_body_kib: int = Field(default=256, ge=1, le=16_384)
    """Largest body and WebSocket message: the longest text, escaped, fits in 192 KiB."""
    gateway_body_s: float = Field(default=10.0, gt=0)
    """How long a request may take to come in, in seconds."""
    gateway_accept_s: float = Field(default=5.0, gt=0)
    """How long Kafka may take to acknowledge a turn, in seconds; then the answer is 503."""
    gateway_unacknowledged: int = Field(default=2_000, ge=1)
    """Turns that wait for Kafka's acknowledgement at once; more are refused with 503."""
    gateway_whole_above_s: float = Field(default=10.0, gt=0)
    """Estimated waiting, in seconds, above which turns are answered whole; streamed again below half of it."""
    gateway_whole_above_deltas: float = Field(default=5_000.0, gt=0)
    """Deltas read by this gateway a second above which turns are answered whole."""
    gateway_when_late: Literal["refuse", "faq"] = "refuse"
    """What becomes of a turn that would wait beyond its deadline: 503, or only the FAQ answers it."""
    gateway_on_disconnect: OnDisconnect = "continue"
    """Whether a client that leaves while it waits for its reply takes its turn back; requests may say otherwise."""
    gateway_model: str = Field(default="forebay", min_length=1)
    """Name of the assistant in the OpenAI-compatible API."""
    health_port: int = Field(default=9465, ge=0, le=65_535)
    """Port of /livez, /readyz and /metrics on all interfaces; 0 takes a free one."""

    @field_validator("gateway_keys")
    @classmethod
    def _exists(cls, file: Path | None) -> Path | None:
        if file is not None and not file.is_file():
            raise ValueError("no such file: `forebay token new-key` writes one")
        return file

    @field_validator("gateway_cors")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in value.split(","):
            if (origin := origin.strip()) and not origin.startswith(("http://", "https://")):
                raise ValueError(f"{origin!r}: write origins such as https://shop.example")
            if origin.count("/") > 2:
                raise ValueError(f"{origin!r}: an origin has no path, not even a slash at its end")
        return value

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        secrets = (self.gateway_api_keys, self.gateway_admin_keys)
        for name, secret in zip(("API", "ADMIN"), secrets, strict=True):
            for pair in secret.get_secret_value().split(","):
                if pair.strip() and not all(pair.partition("=")[::2]):
                    raise ValueError(f"FOREBAY_GATEWAY_{name}_KEYS: write name=key,name=key")
        keyed = self.gateway_keys is not None or any(secret.get_secret_value() for secret in secrets)
        if not keyed and not self.gateway_open:
            raise ValueError(
                "the gateway has no keys: set FOREBAY_GATEWAY_KEYS, FOREBAY_GATEWAY_API_KEYS or "
                "FOREBAY_GATEWAY_ADMIN_KEYS, or try it on this machine with --open"
            )
        if keyed and self.gateway_open:
            raise ValueError("--open (FOREBAY_GATEWAY_OPEN) asks for no keys, but keys are set: leave out one of them")
        if self.gateway_open and not _is_loopback(self.gateway_host):
            raise ValueError(
                f"--open (FOREBAY_GATEWAY_OPEN) is for loopback only, not for {self.gateway_host}: anybody could read "
                "every conversation"
            )
        return self

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """The origins of ``gateway_cors``."""
        return tuple(origin.strip() for origin in self.gateway_cors.split(",") if origin.strip())


def named_keys(secret: SecretStr) -> list[tuple[str, str]]:
    """(name, key) pairs of ``name=key,...``; a name may appear twice, so that keys can be changed without an interruption."""
    pairs = (pair.strip().partition("=") for pair in secret.get_secret_value().split(",") if pair.strip())
    return [(name, key) for name, _, key in pairs]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
