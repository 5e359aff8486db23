"""The catalogue of models: provider, context window and prices of each."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from forebay.schemas import SettingsError, Usage

Provider = Literal["anthropic", "openai"]

_SHIPPED = Path(__file__).with_name("catalogue.toml")


class Price(BaseModel):
    """USD per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float = Field(ge=0)


class Tier(Price):
    """The price of a call whose whole prompt has more than `above` tokens."""

    above: int = Field(gt=0)


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Peak(Price):
    """The price at some hours of some days, in UTC; at other times it is the model's `price`."""

    days: tuple[Day, ...] = _DAYS
    hours: tuple[tuple[int, int], ...] = Field(min_length=1)
    """From the full hour until before the other, such as ``[[1, 4], [6, 10]]``."""

    @field_validator("hours")
    @classmethod
    def _within_a_day(cls, hours: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if not all(0 <= begin < end <= 24 for begin, end in hours):
            raise ValueError("hours are [from, until] with 0 <= from < until <= 24; write two for a span over midnight")
        return hours

    def covers(self, at: float) -> bool:
        """Whether a moment, in seconds since the epoch, is one of its hours."""
        moment = datetime.fromtimestamp(at, UTC)
        return _DAYS[moment.weekday()] in self.days and any(begin <= moment.hour < end for begin, end in self.hours)


class CatalogueModel(BaseModel):
    """One model's provider, limits and prices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Provider
    context: int = Field(default=128_000, gt=0)
    """Context window in tokens."""
    sampling: bool = True
    """Whether it takes a temperature and the like."""
    price: Price | None = None
    """None when it is not known; ``cost_usd`` in replies is then null."""
    tier: Tier | None = None
    peak: Peak | None = None

    def price_of(self, usage: Usage, at: float | None = None) -> Price | None:
        """The price of a call at a moment in seconds since the epoch; without one the dearest of the day."""
        if self.tier is not None and usage.input_tokens + usage.cache_read_tokens > self.tier.above:
            return self.tier
        return self.peak if self.peak is not None and (at is None or self.peak.covers(at)) else self.price

    def cost_usd(self, usage: Usage, at: float | None = None) -> float | None:
        """What a call costs, in USD to a millionth of a cent; None when the price is not known. ``at``: see `price_of`."""
        price = self.price_of(usage, at)
        if self.price is None or price is None:
            return None
        tokens = (
            usage.input_tokens * price.input
            + usage.output_tokens * price.output
            + usage.cache_read_tokens * price.cache_read
        )
        return round(tokens / 1e6, 8)


class Catalogue(BaseModel):
    """Models by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Mapping[str, CatalogueModel]

    @classmethod
    def load(cls, override: Path | None = None) -> Catalogue:
        """The shipped catalogue with the user's file on top. Raises SettingsError."""
        models = dict(_read(_SHIPPED).models)
        if override is not None:
            models |= _read(override).models
        return cls(models=models)

    def find(self, name: str) -> tuple[str, CatalogueModel]:
        """Returns (the name that the provider uses, the catalogue's entry).

        ``provider:name`` takes any model of that provider's API, ``managed:name`` one of Anthropic's behind Claude Managed
        Agents; that prefix stays in the name. Raises SettingsError for an unknown name.
        """
        if name in self.models:
            return name, self.models[name]
        provider, colon, bare = name.partition(":")
        if provider == "managed" and bare:
            known = self.models.get(bare)
            return name, known if known and known.provider == "anthropic" else CatalogueModel(provider="anthropic")
        if colon and bare and provider in ("anthropic", "openai"):
            known = self.models.get(bare)
            return bare, known if known and known.provider == provider else CatalogueModel(provider=provider)
        near = get_close_matches(name, self.models, n=3, cutoff=0.4) or sorted(self.models)
        raise SettingsError(
            f"model {name!r} (of the assistant, FOREBAY_MODEL or FOREBAY_FALLBACKS) is not in the catalogue. "
            f"Near: {', '.join(near)}. "
            f"For a model it does not list write openai:{name} or anthropic:{name}, whichever API serves it"
        )


def _read(file: Path) -> Catalogue:
    try:
        return Catalogue.model_validate(tomllib.loads(file.read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"FOREBAY_CATALOGUE={str(file)!r}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(
            f"FOREBAY_CATALOGUE={str(file)!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None
