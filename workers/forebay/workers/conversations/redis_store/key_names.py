"""Names of the keys of the Redis store; `store.py` says what is under them."""

from __future__ import annotations

from collections.abc import Sequence


def turn_keys(shard: int, conversation_id: str, turn_id: str, scopes: Sequence[str] = ()) -> list[bytes]:
    """The turn, its claim, the conversation, its history, the spending of the scopes."""
    turn = f"{len(conversation_id)}:{conversation_id}:{turn_id}"
    names = ("turn:" + turn, "claim:" + turn, "conversation:" + conversation_id, "history:" + conversation_id)
    return [*(tagged(shard, name) for name in names), *spending_keys(shard, scopes)]


def more_keys(shard: int, conversation_id: str, user_id: str | None = None) -> list[bytes]:
    """The conversation's turns, its participants, the user's conversations."""
    names = ("turns:" + conversation_id, "participants:" + conversation_id, f"user:{user_id or ''}")
    return [tagged(shard, name) for name in names]


def spending_keys(shard: int, scopes: Sequence[str]) -> list[bytes]:
    """What each scope has spent, as this shard counts it."""
    return [tagged(shard, f"spent:{scope}") for scope in scopes]


def tagged(shard: int, name: str) -> bytes:
    """The name with the hash tag that all keys of a shard have."""
    return f"{{forebay:{shard}}}:{name}".encode()
