"""Parameters of the console's API, in JSON or in the address."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from forebay.gateway.http.problem import Problem
from forebay.operations.dead_letters.letter import Filter, LetterId
from forebay.schemas import EVERYBODY

_MOST_IDS = 1_000


class _Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LetterParams(_Params):
    """Selects dead letters."""

    reasons: list[str] = Field(default_factory=list, max_length=50)
    conversation: str | None = Field(default=None, max_length=512)
    tenant: str | None = Field(default=None, max_length=512)
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    ids: list[str] = Field(default_factory=list, max_length=_MOST_IDS)

    def filter(self, topic: str) -> Filter:
        """The same as a filter of dead letters. Raises Problem."""
        return Filter(
            reasons=frozenset(self.reasons),
            conversation=self.conversation or None,
            tenant=self.tenant or None,
            since=self.since,
            until=self.until,
            ids=frozenset(letter_id(text, topic) for text in self.ids),
        )

    def words(self) -> str:
        """The selection in words, for the audit and the page."""
        given = {
            name: value
            for name, value in self.model_dump(mode="json", include=set(LetterParams.model_fields)).items()
            if value
        }
        if ids := given.pop("ids", None):
            given["ids"] = ids if len(ids) <= 5 else [*ids[:5], f"and {len(ids) - 5} more"]
        parts = (f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in given.items())
        return "dead letters: " + ("; ".join(parts) or "all")


class ReplayParams(LetterParams):
    """A replay of dead letters."""

    dry_run: bool
    everything: bool = Field(default=False, description="Said where nothing narrows it, so that it is no slip.")
    again: bool = False
    limit: int | None = Field(default=None, ge=1)
    rate: float | None = Field(default=None, ge=0.01, le=100_000)
    max_replays: int = Field(default=3, ge=1, le=1_000)


class PurgeParams(_Params):
    """A purge of dead letters."""

    dry_run: bool
    before: AwareDatetime | None = None
    everything: bool = False
    confirm: int | None = Field(default=None, ge=0, description="How many letters the dry run said.")

    def words(self) -> str:
        """The selection in words, for the audit and the page."""
        return f"dead letters: before {self.before.isoformat()}" if self.before is not None else "dead letters: all"


class CommandParams(_Params):
    """A command to workers."""

    command: Literal["pause", "resume", "drain"]
    worker: str = Field(default=EVERYBODY, min_length=1, max_length=256)
    partition: int | None = Field(default=None, ge=0)


def letter_id(text: str, topic: str) -> LetterId:
    """Reads an id such as ``3-1042``. Raises Problem."""
    try:
        return LetterId.parse(text, topic)
    except ValueError as error:
        raise Problem(400, str(error)) from None


def filter_of(request: web.Request, topic: str) -> Filter:
    """The filter in an address: ``?reason=&reason=&conversation=&tenant=&since=&until=``. Raises Problem."""
    query = request.query
    try:
        return Filter(
            reasons=frozenset(query.getall("reason", [])),
            conversation=query.get("conversation") or None,
            tenant=query.get("tenant") or None,
            since=_moment(query.get("since")),
            until=_moment(query.get("until")),
        )
    except ValueError as error:
        raise Problem(400, f"since and until: {error}; write 2026-11-11T00:00:00Z") from None


def count_of(request: web.Request, default: int, most: int) -> int:
    """The number in ``?limit=``. Raises Problem."""
    written = request.query.get("limit", str(default))
    if not (written.isascii() and written.isdigit() and 1 <= int(written[:9]) <= most):
        raise Problem(400, f"limit: a number from 1 to {most}")
    return int(written)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
