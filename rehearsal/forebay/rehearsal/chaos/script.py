"""The script: every record that is sent, in its order. Pure: the seed alone decides, no clock is read."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

import orjson

CONVERSATIONS = 200
_STREAMED = 0.25
_TROUBLED = 0.03
"""Share of the turns whose text asks the simulated model to fail once or twice."""
_EVERY = 100
"""One record in so many is poison."""
_TROUBLES = ("rate_limit", "overloaded", "server_error", "cut", "malformed")
_ASKS = (
    "where is my parcel?",
    "is the blue one in stock?",
    "我的订单到哪里了？",
    "can I return it?",
    "退款什么时候到账？",
    "does it come in XL?",
)


class Poison(StrEnum):
    """The ways in which a record is no turn. The values are the reasons that its dead letter has to give."""

    UNDECODABLE = "undecodable"
    INVALID = "invalid"
    KEY_MISMATCH = "key_mismatch"


@dataclass(frozen=True, slots=True)
class Line:
    """One record of the script."""

    turn_id: str
    """``t-000123`` for record 123; ``p-000123`` for one that is no turn."""
    conversation_id: str
    text: str
    """Begins with the turn's id, by which the model API's calls are told apart."""
    stream: bool
    poison: Poison | None = None
    """Why it is no turn; None when it is one."""

    @property
    def key(self) -> bytes:
        """The record's key."""
        return b"somebody-else" if self.poison is Poison.KEY_MISMATCH else self.conversation_id.encode()

    @property
    def value(self) -> bytes:
        """The record's value, unlike any other's."""
        if self.poison is Poison.UNDECODABLE:
            return b"\xff\xfe not a turn: " + self.turn_id.encode()
        text = "" if self.poison is Poison.INVALID else self.text
        turn = {"turn_id": self.turn_id, "conversation_id": self.conversation_id, "text": text, "stream": self.stream}
        return orjson.dumps(turn)


def script(seed: int, turns: int, conversations: int = CONVERSATIONS) -> tuple[Line, ...]:
    """All records of a run, poison included; each kind of poison is there from three records on."""
    rng = random.Random(f"script {seed}")
    poisoned = rng.sample(range(turns), min(turns, max(len(Poison), turns // _EVERY)))
    poison = {number: list(Poison)[place % len(Poison)] for place, number in enumerate(poisoned)}
    return tuple(_line(rng, number, conversations, poison.get(number)) for number in range(turns))


def _line(rng: random.Random, number: int, conversations: int, poison: Poison | None) -> Line:
    conversation = f"c-{rng.randrange(conversations):04d}"
    turn_id = f"{'t' if poison is None else 'p'}-{number:06d}"
    text = f"{turn_id} {conversation} {rng.choice(_ASKS)}"
    if rng.random() < _TROUBLED:
        text += f" [fault {rng.choice(_TROUBLES)} x{rng.randint(1, 2)}]"
    return Line(turn_id, conversation, text, rng.random() < _STREAMED, poison)
