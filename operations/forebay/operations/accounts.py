"""Accounts: what answers have cost, as their replies say, and what was saved compared with one large model. Pure.

Money is counted in whole units of 1e-8 USD, as replies carry it: sums agree with the replies to the last digit.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from forebay.schemas import Reply, Usage
from forebay.workers.models.catalogue import Catalogue, CatalogueModel
from forebay.workers.models.prompt import BYTES_A_TOKEN

from .ratings import Rated, Ratings

UNIT = 100_000_000
"""Units in one USD."""


@dataclass(slots=True)
class Account:
    """Number, cost and tokens of a group of turns."""

    turns: int = 0
    units: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    unpriced: int = 0
    """Turns whose cost is not known."""

    @property
    def usd(self) -> float:
        """Their cost, without the turns whose cost is not known."""
        return self.units / UNIT

    def add(self, reply: Reply) -> None:
        """Counts one more reply."""
        self.turns += 1
        self.input_tokens += reply.usage.input_tokens
        self.output_tokens += reply.usage.output_tokens
        self.cache_read_tokens += reply.usage.cache_read_tokens
        if reply.cost_usd is None:
            self.unpriced += 1
        else:
            self.units += round(reply.cost_usd * UNIT)


@dataclass(slots=True)
class Savings:
    """USD that were saved, by reason."""

    routing: float = 0.0
    """Cheaper models than the one large one."""
    faq: float = 0.0
    """Turns answered without a model, at what the others would have cost with the large one."""
    caching: float = 0.0
    """Prompt tokens that providers read from their caches."""
    trimming: float = 0.0
    """What the window kept from the models, by an estimate of its tokens."""


@dataclass(slots=True)
class Accounts:
    """The accounts of all replies of a period."""

    catalogue: Catalogue
    against: str
    """Name of the large model."""
    total: Account = field(default_factory=Account)
    by_model: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    by_route: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    by_tenant: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    by_day: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    ratings: Ratings = field(default_factory=Ratings)
    first: datetime | None = None
    last: datetime | None = None
    _large_usd: float = 0.0
    _answered: int = 0
    _faq: int = 0
    _saved: Savings = field(default_factory=Savings)

    def add(self, reply: Reply, tenant: str | None, left_out_bytes: int = 0) -> None:
        """Counts one reply; ``left_out_bytes`` is what its header says that the window left out."""
        self.first = min(self.first or reply.created_at, reply.created_at)
        self.last = max(self.last or reply.created_at, reply.created_at)
        for account in (
            self.total,
            self.by_model[reply.model or "none"],
            self.by_route[reply.route or reply.outcome],
            self.by_tenant[tenant or "none"],
            self.by_day[reply.created_at.date().isoformat()],
        ):
            account.add(reply)
        if reply.route == "faq":
            self._faq += 1
        if reply.model is not None:
            self._compare(reply, left_out_bytes)

    def _compare(self, reply: Reply, left_out_bytes: int) -> None:
        large, own = self._large(), self.catalogue.models.get(reply.model or "")
        large_usd = large.cost_usd(reply.usage, reply.created_at.timestamp()) or 0.0
        self._answered += 1
        self._large_usd += large_usd
        if reply.cost_usd is not None:
            self._saved.routing += large_usd - reply.cost_usd
        price = own.price_of(reply.usage, reply.created_at.timestamp()) if own else None
        if price is None:
            return
        self._saved.caching += reply.usage.cache_read_tokens * (price.input - price.cache_read) / 1e6
        self._saved.trimming += left_out_bytes / BYTES_A_TOKEN * price.input / 1e6

    def _large(self) -> CatalogueModel:
        return self.catalogue.find(self.against)[1]

    @property
    def savings(self) -> Savings:
        """Savings, compared with the large model for every turn."""
        self._saved.faq = self._faq * self._large_usd / self._answered if self._answered else 0.0
        return self._saved

    def turns_a_day(self) -> float:
        """Turns a day at the rate of the period; a period under an hour counts as one."""
        if self.first is None or self.last is None:
            return 0.0
        return self.total.turns * 86_400 / max(3_600.0, (self.last - self.first).total_seconds())

    def forecast(self, turns_a_day: float) -> dict[str, float]:
        """USD for a day, a month of 30 days and a year of 365, if turns cost as they did."""
        a_day = self.total.usd / self.total.turns * turns_a_day if self.total.turns else 0.0
        return {"day": a_day, "month": a_day * 30, "year": a_day * 365}


def largest(catalogue: Catalogue) -> str:
    """Name of the most expensive model whose price is known."""
    return max(catalogue.models, key=lambda name: catalogue.models[name].cost_usd(_TYPICAL) or 0.0)


_TYPICAL = Usage(input_tokens=800, output_tokens=120)


def table(accounts: dict[str, Account], rated: dict[str, Rated] | None = None) -> list[dict[str, Any]]:
    """Accounts as rows for JSON, the most expensive first; with how often each was liked and disliked, where it is known."""
    return [
        {
            "name": name,
            "turns": account.turns,
            "usd": account.usd,
            "unpriced": account.unpriced,
            "input_tokens": account.input_tokens,
            "output_tokens": account.output_tokens,
            "cache_read_tokens": account.cache_read_tokens,
            **(rated.get(name, Rated())._asdict() if rated is not None else {}),
        }
        for name, account in sorted(accounts.items(), key=lambda item: (-item[1].units, item[0]))
    ]
