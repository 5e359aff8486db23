"""Conversations in Redis (6.2 or later): shared by the workers of many machines.

A turn takes one round trip to begin and one to end. What has to happen together does so in one Lua script, which Redis
runs and logs whole or not at all. Claims end and hours of spending begin by the clock of Redis; the workers' do not matter.

Keys, all of them with a time to live; ``{forebay:0}`` is the shard, one hash tag for every key that a script touches:

    {forebay:0}:turn:LENGTH:CONVERSATION:TURN    who stored it, outcome, reply (LENGTH: characters of the conversation id)
    {forebay:0}:claim:LENGTH:CONVERSATION:TURN   the owner
    {forebay:0}:conversation:CONVERSATION        hash: version, exchanges, state, summary, summarised, handed_off,
                                                 summary_usd, erased_at; indexed: all turns are in `turns`
    {forebay:0}:history:CONVERSATION             list of the latest exchanges, JSON
    {forebay:0}:turns:CONVERSATION               sorted by time: t and the ids of its turns, m and those of persons' messages
    {forebay:0}:message:LENGTH:CONVERSATION:ID   a person's message that is in the history
    {forebay:0}:participants:CONVERSATION        sorted by time: LENGTH:USER:TENANT, LENGTH of the user
    {forebay:0}:user:USER                        sorted by time: LENGTH:TENANT:CONVERSATION
    {forebay:0}:spent:SCOPE                      hash: USD of hours (h495000) and days (d20625), counted from the epoch
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
import zlib
from collections.abc import Sequence
from typing import Any

from forebay.workers.conversations.exchange import Exchange
from forebay.workers.conversations.hot_histories import HotConversations
from forebay.workers.conversations.state import CLAIM_S, Claim, State
from forebay.workers.conversations.store import (
    ConversationErased,
    Entry,
    Erased,
    HistoryPage,
    Loaded,
    Participant,
    StoredReply,
    StoreError,
)
from forebay.workers.conversations.store_keys import StoreKeys

from . import answers
from .address import RedisAddress
from .key_names import more_keys, spending_keys, tagged, turn_keys
from .nodes import RedisNodes
from .pipe import Script
from .redis_words import RedisWords

KEEP_S = 30 * 86_400
"""Turns older than this are forgotten, and conversations in which nothing happened for so long, in seconds."""
ERASED_S = KEEP_S + 7 * 86_400
"""For how long an erasure is remembered, in seconds: Kafka keeps some dead letters longer than it has to."""
SPENDING_S = 3 * 86_400
"""How long spending is kept, in seconds."""
_REWRITE_S = 30.0
"""How long a rewriting that was begun before an erasure is waited for, in seconds."""
HISTORY = 200
"""The latest exchanges that are kept of a conversation."""

_LOAD, _RECORD, _SPENT, _CLAIMS, _STATE, _SUMMARY, _REMEMBER, _HISTORY, _ERASE = (
    Script(f"{name}.lua")
    for name in ("load", "record", "spent", "claims", "state", "summary", "remember", "history", "erase")
)
_CLAIM_MS, _KEEP_TEXT = b"%d" % int(CLAIM_S * 1000), b"%d" % KEEP_S
_LIMITS = (_KEEP_TEXT, b"%d" % SPENDING_S, b"%d" % HISTORY)


class RedisStore:
    """The shared store; it connects when it is first used, and again whenever it must."""

    def __init__(self, url: str, hot: HotConversations | None = None, keys: StoreKeys | None = None) -> None:
        """``hot``: what is held in memory; ``keys`` seal what is written.

        Raises SettingsError; that no Redis answers is a StoreError, later.
        """
        address = RedisAddress(url)
        self._shards = address.shards
        self._nodes = RedisNodes(address)
        self._hot = HotConversations() if hot is None else hot
        self._me = secrets.token_hex(8).encode()
        self._words = RedisWords(keys or StoreKeys(), self._me)

    async def load(
        self,
        conversation_id: str,
        turn_id: str,
        exchanges: int,
        scopes: Sequence[str] = (),
        owner: str | None = None,
    ) -> Loaded:
        """See `Store.load`. Spending counted in other shards is read in the same round trip."""
        held, shard = self._hot.find(conversation_id, exchanges), self._shard(conversation_id)
        arguments = (
            b"%d" % exchanges,
            held.version if held else b"",
            b"" if owner is None else b"=" + owner.encode(),
            _CLAIM_MS,
        )
        asked = [self._run(shard, _LOAD, turn_keys(shard, conversation_id, turn_id, scopes), arguments)]
        if scopes:
            others = (number for number in range(self._shards) if number != shard)
            asked += [self._run(other, _SPENT, spending_keys(other, scopes), ()) for other in others]
        answer, *elsewhere = await asyncio.gather(*asked) if len(asked) > 1 else (await asked[0],)
        turn, others_ms, version, history, *fields, erased_at, spent = answers.parts(answer)
        if history or held is None:
            held = self._words.held(conversation_id, version or b"", exchanges, history or b"[]")
            if exchanges:
                self._hot.put(conversation_id, held)
        return Loaded(
            self._words.reply(conversation_id, turn_id, turn) if turn else None,
            held.exchanges[-exchanges:] if exchanges else (),
            answers.spent(scopes, [spent, *elsewhere]) if spent else {},
            self._words.conversation(conversation_id, fields),
            int(others_ms or 0) / 1000,
            None if erased_at is None else float(erased_at),
        )

    async def record(self, entry: Entry, *, replace: bool = False) -> tuple[StoredReply, ...]:
        """See `Store.record`. Said again after a StoreError, the same entry is paid for once."""
        conversation_id, words = entry.conversation_id, self._words
        shard, ended = self._shard(conversation_id), ((entry.turn_id, entry.reply), *entry.others)
        exchange, state, hand_off = b"", b"", b""
        if entry.exchange:
            exchange = words.exchange(conversation_id, entry.turn_id, time.time(), entry.exchange)
        if entry.state is not None:
            state = b"=" + words.state(conversation_id, entry.state)
        if entry.hand_off is not None:
            hand_off = b"=" + words.text(conversation_id, "handed_off", entry.hand_off)
        arguments = [
            b"1" if replace else b"0",
            exchange,
            state,
            hand_off,
            _usd(entry.cost_usd),
            *_LIMITS,
            answers.participant(Participant(entry.user_id, entry.tenant)),
            answers.listed(entry.conversation_id, entry.tenant) if entry.user_id else b"",
            _moment(entry.erased_at),
        ]
        for turn_id, reply in ended:
            arguments += turn_id.encode(), words.turn(conversation_id, turn_id, reply)
        keys = turn_keys(shard, conversation_id, entry.turn_id) + more_keys(shard, conversation_id, entry.user_id)
        for turn_id, _ in entry.others:
            keys += turn_keys(shard, conversation_id, turn_id)[:2]
        keys += spending_keys(shard, entry.scopes)
        answer = await self._run(shard, _RECORD, keys, arguments)
        if answer.startswith(b"!"):
            raise ConversationErased(float(answer[1:]))
        versions, *firsts = answers.parts(answer)
        if versions and entry.exchange:
            before, after = versions.split(b" ")
            self._hot.append(conversation_id, before, after, entry.exchange, len(exchange))
        return tuple(
            [
                reply if first is None else words.reply(conversation_id, turn_id, first)
                for (turn_id, reply), first in zip(ended, firsts, strict=True)
            ]
        )

    async def renew(self, claims: Sequence[Claim]) -> None:
        """See `Store.renew`. One round trip, one script for each shard."""
        await self._claims(claims, _CLAIM_MS)

    async def release(self, claim: Claim) -> None:
        """See `Store.release`."""
        await self._claims([claim], b"0")

    async def save_state(self, claim: Claim, state: State, erased_at: float | None = None) -> bool:
        """See `Store.save_state`."""
        shard = self._shard(claim.conversation_id)
        keys = turn_keys(shard, claim.conversation_id, claim.turn_id)[1:]
        value = self._words.state(claim.conversation_id, state)
        arguments = (claim.owner.encode(), _KEEP_TEXT, value, _moment(erased_at))
        return bool(await self._run(shard, _STATE, keys, arguments))

    async def save_summary(
        self,
        conversation_id: str,
        summary: str,
        summarised: int,
        cost_usd: float = 0.0,
        erased_at: float | None = None,
    ) -> None:
        """See `Store.save_summary`. Said again after a StoreError, its cost is counted once."""
        shard = self._shard(conversation_id)
        key = turn_keys(shard, conversation_id, "")[2]
        value = self._words.text(conversation_id, "summary", summary)
        mark = b"%b.%x" % (self._me, hash((summary, summarised)) & 0xFFFF_FFFF_FFFF_FFFF)
        arguments = (value, b"%d" % summarised, _usd(cost_usd), _moment(erased_at), mark)
        await self._run(shard, _SUMMARY, (key,), arguments)

    async def remember_message(self, conversation_id: str, message_id: str, name: str, text: str, at: float) -> bool:
        """See `Store.remember_message`."""
        shard = self._shard(conversation_id)
        _, _, conversation, history = turn_keys(shard, conversation_id, "")
        message = tagged(shard, f"message:{len(conversation_id)}:{conversation_id}:{message_id}")
        keys = (message, conversation, history, more_keys(shard, conversation_id)[0])
        exchange = self._words.exchange(conversation_id, message_id, at, Exchange("", text, (), name), "message")
        arguments = (message_id.encode(), exchange, _KEEP_TEXT, b"%d" % HISTORY, _moment(at))
        return bool(await self._run(shard, _REMEMBER, keys, arguments))

    async def history(self, conversation_id: str, before: int | None = None, limit: int = 50) -> HistoryPage:
        """See `Store.history`. The latest `HISTORY` exchanges are there."""
        shard = self._shard(conversation_id)
        keys = *turn_keys(shard, conversation_id, "")[2:], more_keys(shard, conversation_id)[1]
        arguments = b"" if before is None else b"%d" % before, b"%d" % limit
        history, first, older, people, *fields = answers.parts(await self._run(shard, _HISTORY, keys, arguments))
        return HistoryPage(
            self._words.page(conversation_id, history or b"[]"),
            int(first or 0) if older else None,
            self._words.conversation(conversation_id, fields),
            answers.participants(people or b"\n"),
        )

    async def give_back(self, conversation_id: str) -> bool:
        """See `Store.give_back`."""
        shard = self._shard(conversation_id)
        key = turn_keys(shard, conversation_id, "")[2]
        return bool(await self._ask(shard, b"HDEL", key, b"handed_off"))

    async def erase(self, conversation_id: str, *, dry_run: bool = False) -> Erased:
        """See `Store.erase`."""
        shard = self._shard(conversation_id)
        turn = f"{len(conversation_id)}:{conversation_id}:"
        beginnings = [tagged(shard, name) for name in ("turn:" + turn, "claim:" + turn, "message:" + turn, "user:")]
        arguments = (b"1" if dry_run else b"0", b"%d" % ERASED_S, *beginnings, conversation_id.encode())
        keys = *turn_keys(shard, conversation_id, "")[2:], *more_keys(shard, conversation_id)[:2]
        numbers, state, erased_at, unlisted = answers.parts(await self._run(shard, _ERASE, keys, arguments))
        self.drop(conversation_id)
        counted = answers.counted(numbers or b"")
        if unlisted:  # the first version kept no list of its turns
            more = await self._remove_unlisted(shard, beginnings[0], dry_run=dry_run)
            # Counted only, those that are listed are found again.
            counted["replies"] = more if dry_run else more + counted["replies"]
        at = float(erased_at) if erased_at else None
        return Erased.of(lambda: self._words.state_of(conversation_id, state), at, **counted)

    async def conversations_of(self, user_id: str, tenant: str | None = None) -> tuple[str, ...]:
        """See `Store.conversations_of`."""
        asked = (
            self._ask(shard, b"ZRANGE", tagged(shard, f"user:{user_id}"), b"0", b"-1") for shard in range(self._shards)
        )
        members = [member for found in await asyncio.gather(*asked) for member in found] if user_id else []
        return tuple(sorted(answers.conversations_of(members, tenant)))

    async def scrub(self) -> str | None:
        """See `Store.scrub`. Redis rewrites its append-only file, if it has one, in the background."""
        try:
            told = await asyncio.gather(*(self._ask(shard, b"INFO") for shard in range(self._shards)))
            nodes = {answers.run_id(info): shard for shard, info in enumerate(told) if b"aof_enabled:1" in info}
            await asyncio.gather(*map(self._rewrite, nodes.values()))
        except StoreError as error:
            return f"its append-only file may hold the words until it is rewritten: run BGREWRITEAOF ({error})"
        return None

    def drop(self, conversation_id: str) -> None:
        """See `Store.drop`."""
        self._hot.forget(conversation_id)

    async def close(self) -> None:
        """Waits for what was asked, then closes the connections."""
        await self._nodes.close()

    async def _claims(self, claims: Sequence[Claim], milliseconds: bytes) -> None:
        shards: dict[int, list[tuple[bytes, bytes]]] = {}
        for conversation_id, turn_id, owner in claims:
            shard = self._shard(conversation_id)
            shards.setdefault(shard, []).append((turn_keys(shard, conversation_id, turn_id)[1], owner.encode()))
        asked = []
        for shard, held in shards.items():
            keys, owners = zip(*held, strict=True)
            asked.append(self._run(shard, _CLAIMS, keys, (milliseconds, *owners)))
        await asyncio.gather(*asked)

    async def _remove_unlisted(self, shard: int, beginning: bytes, *, dry_run: bool) -> int:
        """Removes the turns whose keys begin so, by looking through all keys; returns how many there were."""
        pattern = re.sub(rb"[*?[\]\\^-]", rb"\\\g<0>", beginning) + b"*"
        cursor, removed = b"0", 0
        while True:
            cursor, found = await self._ask(shard, b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"1000")
            if found:
                removed += await self._ask(shard, b"EXISTS" if dry_run else b"DEL", *found)
            if cursor == b"0":
                return removed

    async def _rewrite(self, shard: int) -> None:
        """Begins to write the append-only file anew; one that was begun before may still take up what was erased since."""
        until = time.monotonic() + _REWRITE_S
        while True:
            try:
                await self._ask(shard, b"BGREWRITEAOF")
            except StoreError as error:
                if "in progress" not in str(error) or time.monotonic() > until:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def _ask(self, shard: int, *words: bytes) -> Any:
        return await self._nodes.ask(shard, lambda pipe: pipe.ask(*words))

    async def _run(self, shard: int, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> bytes:
        answer: bytes = await self._nodes.ask(shard, lambda pipe: pipe.run(script, keys, arguments))
        return answer

    def _shard(self, conversation_id: str) -> int:
        return zlib.crc32(conversation_id.encode()) % self._shards


def _moment(at: float | None) -> bytes:
    return repr(float(at or 0)).encode()


def _usd(amount: float) -> bytes:
    return repr(float(amount)).encode()
