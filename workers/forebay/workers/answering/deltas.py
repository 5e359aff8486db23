"""Deltas: a streamed reply's fragments, coalesced to about twenty a second and published as they come."""

from __future__ import annotations

import time
from collections.abc import Callable

from forebay.schemas import Delta, Turn, encode
from forebay.workers.models.model import whole_text

PERIOD_S = 0.05
"""Least time between two deltas of one turn, in seconds."""


class DeltaStream:
    """The fragments of one turn. `add` never waits: the reader's speed is not the model's problem."""

    __slots__ = ("_buffer", "_clock", "_publish", "_restart", "_sent_at", "_sequence", "_turn")

    def __init__(self, turn: Turn, publish: Callable[[Delta], None], clock: Callable[[], float]) -> None:
        self._turn = turn
        self._publish = publish
        self._clock = clock
        self._buffer: list[str] = []
        self._sequence = 0
        self._sent_at = float("-inf")
        self._restart = False

    def add(self, text: str) -> None:
        """Takes a fragment; publishes what has gathered when the last delta is `PERIOD_S` old."""
        self._buffer.append(text)
        if self._clock() - self._sent_at >= PERIOD_S:
            self.flush()

    def flush(self) -> None:
        """Publishes what has gathered."""
        text = "".join(self._buffer)
        self._buffer.clear()
        if text and "\ud800" <= text[-1] <= "\udbff":
            # Half of a character: some providers split what does not fit 16 bits. Its other half comes next.
            self._buffer.append(text[-1])
            text = text[:-1]
        if not text:
            return
        self._publish(
            Delta.model_construct(
                turn_id=self._turn.turn_id,
                conversation_id=self._turn.conversation_id,
                sequence=self._sequence,
                text=whole_text(text),
                restart=self._restart,
            )
        )
        self._restart = False
        self._sequence += 1
        self._sent_at = self._clock()

    def restart(self) -> None:
        """The call failed midway: the next delta tells the reader to drop what it showed."""
        self._buffer.clear()
        self._restart = self._sequence > 0


def delta_streams(send: Callable[[bytes, bytes], None]) -> Callable[[Turn], DeltaStream]:
    """What begins the stream of a turn; ``send`` takes key and value of each delta's record."""

    def stream(turn: Turn) -> DeltaStream:
        key = turn.conversation_id.encode()
        return DeltaStream(turn, lambda delta: send(key, encode(delta)), time.monotonic)

    return stream
