"""Which replies were liked and disliked: the last rating of each turn counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import pytest

from forebay.operations.ratings import Rated, Ratings
from forebay.schemas import DecodeError, Feedback, Reply, decode_feedback


def word(turn_id: str, rating: Literal[1, -1], conversation: str = "c") -> Feedback:
    return Feedback(conversation_id=conversation, turn_id=turn_id, rating=rating)


def reply(turn_id: str, model: str | None, route: str | None) -> Reply:
    said = {"turn_id": turn_id, "conversation_id": "c", "reply_id": "r", "outcome": "answered", "text": ""}
    return Reply(**said, model=model, route=route, created_at=datetime.now(UTC))


def test_the_last_rating_of_a_turn_counts_by_its_model_and_route() -> None:
    ratings = Ratings()
    for rated in (word("t-1", -1), word("t-1", 1), word("t-2", -1), word("t-3", 1), word("t-1", -1, "other")):
        ratings.rate(rated)
    for known in (reply("t-1", "large", "complex"), reply("t-2", None, "faq"), reply("t-9", "large", "complex")):
        ratings.reply(known)
    assert ratings.total == Rated(2, 2)
    assert ratings.by_model() == {"large": Rated(1, 0), "none": Rated(0, 1), "unknown": Rated(1, 1)}
    assert ratings.by_route() == {"complex": Rated(1, 0), "faq": Rated(0, 1), "unknown": Rated(1, 1)}
    ratings.forget_unknown()
    assert ratings.total == Rated(1, 1)


@pytest.mark.parametrize("rating", ["true", "0", "2", "1.5", '"1"', "null"])
def test_what_is_no_rating_is_refused(rating: str) -> None:
    with pytest.raises(DecodeError):
        decode_feedback(b'{"conversation_id": "c", "turn_id": "t", "rating": %s}' % rating.encode())
