"""Ratings: how many replies customers liked and disliked, by model and route. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from cachetools import FIFOCache

from forebay.schemas import Feedback, Reply

UNKNOWN = "unknown"
"""For ratings of turns whose reply is not there."""


class Rated(NamedTuple):
    """How many replies were liked and disliked."""

    up: int = 0
    down: int = 0


class Ratings:
    """The last rating of each turn, counted."""

    MOST = 1_000_000
    """Rated turns that are remembered; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._words: FIFOCache[tuple[str, str], int] = FIFOCache(self.MOST)
        self._known: FIFOCache[tuple[str, str], tuple[str, str]] = FIFOCache(self.MOST)

    def rate(self, word: Feedback) -> None:
        """Counts a rating; the last one of a turn counts."""
        self._words[word.conversation_id, word.turn_id] = word.rating

    def reply(self, reply: Reply) -> None:
        """Takes note of whose reply was rated; call it after all ratings."""
        turn = reply.conversation_id, reply.turn_id
        if turn in self._words:
            self._known[turn] = reply.model or "none", reply.route or reply.outcome

    def forget_unknown(self) -> None:
        """Forgets the ratings of turns whose reply is not known."""
        for turn in [turn for turn in self._words if turn not in self._known]:
            del self._words[turn]

    @property
    def total(self) -> Rated:
        """Of all turns."""
        return _counted(dict.fromkeys(self._words, ""), self._words).get("", Rated())

    def by_model(self) -> dict[str, Rated]:
        """By the model that answered."""
        return _counted({turn: self._known.get(turn, (UNKNOWN, ""))[0] for turn in self._words}, self._words)

    def by_route(self) -> dict[str, Rated]:
        """By the route that the turn took."""
        return _counted({turn: self._known.get(turn, ("", UNKNOWN))[1] for turn in self._words}, self._words)


def _counted(names: Mapping[tuple[str, str], str], words: Mapping[tuple[str, str], int]) -> dict[str, Rated]:
    counts: defaultdict[str, Rated] = defaultdict(Rated)
    for turn, name in names.items():
        up, down = counts[name]
        counts[name] = Rated(up + (words[turn] > 0), down + (words[turn] < 0))
    return dict(counts)
