"""What customers of an online shop write during a sale, in Chinese and English, for rehearsals of a peak.

Each script is one customer with one concern. Its later turns lean on the earlier ones, so that a reply that has
lost the conversation is seen to be wrong.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import orjson

__all__ = ["CustomerScript", "Language", "conversation", "scripts"]

Language = Literal["zh", "en"]

_FILE = Path(__file__).with_name("shoptalk.json")
_LANGUAGES: tuple[Language, ...] = ("zh", "en")
_SALE_DAY: dict[Language, str] = {"zh": "20261111", "en": "20261127"}
_NAMES: dict[Language, tuple[str, ...]] = {
    "zh": ("李晓雯", "王子轩", "张敏", "陈嘉怡", "刘洋", "赵雨桐", "周建国", "吴思远", "林可欣", "欧阳静"),
    "en": ("Megan Foster", "Luis Ortega", "Priya Nair", "Tom Becker", "Aisha Khan", "Grace Liu", "Sean O'Neill"),
}
_CITIES: dict[Language, tuple[str, ...]] = {
    "zh": ("杭州", "成都", "武汉", "西安", "长沙", "青岛", "苏州", "哈尔滨", "昆明", "佛山"),
    "en": ("Seattle", "Denver", "Austin", "Columbus", "Tampa", "Portland", "Boston", "Tucson", "St. Louis"),
}


@dataclass(frozen=True, slots=True)
class CustomerScript:
    """What one customer writes, turn by turn, with placeholders in braces for what differs between customers."""

    language: Language
    about: str
    turns: tuple[str, ...]


@cache
def scripts() -> tuple[CustomerScript, ...]:
    """All scripts, in the order of the file."""
    entries: list[dict[str, Any]] = orjson.loads(_FILE.read_bytes())
    return tuple(CustomerScript(entry["language"], entry["about"], tuple(entry["turns"])) for entry in entries)


def conversation(rng: random.Random, length: int) -> tuple[str, ...]:
    """The ``length`` turns of one customer: scripts of one language in random order, the same one again only after all.

    Order number, name and city stay the same throughout; article number and amount stay the same within a script.
    """
    language = rng.choice(_LANGUAGES)
    customer = {
        "order": f"{_SALE_DAY[language]}-{rng.randrange(100_000, 1_000_000)}",
        "name": rng.choice(_NAMES[language]),
        "city": rng.choice(_CITIES[language]),
    }
    choices = [script for script in scripts() if script.language == language]
    turns: list[str] = []
    ahead: list[CustomerScript] = []
    while len(turns) < length:
        if not ahead:
            ahead = rng.sample(choices, len(choices))
        values = customer | _article(rng, language)
        turns.extend(turn.format_map(values) for turn in ahead.pop().turns)
    return tuple(turns[: max(length, 0)])


def _article(rng: random.Random, language: Language) -> dict[str, str]:
    """An article number and an amount paid, as shops of that language write them."""
    if language == "zh":
        return {"sku": str(rng.randrange(100_000_000, 1_000_000_000)), "amount": str(rng.randrange(129, 400, 10))}
    return {
        "sku": f"HX-{rng.randrange(10_000, 100_000)}",
        "amount": f"{rng.randrange(64, 240)}.{rng.choice((49, 90, 99))}",
    }
