"""What the scripts of the Redis store answer, as the worker knows it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

import orjson

from forebay.schemas import Outcome
from forebay.workers.conversations.exchange import Exchange, decode_steps, encode_steps
from forebay.workers.conversations.hot_histories import HeldHistory
from forebay.workers.conversations.state import Conversation, State
from forebay.workers.conversations.store import Erased, HistoryPage, Participant, Remembered, StoredReply
from forebay.workers.spent import Spent

_OUTCOMES = {name.encode(): cast(Outcome, name) for name in get_args(Outcome)}


def parts(answer: bytes) -> list[bytes | None]:
    """What `load.lua` put together."""
    begin = answer.index(b"\n")
    lengths, found = answer[:begin].split(), list[bytes | None]()
    begin += 1
    for length in map(int, lengths):
        found.append(None if length < 0 else answer[begin : begin + length])
        begin += max(0, length)
    return found


def reply(turn: bytes) -> StoredReply:
    """Reads a stored reply: its owner, a blank, the outcome, a line feed, the reply."""
    head, _, value = turn.partition(b"\n")
    return StoredReply(_OUTCOMES[head.split(b" ")[1]], value)


def conversation(fields: Sequence[bytes | None]) -> Conversation:
    """Reads a conversation: number of exchanges, state, summary, exchanges summarised, hand-off, USD of the summaries."""
    exchanges, state, summary, summarised, handed_off, summary_usd = fields
    return Conversation(
        int(exchanges or 0),
        State.decode(state),
        (summary or b"").decode(),
        int(summarised or 0),
        None if handed_off is None else handed_off.decode(),
        float(summary_usd or 0),
    )


def spent(scopes: Sequence[str], shards: Sequence[bytes]) -> dict[str, Spent]:
    """What `spent.lua` says of each shard, together. Where the hour changes between two, the later one counts."""
    rows = [(int(row[0]), [float(usd) for usd in row[1:]]) for row in (shard.split() for shard in shards)]
    hour = max(row_hour for row_hour, _ in rows)
    of_hour = [usd for row_hour, usd in rows if row_hour == hour]
    of_day = [usd for row_hour, usd in rows if row_hour // 24 == hour // 24]
    return {
        scope: Spent(hour, sum(usd[2 * at] for usd in of_hour), sum(usd[2 * at + 1] for usd in of_day))
        for at, scope in enumerate(scopes)
    }


def encode(exchange: Exchange, turn_id: str, at: float) -> bytes:
    """An exchange as JSON, for the list of its conversation."""
    said, answer, steps, person = exchange
    return orjson.dumps([said, answer, encode_steps(steps), person, turn_id, at])


def held(version: bytes, depth: int, history: bytes) -> HeldHistory:
    """``history`` is the JSON array of what `encode` wrote."""
    rows: list[Any] = orjson.loads(history)
    exchanges = tuple(map(_exchange, rows))
    # Characters: near enough to bytes, without encoding them again.
    sizes = tuple(len(said) + len(answer) + len(steps or "") for said, answer, steps, *_ in rows)
    return HeldHistory(version, depth, exchanges, sizes)


def page(answer: bytes) -> HistoryPage:
    """What `history.lua` says."""
    history, first, older, participants, *fields = parts(answer)
    exchanges = tuple(_remembered(row) for row in orjson.loads(history or b"[]"))
    people = tuple(_participant(who or b"") for who in parts(participants or b"\n"))
    return HistoryPage(exchanges, int(first or 0) if older else None, conversation(fields), people)


def participant(who: Participant) -> bytes:
    """As the list of a conversation has them, ``LENGTH:USER:TENANT``; empty for nobody."""
    if not (who.user_id or who.tenant):
        return b""
    user, tenant = (who.user_id or "").encode(), (who.tenant or "").encode()
    return b"%d:%b:%b" % (len(user), user, tenant)


def _participant(member: bytes) -> Participant:
    length, _, rest = member.partition(b":")
    user, tenant = rest[: int(length)], rest[int(length) + 1 :]
    return Participant(user.decode() or None, tenant.decode() or None)


def listed(conversation_id: str, tenant: str | None) -> bytes:
    """As the list of a user has their conversations: ``LENGTH:TENANT:CONVERSATION``."""
    of_tenant = (tenant or "").encode()
    return b"%d:%b:%b" % (len(of_tenant), of_tenant, conversation_id.encode())


def conversations_of(members: Sequence[bytes], tenant: str | None) -> set[str]:
    """The ids in what `listed` wrote, of one tenant; None is any."""
    found = map(_participant, members)  # of the same form
    return {conversation or "" for of_tenant, conversation in found if tenant is None or of_tenant == tenant}


def erased(answer: bytes) -> tuple[Erased, bool]:
    """What `erase.lua` says, and whether there may be turns that it did not know of."""
    numbers, state, erased_at, unlisted = parts(answer)
    replies, exchanges, messages, summaries, claims, participants = map(int, (numbers or b"").split())
    removed = Erased.of(
        State.decode(state),
        float(erased_at) if erased_at else None,
        replies=replies,
        exchanges=exchanges,
        messages=messages,
        summaries=summaries,
        claims=claims,
        participants=participants,
    )
    return removed, bool(unlisted)


def _exchange(row: list[Any]) -> Exchange:
    """The first version wrote the first three values only."""
    said, answer, steps, *more = row
    return Exchange(said, answer, decode_steps(steps), more[0] if more else None)


def _remembered(row: list[Any]) -> Remembered:
    turn_id, at = row[4:6] if len(row) > 4 else (None, None)
    return Remembered(turn_id, at, _exchange(row))
