"""Targets: what a rehearsal's figures must keep to. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, PlainSerializer

_SAID = re.compile(r"(<=|>=)?\s*(-?\d+(?:\.\d+)?)")


class Requirement(NamedTuple):
    """At most, or at least, so much."""

    limit: float
    at_most: bool = True

    def holds(self, value: float) -> bool:
        """Whether a figure keeps to it."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g}"


def bound(said: object) -> Requirement:
    """``5`` and ``<= 5``: at most; ``>= 0.99``: at least. Raises ValueError."""
    if isinstance(said, Requirement):
        return said
    found = _SAID.fullmatch(str(said).strip())
    if found is None:
        raise ValueError(f"{said!r} is no target: write a number that is the most allowed, or such as '>= 0.99'")
    return Requirement(float(found[2]), found[1] != ">=")


Target = Annotated[Requirement, BeforeValidator(bound), PlainSerializer(str)]

PROMISES = {name: Requirement(0) for name in ("lost", "out_of_order", "duplicates", "forgotten")}
"""Hold in every rehearsal, whatever its file says."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One target, and what was reached."""

    name: str
    bound: Requirement
    value: float | None
    """None when this rehearsal had nothing to measure it by, which misses the target."""
    variant: str = ""
    """Of which sale, where two are compared."""

    @property
    def met(self) -> bool:
        """Whether it was."""
        return self.value is not None and self.bound.holds(self.value)

    def document(self) -> dict[str, object]:
        """What ``--json`` prints."""
        said = {"figure": self.name, "target": str(self.bound), "measured": self.value, "met": self.met}
        return {"variant": self.variant, **said}


def judge(
    figures: Mapping[str, float | None], targets: Mapping[str, Requirement], variant: str = ""
) -> tuple[Judged, ...]:
    """Every promise and every target."""
    bounds = {**PROMISES, **targets}
    return tuple(Judged(name, limit, figures.get(name), variant) for name, limit in bounds.items())
