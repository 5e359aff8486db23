"""Quantities as people write them: ``90s``, ``5m``, ``1h30m``, ``200/s``, ``12000/m``. Pure."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = r"\d+(?:\.\d+)?"
_PART = re.compile(rf"({_NUMBER})(ms|[smhd])")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_RATE = re.compile(rf"({_NUMBER})/(s|m|h|d)")


def seconds(said: object) -> float:
    """A duration in seconds: a number of them, or such as ``90s`` or ``1h30m``. Raises ValueError."""
    text = str(said).strip().replace(" ", "")
    if _DURATION.fullmatch(text):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return _number(text, "a duration such as 90s, 5m or 1h30m")


def rate(said: object) -> float:
    """How many a second: a number of them, or such as ``200/s`` or ``12000/m``. Raises ValueError."""
    text = str(said).strip().replace(" ", "").replace(",", "")
    if found := _RATE.fullmatch(text):
        return float(found[1]) / _SECONDS[found[2]]
    return _number(text, "a rate such as 200/s or 12000/m")


def _number(text: str, wanted: str) -> float:
    if not re.fullmatch(_NUMBER, text):
        raise ValueError(f"{text!r} is no {wanted.removeprefix('a ')}: write {wanted}")
    return float(text)
