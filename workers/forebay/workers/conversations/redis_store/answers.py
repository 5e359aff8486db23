"""What the scripts of the Redis store answer, as the worker knows it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.workers.conversations.store import Participant
from forebay.workers.spent import Spent


def parts(answer: bytes) -> list[bytes | None]:
    """What `load.lua` put together."""
    begin = answer.index(b"\n")
    lengths, found = answer[:begin].split(), list[bytes | None]()
    begin += 1
    for length in map(int, lengths):
        found.append(None if length < 0 else answer[begin : begin + length])
        begin += max(0, length)
    return found


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


def participant(who: Participant) -> bytes:
    """As the list of a conversation has them, ``LENGTH:USER:TENANT``; empty for nobody."""
    if not (who.user_id or who.tenant):
        return b""
    user, tenant = (who.user_id or "").encode(), (who.tenant or "").encode()
    return b"%d:%b:%b" % (len(user), user, tenant)


def participants(listed: bytes) -> tuple[Participant, ...]:
    """What `history.lua` says of them."""
    return tuple([_participant(member or b"") for member in parts(listed)])


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


def counted(numbers: bytes) -> dict[str, int]:
    """How many of what `erase.lua` removed."""
    names = ("replies", "exchanges", "messages", "summaries", "claims", "participants")
    return dict(zip(names, map(int, numbers.split()), strict=True))


def run_id(info: bytes) -> bytes:
    """Which Redis it is that gave this ``INFO``."""
    return next((line for line in info.split(b"\r\n") if line.startswith(b"run_id:")), b"")
