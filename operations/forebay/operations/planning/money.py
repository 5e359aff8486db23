"""Money: what the sale and its day cost, by the catalogue's prices. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.schemas import Usage
from forebay.workers.models import Catalogue

from .expected import Expected

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Money:
    """Cost in USD; where prices change with the time of day, the highest one counts."""

    usd_a_turn: float
    """On average of all turns, those that no model answers among them."""
    sale_turns: float
    day_turns: float
    """The sale, and the calm rate in the rest of 24 hours."""
    sale_usd: float
    day_usd: float
    by_model_usd: tuple[tuple[str, float], ...]
    """Of the sale."""


def money(expected: Expected, catalogue: Catalogue) -> Money | None:
    """The cost; None where the price of a model is not known. Raises SettingsError for a model that the catalogue lacks."""
    usage = Usage(
        input_tokens=expected.input_tokens,
        output_tokens=expected.output_tokens,
        cache_read_tokens=expected.cached_tokens,
    )
    sale = expected.sale()
    turns = sale.turns()
    day = turns + expected.calm * max(0.0, _DAY_S - sale.ends_s)
    by_model = []
    for name, share in expected.models:
        usd = catalogue.find(name)[1].cost_usd(usage)
        if usd is None:
            return None
        by_model.append((name, usd * share * expected.asked * turns))
    a_turn = sum(usd for _, usd in by_model) / turns
    return Money(a_turn, turns, day, a_turn * turns, a_turn * day, tuple(by_model))


def budget_lasts_to(expected: Expected, spent: Money) -> float:
    """Peak, in turns a second, at which the day costs the budget; 0 where the calm rate alone costs more."""
    if expected.budget_usd is None:
        raise ValueError("there is no budget")
    climbs, holds = expected.climb_s, expected.hold_s
    calm = expected.calm * (_DAY_S - climbs - holds)  # each slope is half calm, half peak
    return max(0.0, (expected.budget_usd / spent.usd_a_turn - calm) / (climbs + holds)) if spent.usd_a_turn else 0.0
