"""A webhook: body and signed headers of one reply, by Standard Webhooks (standardwebhooks.com). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from math import floor

import orjson
from pydantic import SecretStr
from standardwebhooks import Webhook

from forebay.schemas import Reply, encode


def body_of(reply: Reply) -> bytes:
    """The same at every attempt."""
    return orjson.dumps(
        {"type": "reply", "timestamp": reply.created_at, "data": orjson.Fragment(encode(reply))},
        option=orjson.OPT_UTC_Z,
    )


def signed_headers(webhook_id: str, body: bytes, secrets: Iterable[SecretStr], now: datetime) -> dict[str, str]:
    """Headers of one attempt, signed with every secret; ``now`` is aware of its time zone."""
    now, text = now.astimezone(UTC), body.decode()
    signatures = [Webhook(secret.get_secret_value()).sign(webhook_id, now, text) for secret in secrets]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(floor(now.timestamp())),
        "webhook-signature": " ".join(signatures),
        "content-type": "application/json",
    }
